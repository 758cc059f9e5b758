// The headend's addresses, with names looked up on a thread of their own so that nothing waits for DNS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/io/event_loop.h"

namespace switchback::client {

/// Most addresses of all names together.
inline constexpr std::size_t kMaxCandidates = 16;

class Resolver {
 public:
  /// The loop outlives the resolver.
  explicit Resolver(io::EventLoop& loop) noexcept : loop_{loop} {}
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver() { cancel(); }

  struct Answer {
    std::vector<IpAddress> addresses;  // in the order of the names and of getaddrinfo(), without duplicates
    std::string failure;               // why some name has no address; "" if all have
  };
  /// Calls back once on the loop's thread, never before this returns. Addresses are taken as they are; a new call
  /// cancels the one before.
  void resolve(std::vector<std::string> names, std::function<void(Answer)> done);
  void cancel();

 private:
  struct Pending;
  io::EventLoop& loop_;
  std::shared_ptr<Pending> pending_;
};

/// Blocking; what the thread does.
[[nodiscard]] Resolver::Answer resolve_now(const std::vector<std::string>& names);

}  // namespace switchback::client
