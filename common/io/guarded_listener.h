// A TCP port that belongs to this process while the kernel's TCP stays silent on it: no SYN-ACK, no RST.
#pragma once

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace switchback::io {

struct GuardedListener {
  UniqueFd fd;
  Endpoint local;  // with the port that the kernel chose
};

/// Binds, attaches a socket filter that drops every segment, locks it, and only then listens: segments to the port find
/// a listener that drops them, so nothing answers. Nothing else on the host changes, and the port is free again as soon
/// as the descriptor is closed, however the process ends. IPv6 listeners take IPv6 only.
/// @param local  the unspecified address guards the port on all; port 0 lets the kernel choose
/// Errors: of socket(), bind(), listen().
[[nodiscard]] Result<GuardedListener> open_guarded(const Endpoint& local);

}  // namespace switchback::io
