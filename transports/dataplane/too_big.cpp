#include "transports/dataplane/too_big.h"

#include <algorithm>
#include <cassert>

#include "common/packet/checksum.h"

namespace switchback::transports {
namespace {

using packet::IpProtocol;

constexpr std::size_t kIcmpHeaderBytes = 8;
// RFC 1812 §4.3.2.3: as much of the packet as fits into 576 octets.
constexpr std::size_t kMaxIcmp4Bytes = 576;

/// An ICMP error about an ICMP error would never end; what is no error may be answered.
[[nodiscard]] bool is_icmp_error(ByteView packet, const packet::IpView& ip) noexcept {
  if (ip.l4_offset >= packet.size()) return false;
  const auto type = packet[ip.l4_offset];
  if (ip.is(IpProtocol::icmp)) return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
  return ip.is(IpProtocol::icmpv6) && type < 128;
}

[[nodiscard]] bool answerable(ByteView packet, const packet::IpView& ip) noexcept {
  if (ip.later_fragment || is_icmp_error(packet, ip)) return false;
  const auto source = packet::source_address(packet, ip);
  const auto destination = packet::destination_address(packet, ip);
  if (source.is_unspecified()) return false;
  if (ip.family == IpFamily::v4) return source.bytes()[0] < 224 && destination.bytes()[0] < 224;
  return source.bytes()[0] != 0xFF;  // RFC 4443 §2.4 (e.3): "packet too big" may answer multicast
}

}  // namespace

std::size_t largest_piece(const packet::VirtioNetHeader& header, ByteView packet, const packet::IpView& ip) noexcept {
  if (header.gso_type == packet::kVirtioGsoNone || header.gso_size == 0) return ip.total_bytes;
  const auto l4 = ip.is(IpProtocol::tcp) ? packet::tcp_header_bytes(packet, ip) : packet::kUdpHeaderBytes;
  return std::min<std::size_t>(ip.total_bytes, ip.l4_offset + l4 + header.gso_size);
}

bool forbids_fragments(ByteView packet, const packet::IpView& ip) noexcept {
  return ip.family == IpFamily::v6 || (packet[6] & 0x40U) != 0;
}

std::size_t build_too_big(ByteView packet, const packet::IpView& ip, std::uint16_t mtu, ByteSpan out) noexcept {
  assert(out.size() >= kMaxTooBigBytes);
  if (!answerable(packet, ip)) return 0;
  const bool v4 = ip.family == IpFamily::v4;
  const std::size_t header = v4 ? packet::kIpv4HeaderBytes : packet::kIpv6HeaderBytes;
  const auto quoted = std::min(ip.total_bytes, (v4 ? kMaxIcmp4Bytes : kMaxTooBigBytes) - header - kIcmpHeaderBytes);
  const auto total = header + kIcmpHeaderBytes + quoted;
  std::fill_n(out.begin(), header + kIcmpHeaderBytes, std::uint8_t{0});
  std::copy_n(packet.begin(), quoted, out.begin() + static_cast<std::ptrdiff_t>(header + kIcmpHeaderBytes));

  const auto source = packet::source_address(packet, ip);
  const auto destination = packet::destination_address(packet, ip);
  const auto put = [&](std::size_t at, ByteView octets) {
    std::copy(octets.begin(), octets.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
  };
  auto* icmp = out.data() + header;
  if (v4) {
    out[0] = 0x45;
    out[1] = 0xC0;  // RFC 1812 §4.3.2.5: precedence of internetwork control
    store_be(out.data() + 2, static_cast<std::uint16_t>(total));
    out[8] = 64;
    out[9] = static_cast<std::uint8_t>(IpProtocol::icmp);
    put(12, destination.bytes());
    put(16, source.bytes());
    store_be(out.data() + 10, packet::checksum(out.first(header)));
    icmp[0] = 3;  // destination unreachable:
    icmp[1] = 4;  // fragmentation needed and DF set
    store_be(icmp + 6, mtu);
    store_be(icmp + 2, packet::checksum(out.subspan(header, total - header)));
  } else {
    out[0] = 0x60;
    store_be(out.data() + 4, static_cast<std::uint16_t>(total - header));
    out[6] = static_cast<std::uint8_t>(IpProtocol::icmpv6);
    out[7] = 64;
    // The answer to a multicast packet needs another source; the sender's own is one that it accepts.
    put(8, destination.bytes()[0] == 0xFF ? source.bytes() : destination.bytes());
    put(24, source.bytes());
    icmp[0] = 2;
    store_be(icmp + 4, std::uint32_t{mtu});
    packet::ChecksumSum sum;
    sum.add_pseudo_header(ByteView{out}.subspan(8, 32), static_cast<std::uint8_t>(IpProtocol::icmpv6),
                          static_cast<std::uint32_t>(total - header));
    store_be(icmp + 2, sum.add(out.subspan(header, total - header)).finish());
  }
  return total;
}

}  // namespace switchback::transports
