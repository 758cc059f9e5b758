// segment(): what the kernel would leave to the card on the way out.
#include <optional>

#include "common/packet/checksum.h"
#include "common/packet/ip.h"
#include "common/packet/offload.h"

namespace switchback::packet {
namespace {

constexpr std::size_t kTcpChecksumOffset = 16, kUdpChecksumOffset = 6;

// Where everything is in a packet to be cut.
struct Plan {
  IpView ip;
  bool tcp = false;
  std::size_t header_bytes = 0;  // IP, extension headers and transport header
  std::size_t payload_bytes = 0;
  std::size_t segments = 0;
};

// Checks that the virtio header and the packet tell the same story.
SegmentVerdict make_plan(const VirtioNetHeader& header, ByteView packet, Plan& plan) noexcept {
  const auto type = static_cast<std::uint8_t>(header.gso_type & ~kVirtioGsoEcn);
  const bool known = type == kVirtioGsoTcpV4 || type == kVirtioGsoTcpV6 || type == kVirtioGsoUdpL4;
  if (!known) return SegmentVerdict::unsupported;
  const auto ip = parse_ip(packet);
  if (!ip || ip->total_bytes != packet.size() || header.gso_size == 0) return SegmentVerdict::malformed;
  if (ip->fragment) return SegmentVerdict::unsupported;
  plan.ip = *ip;
  plan.tcp = type != kVirtioGsoUdpL4;
  if (plan.tcp) {
    if ((type == kVirtioGsoTcpV4) != (ip->family == IpFamily::v4)) return SegmentVerdict::malformed;
    const auto tcp = ip->is(IpProtocol::tcp) ? tcp_header_bytes(packet, *ip) : 0;
    if (tcp == 0) return SegmentVerdict::malformed;
    // A handshake, a reset or urgent data across several segments would be nonsense.
    if ((packet[ip->l4_offset + 13U] & (kTcpSyn | kTcpRst | kTcpUrg)) != 0) return SegmentVerdict::malformed;
    plan.header_bytes = ip->l4_offset + tcp;
  } else {
    if (!ip->is(IpProtocol::udp) || packet.size() - ip->l4_offset < kUdpHeaderBytes) return SegmentVerdict::malformed;
    if (header.gso_type != kVirtioGsoUdpL4) return SegmentVerdict::malformed;  // ECN is TCP's
    plan.header_bytes = ip->l4_offset + kUdpHeaderBytes;
  }
  if ((header.flags & kVirtioNeedsCsum) != 0 &&
      (header.csum_start != ip->l4_offset ||
       header.csum_offset != (plan.tcp ? kTcpChecksumOffset : kUdpChecksumOffset))) {
    return SegmentVerdict::malformed;
  }
  plan.payload_bytes = packet.size() - plan.header_bytes;
  if (plan.payload_bytes == 0) return SegmentVerdict::malformed;
  plan.segments = (plan.payload_bytes + header.gso_size - 1) / header.gso_size;
  return plan.segments <= kMaxSegments ? SegmentVerdict::ok : SegmentVerdict::malformed;
}

void fix_ip(ByteSpan segment, const IpView& ip, std::size_t index) noexcept {
  if (ip.family == IpFamily::v6) {
    store_be(&segment[4], static_cast<std::uint16_t>(segment.size() - kIpv6HeaderBytes));
    return;
  }
  store_be(&segment[2], static_cast<std::uint16_t>(segment.size()));
  store_be(&segment[4], static_cast<std::uint16_t>(load_be<std::uint16_t>(&segment[4]) + index));
  store_be(&segment[10], std::uint16_t{0});
  store_be(&segment[10], checksum(segment.first(ip.header_bytes)));
}

void fix_transport(ByteSpan segment, const Plan& plan, std::size_t index, std::size_t offset) noexcept {
  const auto l4 = segment.subspan(plan.ip.l4_offset);
  std::size_t field = kUdpChecksumOffset;
  if (plan.tcp) {
    field = kTcpChecksumOffset;
    store_be(&l4[4], static_cast<std::uint32_t>(load_be<std::uint32_t>(&l4[4]) + offset));
    auto flags = l4[13];
    // RFC 3168 §6.1.2: CWR answers one ECE and stands on one segment. FIN and PSH speak of the end of the data.
    if (index != 0) flags = static_cast<std::uint8_t>(flags & ~kTcpCwr);
    if (index + 1 != plan.segments) flags = static_cast<std::uint8_t>(flags & ~(kTcpFin | kTcpPsh));
    l4[13] = flags;
  } else {
    store_be(&l4[4], static_cast<std::uint16_t>(l4.size()));
  }
  store_be(&l4[field], std::uint16_t{0});
  const auto addresses = ByteView{segment}.subspan(plan.ip.source_offset, 2U * plan.ip.address_bytes);
  auto sum = ChecksumSum{}
                 .add_pseudo_header(addresses, plan.ip.protocol, static_cast<std::uint32_t>(l4.size()))
                 .add(l4)
                 .finish();
  if (!plan.tcp && sum == 0) sum = 0xFFFF;  // RFC 768: 0 would mean "none"
  store_be(&l4[field], sum);
}

SegmentVerdict cut(const VirtioNetHeader& header, ByteView packet, PacketCarver& carver, std::vector<Packet>& out) {
  Plan plan;
  if (const auto verdict = make_plan(header, packet, plan); verdict != SegmentVerdict::ok) return verdict;
  const auto before = out.size();
  std::size_t offset = 0;
  for (std::size_t i = 0; i < plan.segments; ++i) {
    const auto size = std::min<std::size_t>(header.gso_size, plan.payload_bytes - offset);
    auto part = carver.carve(kSendHeadroom, plan.header_bytes + size, kSendTailroom);
    if (!part) {
      out.erase(out.begin() + static_cast<std::ptrdiff_t>(before), out.end());
      return SegmentVerdict::exhausted;
    }
    const auto data = part.append(plan.header_bytes + size);
    std::memcpy(data.data(), packet.data(), plan.header_bytes);
    std::memcpy(data.data() + plan.header_bytes, packet.data() + plan.header_bytes + offset, size);
    fix_ip(data, plan.ip, i);
    fix_transport(data, plan, i, offset);
    offset += size;
    out.push_back(std::move(part));
  }
  return SegmentVerdict::ok;
}

// Where the checksum that the kernel left out starts and goes; empty if it asks for the impossible.
struct ChecksumPlace {
  std::size_t start, field;
};
std::optional<ChecksumPlace> checksum_place(const VirtioNetHeader& header, const IpView& ip) noexcept {
  const std::size_t start = header.csum_start;
  const std::size_t field = start + header.csum_offset;
  if (start < ip.l4_offset || field % 2 != start % 2 || field + 2 > ip.total_bytes) return std::nullopt;
  return ChecksumPlace{start, field};
}

SegmentVerdict pass(const VirtioNetHeader& header, ByteView packet, PacketCarver& carver, std::vector<Packet>& out) {
  const auto ip = parse_ip(packet);
  if (!ip) return SegmentVerdict::malformed;
  std::optional<ChecksumPlace> place;
  if ((header.flags & kVirtioNeedsCsum) != 0) {
    place = checksum_place(header, *ip);
    if (!place) return SegmentVerdict::malformed;
  }
  auto copy = carver.carve(kSendHeadroom, ip->total_bytes, kSendTailroom);
  if (!copy) return SegmentVerdict::exhausted;
  const auto data = copy.append(ip->total_bytes);
  std::memcpy(data.data(), packet.data(), data.size());
  if (place) {
    // The field holds the pseudo header's sum already, so that it is simply summed along.
    auto sum = checksum(data.subspan(place->start));
    if (sum == 0 && ip->is(IpProtocol::udp)) sum = 0xFFFF;
    store_be(&data[place->field], sum);
  }
  out.push_back(std::move(copy));
  return SegmentVerdict::ok;
}

}  // namespace

VirtioNetHeader VirtioNetHeader::load(ByteView from) noexcept {
  VirtioNetHeader header;
  header.flags = from[0];
  header.gso_type = from[1];
  std::memcpy(&header.hdr_len, &from[2], 2);
  std::memcpy(&header.gso_size, &from[4], 2);
  std::memcpy(&header.csum_start, &from[6], 2);
  std::memcpy(&header.csum_offset, &from[8], 2);
  return header;
}

void VirtioNetHeader::store(ByteSpan to) const noexcept {
  to[0] = flags;
  to[1] = gso_type;
  std::memcpy(&to[2], &hdr_len, 2);
  std::memcpy(&to[4], &gso_size, 2);
  std::memcpy(&to[6], &csum_start, 2);
  std::memcpy(&to[8], &csum_offset, 2);
}

SegmentVerdict segment(const VirtioNetHeader& header, ByteView ip_packet, PacketCarver& carver,
                       std::vector<Packet>& out) {
  if (ip_packet.size() > kMaxIpPacketBytes) return SegmentVerdict::malformed;
  if (header.gso_type == kVirtioGsoNone) return pass(header, ip_packet, carver, out);
  return cut(header, ip_packet, carver, out);
}

}  // namespace switchback::packet
