// Checked views of IP, TCP and UDP headers: validated once, then read without fear.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"

namespace switchback::packet {

/// IP protocol numbers that mean something here (IANA).
enum class IpProtocol : std::uint8_t {
  hop_by_hop = 0,
  icmp = 1,
  ipv4 = 4,
  tcp = 6,
  udp = 17,
  ipv6 = 41,
  routing = 43,
  fragment = 44,
  esp = 50,
  auth = 51,
  icmpv6 = 58,
  none = 59,
  destination = 60,
};

inline constexpr std::size_t kIpv4HeaderBytes = 20, kIpv6HeaderBytes = 40, kTcpHeaderBytes = 20, kUdpHeaderBytes = 8;
/// Longest IP packet of either family without jumbograms.
inline constexpr std::size_t kMaxIpPacketBytes = 65535;

/// Facts of a checked IP packet; offsets are octets from its start.
struct IpView {
  IpFamily family = IpFamily::none;
  std::uint8_t protocol = 0;        // of what is at l4_offset, behind any IPv6 extension headers
  bool fragment = false;            // any part of a fragmented packet, the first included
  bool later_fragment = false;      // a part that does not begin with the transport header
  std::uint16_t l4_offset = 0;      // end of the IP header and IPv6 extension headers
  std::uint16_t header_bytes = 0;   // IPv4 header with options, or 40
  std::size_t total_bytes = 0;      // from the length field; never more than was given
  std::uint16_t source_offset = 0;  // addresses are address_bytes long and follow one another
  std::uint16_t address_bytes = 0;

  [[nodiscard]] bool is(IpProtocol number) const noexcept { return protocol == static_cast<std::uint8_t>(number); }
};

/// Version nibble of a packet: 4, 6 or anything; 0 if empty.
[[nodiscard]] inline unsigned ip_version(ByteView packet) noexcept {
  return packet.empty() ? 0U : static_cast<unsigned>(packet[0] >> 4U);
}

/// Checks version, header length and total length; octets behind the total length are allowed (TFC padding, RFC 4303
/// §2.7). Walks at most 8 IPv6 extension headers. Header checksums are not verified. Empty: not an IP packet.
[[nodiscard]] std::optional<IpView> parse_ip(ByteView packet) noexcept;

[[nodiscard]] IpAddress source_address(ByteView packet, const IpView& ip) noexcept;
[[nodiscard]] IpAddress destination_address(ByteView packet, const IpView& ip) noexcept;

/// Source and destination port of TCP, UDP and the like; for ICMP both are type * 256 + code. Empty if the packet
/// shows none.
struct Ports {
  std::uint16_t source = 0, destination = 0;
};
[[nodiscard]] std::optional<Ports> ports_of(ByteView packet, const IpView& ip) noexcept;

/// Flags of the 14th octet of a TCP header, RFC 9293 §3.1.
inline constexpr std::uint8_t kTcpFin = 0x01, kTcpSyn = 0x02, kTcpRst = 0x04, kTcpPsh = 0x08, kTcpAck = 0x10,
                              kTcpUrg = 0x20, kTcpEce = 0x40, kTcpCwr = 0x80;

/// Octets of the TCP header with options at `l4_offset`; 0 if it does not fit into the packet.
[[nodiscard]] std::size_t tcp_header_bytes(ByteView packet, const IpView& ip) noexcept;

}  // namespace switchback::packet
