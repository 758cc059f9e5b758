// A visit to whatever answers TLS on a port, as a browser would pay it: who it says it is, and what its page's head
// says.
#pragma once

#include <optional>
#include <string>

#include "common/base/ip_address.h"
#include "common/base/time.h"

namespace switchback::transports::tls {

struct Visit {
  bool connected = false, secured = false;
  std::string error;            // why there is no TLS
  std::string subject, issuer;  // of the certificate shown; printable
  std::string head;             // of the answer to GET /, at most some KiB, as it came
};

struct VisitOptions {
  std::string server_name;
  std::uint32_t mark = 0;
  Duration most = std::chrono::seconds{4};
};

/// Blocks for up to options.most. Nothing shown is believed, and nothing secret sent.
[[nodiscard]] Visit visit(const IpAddress& local, const Endpoint& remote, const VisitOptions& options);

}  // namespace switchback::transports::tls
