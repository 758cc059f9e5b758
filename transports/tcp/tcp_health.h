// What the kernel's TCP says of a connection: signs of a stall, and how much unsent data makes sense.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/time.h"

namespace switchback::transports::tcp {

inline constexpr std::uint32_t kFirstUnsentLimit = 128 * 1024, kLeastUnsentLimit = 32 * 1024,
                               kMostUnsentLimit = 512 * 1024;

struct TcpHealth {
  bool outstanding = false;       // sent data that is not acknowledged
  std::uint32_t retransmits = 0;  // of the oldest, in a row
  std::uint64_t octets_acked = 0;
  Duration rtt{};
  bool zero_window = false;
  std::uint64_t octets_per_second = 0;  // as delivered lately; 0: not known
  std::uint32_t unsent_octets = 0;
};

/// Nothing: the kernel would not say.
[[nodiscard]] std::optional<TcpHealth> tcp_health(int fd) noexcept;
/// 30 ms of traffic at a rate, within bounds.
[[nodiscard]] std::uint32_t unsent_limit(std::uint64_t octets_per_second) noexcept;
/// TCP_NOTSENT_LOWAT: sending stops at so much data that TCP has not sent yet.
void set_unsent_limit(int fd, std::uint32_t octets) noexcept;

}  // namespace switchback::transports::tcp
