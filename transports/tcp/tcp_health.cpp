#include "transports/tcp/tcp_health.h"

// Not netinet/tcp.h, whose tcp_info ends before the fields that are needed here.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

namespace switchback::transports::tcp {

std::optional<TcpHealth> tcp_health(int fd) noexcept {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return std::nullopt;
  TcpHealth health;
  health.outstanding = info.tcpi_unacked > 0;
  health.retransmits = info.tcpi_retransmits;
  health.octets_acked = info.tcpi_bytes_acked;
  health.rtt = std::chrono::microseconds{info.tcpi_rtt};
  // A rate that was limited by how little there was to send says nothing of the path.
  health.octets_per_second = info.tcpi_delivery_rate_app_limited != 0 ? 0 : info.tcpi_delivery_rate;
  health.unsent_octets = info.tcpi_notsent_bytes;
  const bool has_window = length >= offsetof(tcp_info, tcpi_snd_wnd) + sizeof info.tcpi_snd_wnd;
  health.zero_window = has_window && info.tcpi_snd_wnd == 0 && (health.outstanding || health.unsent_octets > 0);
  return health;
}

std::uint32_t unsent_limit(std::uint64_t octets_per_second) noexcept {
  const auto wanted = std::min<std::uint64_t>(octets_per_second, std::uint64_t{1} << 40U) * 30 / 1000;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(wanted, kLeastUnsentLimit, kMostUnsentLimit));
}

void set_unsent_limit(int fd, std::uint32_t octets) noexcept {
  ::setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &octets, sizeof octets);
}

}  // namespace switchback::transports::tcp
