#include "common/packet/ip.h"

namespace switchback::packet {
namespace {

constexpr unsigned kMaxExtensionHeaders = 8;  // more than any stack sends; bounds the work on a hostile chain

std::optional<IpView> parse_v4(ByteView packet) noexcept {
  if (packet.size() < kIpv4HeaderBytes) return std::nullopt;
  const std::size_t header = (packet[0] & 0x0FU) * 4U;
  const std::size_t total = load_be<std::uint16_t>(&packet[2]);
  if (header < kIpv4HeaderBytes || total < header || total > packet.size()) return std::nullopt;
  const auto fragment_field = load_be<std::uint16_t>(&packet[6]);
  IpView ip;
  ip.family = IpFamily::v4;
  ip.protocol = packet[9];
  ip.later_fragment = (fragment_field & 0x1FFFU) != 0;
  ip.fragment = ip.later_fragment || (fragment_field & 0x2000U) != 0;
  ip.l4_offset = ip.header_bytes = static_cast<std::uint16_t>(header);
  ip.total_bytes = total;
  ip.source_offset = 12;
  ip.address_bytes = 4;
  return ip;
}

bool is_extension(std::uint8_t protocol) noexcept {
  switch (static_cast<IpProtocol>(protocol)) {
    case IpProtocol::hop_by_hop:
    case IpProtocol::routing:
    case IpProtocol::fragment:
    case IpProtocol::destination: return true;
    default: return false;
  }
}

std::optional<IpView> parse_v6(ByteView packet) noexcept {
  if (packet.size() < kIpv6HeaderBytes) return std::nullopt;
  const std::size_t total = kIpv6HeaderBytes + load_be<std::uint16_t>(&packet[4]);
  if (total > packet.size()) return std::nullopt;
  IpView ip;
  ip.family = IpFamily::v6;
  ip.total_bytes = total;
  ip.header_bytes = kIpv6HeaderBytes;
  ip.source_offset = 8;
  ip.address_bytes = 16;
  auto next = packet[6];
  std::size_t at = kIpv6HeaderBytes;
  for (unsigned i = 0; is_extension(next) && i < kMaxExtensionHeaders; ++i) {
    if (total - at < 8) return std::nullopt;
    const bool is_fragment = next == static_cast<std::uint8_t>(IpProtocol::fragment);
    const std::size_t length = is_fragment ? 8U : 8U + packet[at + 1] * 8U;  // RFC 8200 §4
    if (total - at < length) return std::nullopt;
    next = packet[at];
    if (is_fragment) {
      const auto field = load_be<std::uint16_t>(&packet[at + 2]);
      ip.later_fragment = (field & 0xFFF8U) != 0;
      ip.fragment = ip.later_fragment || (field & 1U) != 0;
    }
    at += length;
    if (ip.later_fragment) break;  // what follows is the middle of something
  }
  ip.protocol = next;
  ip.l4_offset = static_cast<std::uint16_t>(at);
  return ip;
}

}  // namespace

std::optional<IpView> parse_ip(ByteView packet) noexcept {
  switch (ip_version(packet)) {
    case 4: return parse_v4(packet);
    case 6: return parse_v6(packet);
    default: return std::nullopt;
  }
}

IpAddress source_address(ByteView packet, const IpView& ip) noexcept {
  return IpAddress::from_bytes(packet.subspan(ip.source_offset, ip.address_bytes));
}

IpAddress destination_address(ByteView packet, const IpView& ip) noexcept {
  return IpAddress::from_bytes(packet.subspan(std::size_t{ip.source_offset} + ip.address_bytes, ip.address_bytes));
}

std::optional<Ports> ports_of(ByteView packet, const IpView& ip) noexcept {
  if (ip.later_fragment || ip.total_bytes - ip.l4_offset < 4) return std::nullopt;
  const auto* l4 = packet.data() + ip.l4_offset;
  switch (ip.protocol) {
    case 1:
    case 58: {  // ICMP: type and code, RFC 7296 §3.13.1
      const auto type_code = load_be<std::uint16_t>(l4);
      return Ports{type_code, type_code};
    }
    case 6:
    case 17:
    case 33:   // DCCP
    case 132:  // SCTP
    case 136:  // UDP-Lite
      return Ports{load_be<std::uint16_t>(l4), load_be<std::uint16_t>(l4 + 2)};
    default: return std::nullopt;
  }
}

std::size_t tcp_header_bytes(ByteView packet, const IpView& ip) noexcept {
  const auto room = ip.total_bytes - ip.l4_offset;
  if (room < kTcpHeaderBytes) return 0;
  const std::size_t bytes = static_cast<std::size_t>(packet[ip.l4_offset + 12U] >> 4U) * 4U;
  return bytes >= kTcpHeaderBytes && bytes <= room ? bytes : 0;
}

}  // namespace switchback::packet
