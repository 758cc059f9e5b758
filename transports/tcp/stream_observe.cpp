// What the kernel's TCP says of a connection, for people who look for faults.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "transports/tcp/stream_driver.h"

namespace switchback::transports::tcp {

std::optional<PathObservation> StreamDriver::observe(const AddressPair& path) const {
  auto key = path;
  key.transport = 0;
  const auto found = paths_.find(key);
  if (found == paths_.end() || found->second->state != State::open) return std::nullopt;
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(found->second->fd.get(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return std::nullopt;
  PathObservation seen;
  if ((info.tcpi_options & TCPI_OPT_WSCALE) != 0) {
    seen.window_scale = std::uint8_t{info.tcpi_snd_wscale};
    seen.own_window_scale = std::uint8_t{info.tcpi_rcv_wscale};
  }
  seen.sack = (info.tcpi_options & TCPI_OPT_SACK) != 0;
  seen.timestamps = (info.tcpi_options & TCPI_OPT_TIMESTAMPS) != 0;
  seen.rtt = std::chrono::microseconds{info.tcpi_min_rtt};
  return seen;
}

}  // namespace switchback::transports::tcp
