// ICMP for inner packets that do not fit the tunnel: how a sender behind the TUN learns the path's MTU. Pure.
#pragma once

#include <cstdint>

#include "common/base/bytes.h"
#include "common/packet/ip.h"
#include "common/packet/offload.h"

namespace switchback::transports {

/// Octets of the largest IP packet that this (super-)packet is cut into.
[[nodiscard]] std::size_t largest_piece(const packet::VirtioNetHeader& header, ByteView packet,
                                        const packet::IpView& ip) noexcept;

/// Whether its sender must be told instead of fragmenting: IPv6, or IPv4 with Don't Fragment.
[[nodiscard]] bool forbids_fragments(ByteView packet, const packet::IpView& ip) noexcept;

/// Largest ICMP message that build_too_big() makes: an IPv6 packet of 1280 octets, RFC 4443 §3.2.
inline constexpr std::size_t kMaxTooBigBytes = 1280;

/// ICMP "fragmentation needed" (RFC 792, RFC 1191 §4) or ICMPv6 "packet too big" (RFC 4443 §3.2), as if it came from
/// the packet's destination, which is a source that the host accepts whatever addresses the TUN has.
/// @param mtu  octets of the largest IP packet that fits
/// @param out  at least kMaxTooBigBytes
/// @return octets written; 0 if no ICMP may be sent about this packet: a later fragment, an ICMP error, a multicast or
///         unspecified address (RFC 1122 §3.2.2, RFC 4443 §2.4)
[[nodiscard]] std::size_t build_too_big(ByteView packet, const packet::IpView& ip, std::uint16_t mtu,
                                        ByteSpan out) noexcept;

}  // namespace switchback::transports
