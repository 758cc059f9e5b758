// Clamps the MSS that inner TCP connections announce, so that their segments fit the tunnel.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"

namespace switchback::packet {

/// Lowers the MSS option of a TCP SYN or SYN-ACK to what an IP packet of `mtu` octets holds (RFC 9293 §3.7.1: MTU less
/// 40 octets for IPv4, 60 for IPv6) and updates the TCP checksum (RFC 1624). Never raises it and adds none; leaves
/// every other packet alone, in any shape. The checksum must be complete: call after segment().
/// @return whether the packet was changed.
bool clamp_mss(ByteSpan packet, std::size_t mtu) noexcept;

}  // namespace switchback::packet
