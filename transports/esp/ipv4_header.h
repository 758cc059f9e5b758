// What a raw IPv4 socket gives before the payload. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"

namespace switchback::transports::native_esp {

struct Ipv4Header {
  std::size_t octets = 0;  // with its options, RFC 791 §3.1
  IpAddress destination;
};

/// Nothing where there is no whole header. Version, checksum and length were the kernel's to check.
[[nodiscard]] inline std::optional<Ipv4Header> read_ipv4_header(ByteView packet) noexcept {
  constexpr std::size_t kFixed = 20;
  if (packet.size() < kFixed) return std::nullopt;
  const std::size_t octets = std::size_t{packet[0] & 0x0FU} * 4;
  if (octets < kFixed || octets > packet.size()) return std::nullopt;
  return Ipv4Header{octets, IpAddress::from_bytes(packet.subspan(16, 4))};
}

}  // namespace switchback::transports::native_esp
