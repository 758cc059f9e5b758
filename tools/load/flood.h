// IKE_SA_INIT requests from addresses that are nobody's: what a headend has to live with.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "common/base/ip_address.h"
#include "common/base/result.h"

namespace switchback::load {

struct FloodOptions {
  Endpoint headend;
  IpPrefix sources;  // IPv4
  double rate = 1000;
  unsigned seconds = 10;
};

struct FloodResult {
  std::uint64_t sent = 0, refused = 0;
  double seconds = 0;
};

/// Blocks until it is over. @param go_on  asked some times a second. Errors: no raw sockets, not IPv4.
[[nodiscard]] Result<FloodResult, UserError> run_flood(const FloodOptions& options,
                                                       const std::function<bool(const FloodResult&)>& go_on);

}  // namespace switchback::load
