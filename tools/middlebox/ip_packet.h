// Reading and making the IP packets that a middlebox forwards, answers or sends on behalf of others.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/packet/ip.h"
#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

/// One conversation: the inner end, the outer end and the protocol. Ports are 0 where there are none.
struct FlowKey {
  std::uint8_t protocol = 0;
  Endpoint inner, outer;
  friend auto operator<=>(const FlowKey&, const FlowKey&) = default;
  [[nodiscard]] std::string to_string() const;
};

/// Of a checked packet; fragments other than the first have no ports, and so a flow of their own.
[[nodiscard]] FlowKey flow_of(Direction direction, ByteView packet, const packet::IpView& ip);

/// The packet's TCP segment; nothing if it is not TCP, a fragment, or malformed. `original` is a copy of the packet.
[[nodiscard]] std::optional<Segment> segment_of(Direction direction, ByteView packet, const packet::IpView& ip);
/// Whether the TCP checksum of a whole segment is right.
[[nodiscard]] bool tcp_checksum_right(ByteView packet, const packet::IpView& ip) noexcept;
/// The IP packet for a segment: `original` if it has one, with what was changed.
[[nodiscard]] Bytes packet_of(const FlowKey& flow, Segment&& segment);

/// Takes one from TTL or hop limit. False: it has run out.
[[nodiscard]] bool decrement_ttl(ByteSpan packet, const packet::IpView& ip) noexcept;

enum class IcmpError : std::uint8_t { too_big, prohibited, port_unreachable, time_exceeded };
/// An ICMP or ICMPv6 error about a packet, to its source (RFC 792, RFC 4443); empty where none may be sent: about ICMP
/// errors, fragments other than the first, or without an address of the family to send it from.
/// @param mtu  for too_big
[[nodiscard]] Bytes icmp_error(IcmpError error, ByteView about, const packet::IpView& ip, const IpAddress& from,
                               std::uint32_t mtu = 0);

/// Gives the packet another source or destination, with all checksums right. @param port 0: unchanged
void rewrite(ByteSpan packet, const packet::IpView& ip, bool source, const Endpoint& to) noexcept;

}  // namespace switchback::middlebox
