// UDP encapsulation of IKE and ESP, RFC 3948: telling them apart, and the marker. Pure.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/packet/packet.h"

namespace switchback::transports::udp {

/// RFC 3948 §2.2: four zero octets where ESP has its SPI, which is never zero.
inline constexpr std::size_t kMarkerBytes = 4;
/// RFC 3948 §2.3: a datagram of this one octet keeps the NAT's mapping.
inline constexpr std::uint8_t kKeepalive = 0xFF;
/// Shortest IKE message: a header and nothing else, RFC 7296 §3.1.
inline constexpr std::size_t kIkeHeaderBytes = 28;
/// Shortest ESP packet that could be ours: SPI, sequence number, IV, trailer of two, tag; RFC 4303 §2, RFC 4106.
inline constexpr std::size_t kMinimumEspBytes = 4 + 4 + 8 + 2 + 16;

/// How IKE travels on a path. It is the headend's port that decides: the client's may be any.
enum class Framing : std::uint8_t {
  bare,   // the IKE port: IKE only, without a marker
  marked  // the NAT-T port: ESP as it is, IKE behind the marker
};

[[nodiscard]] constexpr Framing framing_of(const AddressPair& path, bool headend, std::uint16_t ike_port) noexcept {
  const auto port = headend ? path.local.port : path.remote.port;
  return port == ike_port ? Framing::bare : Framing::marked;
}

enum class Content : std::uint8_t { ike, esp, keepalive, malformed };

/// What a received datagram holds and how many octets of framing precede it.
struct Classified {
  Content content = Content::malformed;
  std::uint8_t skip = 0;
};

[[nodiscard]] constexpr Classified classify(ByteView datagram, Framing framing) noexcept {
  if (datagram.size() == 1) return {datagram[0] == kKeepalive ? Content::keepalive : Content::malformed, 0};
  if (framing == Framing::bare) {
    return {datagram.size() >= kIkeHeaderBytes ? Content::ike : Content::malformed, 0};
  }
  if (datagram.size() < kMarkerBytes) return {};
  if (load_be<std::uint32_t>(datagram.data()) == 0) {
    if (datagram.size() < kMarkerBytes + kIkeHeaderBytes) return {};
    return {Content::ike, kMarkerBytes};
  }
  return {datagram.size() >= kMinimumEspBytes ? Content::esp : Content::malformed, 0};
}

}  // namespace switchback::transports::udp
