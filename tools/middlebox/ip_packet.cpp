#include "tools/middlebox/ip_packet.h"

#include <algorithm>

#include "common/packet/checksum.h"

namespace switchback::middlebox {

using namespace transports::ctcp;
using packet::IpProtocol;
using packet::IpView;

namespace {

constexpr std::uint8_t kTtl = 64;
/// RFC 1812 §4.3.2.3: as much of the packet as fits 576 octets; RFC 4443 §2.4 (c): 1280.
constexpr std::size_t kQuotedV4 = 576 - 28, kQuotedV6 = 1280 - 48;

/// An IP header for `payload_octets` of `protocol`; the payload is to be filled in behind it.
Bytes ip_header(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                std::size_t payload_octets) {
  Bytes out;
  if (source.is_v4()) {
    out.resize(packet::kIpv4HeaderBytes + payload_octets);
    out[0] = 0x45;
    store_be(out.data() + 2, static_cast<std::uint16_t>(out.size()));
    out[6] = 0x40;  // don't fragment
    out[8] = kTtl;
    out[9] = protocol;
    std::copy(source.bytes().begin(), source.bytes().end(), out.begin() + 12);
    std::copy(destination.bytes().begin(), destination.bytes().end(), out.begin() + 16);
    store_be(out.data() + 10, packet::checksum(ByteView{out}.first(packet::kIpv4HeaderBytes)));
  } else {
    out.resize(packet::kIpv6HeaderBytes + payload_octets);
    out[0] = 0x60;
    store_be(out.data() + 4, static_cast<std::uint16_t>(payload_octets));
    out[6] = protocol;
    out[7] = kTtl;
    std::copy(source.bytes().begin(), source.bytes().end(), out.begin() + 8);
    std::copy(destination.bytes().begin(), destination.bytes().end(), out.begin() + 24);
  }
  return out;
}

/// Options of a segment made to say what `to` says; those that it does not have become NOPs, unknown ones stay.
void write_options(ByteSpan options, const TcpOptions& to) noexcept {
  constexpr std::uint8_t kEnd = 0, kNop = 1, kMss = 2, kScale = 3, kSackPermitted = 4, kSack = 5, kTimestamps = 8;
  std::size_t at = 0;
  while (at < options.size() && options[at] != kEnd) {
    if (options[at] == kNop) {
      ++at;
      continue;
    }
    if (at + 1 >= options.size()) return;
    const std::size_t octets = options[at + 1];
    if (octets < 2 || octets > options.size() - at) return;
    const auto body = options.subspan(at + 2, octets - 2);
    const auto clear = [&] { std::fill_n(options.begin() + static_cast<std::ptrdiff_t>(at), octets, kNop); };
    switch (options[at]) {
      case kMss:
        if (to.mss && body.size() == 2) store_be(body.data(), *to.mss);
        if (!to.mss) clear();
        break;
      case kScale:
        if (!to.window_scale) clear();
        break;
      case kSackPermitted:
        if (!to.sack_permitted) clear();
        break;
      case kSack:
        if (to.sack_count == 0) clear();
        for (std::size_t i = 0; i < to.sack_count && (i + 1) * 8 <= body.size(); ++i) {
          store_be(body.data() + i * 8, to.sack[i].left);
          store_be(body.data() + i * 8 + 4, to.sack[i].right);
        }
        break;
      case kTimestamps:
        if (to.timestamps && body.size() == 8) {
          store_be(body.data(), to.timestamps->value);
          store_be(body.data() + 4, to.timestamps->echo);
        }
        if (!to.timestamps) clear();
        break;
      default: break;
    }
    at += octets;
  }
}

/// Header and payload of a segment into the packet that it came in; all else stays, and so does a wrong checksum.
void write_changes(ByteSpan packet, const TcpHeader& header, ByteView payload) noexcept {
  const auto ip = packet::parse_ip(packet);
  if (!ip) return;
  const auto octets = packet::tcp_header_bytes(packet, *ip);
  if (octets == 0 || ip->l4_offset + octets + payload.size() != ip->total_bytes) return;
  const auto tcp = packet.subspan(ip->l4_offset, ip->total_bytes - ip->l4_offset);
  const auto checksum = load_be<std::uint16_t>(tcp.data() + 16);
  const auto before = packet::ChecksumSum{}.add(tcp).finish();
  store_be(tcp.data() + 4, header.sequence);
  store_be(tcp.data() + 8, header.acknowledgement);
  store_be(tcp.data() + 14, header.window);
  write_options(tcp.subspan(kTcpHeaderBytes, octets - kTcpHeaderBytes), header.options);
  std::copy(payload.begin(), payload.end(), tcp.begin() + static_cast<std::ptrdiff_t>(octets));
  const auto after = packet::ChecksumSum{}.add(tcp).finish();
  // RFC 1624, with the whole segment as the field: both are complements of sums.
  store_be(tcp.data() + 16,
           packet::updated_checksum(checksum, static_cast<std::uint16_t>(~before), static_cast<std::uint16_t>(~after)));
}

/// Where TCP and UDP have their checksum, from the start of the transport header; 0: no such field.
std::size_t checksum_offset(const IpView& ip) noexcept {
  return ip.is(IpProtocol::tcp) ? 16 : ip.is(IpProtocol::udp) ? 6 : 0;
}

}  // namespace

std::string FlowKey::to_string() const {
  const auto name = protocol == static_cast<std::uint8_t>(IpProtocol::tcp)   ? std::string{"tcp"}
                    : protocol == static_cast<std::uint8_t>(IpProtocol::udp) ? std::string{"udp"}
                    : protocol == static_cast<std::uint8_t>(IpProtocol::esp) ? std::string{"esp"}
                                                                             : "ip" + std::to_string(protocol);
  return name + " " + inner.to_string() + " " + outer.to_string();
}

FlowKey flow_of(Direction direction, ByteView packet, const IpView& ip) {
  FlowKey flow;
  flow.protocol = ip.protocol;
  Endpoint source{packet::source_address(packet, ip), 0}, destination{packet::destination_address(packet, ip), 0};
  if (ip.is(IpProtocol::tcp) || ip.is(IpProtocol::udp)) {
    if (const auto ports = packet::ports_of(packet, ip)) {
      source.port = ports->source;
      destination.port = ports->destination;
    }
  }
  flow.inner = direction == Direction::outward ? source : destination;
  flow.outer = direction == Direction::outward ? destination : source;
  return flow;
}

std::optional<Segment> segment_of(Direction direction, ByteView packet, const IpView& ip) {
  if (!ip.is(IpProtocol::tcp) || ip.fragment) return std::nullopt;
  const auto parsed = parse_segment(packet.subspan(ip.l4_offset, ip.total_bytes - ip.l4_offset));
  if (!parsed) return std::nullopt;
  return Segment{direction, parsed->header, to_bytes(parsed->payload), to_bytes(packet.first(ip.total_bytes))};
}

bool tcp_checksum_right(ByteView packet, const IpView& ip) noexcept {
  const auto tcp = packet.subspan(ip.l4_offset, ip.total_bytes - ip.l4_offset);
  packet::ChecksumSum sum;
  sum.add_pseudo_header(packet.subspan(ip.source_offset, 2U * ip.address_bytes), ip.protocol,
                        static_cast<std::uint32_t>(tcp.size()));
  return sum.add(tcp).finish() == 0;
}

Bytes packet_of(const FlowKey& flow, Segment&& segment) {
  if (!segment.original.empty()) {
    if (segment.changed) write_changes(segment.original, segment.header, segment.payload);
    return std::move(segment.original);
  }
  const auto& source = segment.direction == Direction::outward ? flow.inner : flow.outer;
  const auto& destination = segment.direction == Direction::outward ? flow.outer : flow.inner;
  const auto tcp = build_segment(segment.header, segment.payload, source.address, destination.address);
  auto out = ip_header(source.address, destination.address, flow.protocol, tcp.size());
  std::copy(tcp.begin(), tcp.end(), out.end() - static_cast<std::ptrdiff_t>(tcp.size()));
  return out;
}

bool decrement_ttl(ByteSpan packet, const IpView& ip) noexcept {
  auto& ttl = packet[ip.family == IpFamily::v4 ? 8 : 7];
  if (ttl <= 1) return false;
  if (ip.family == IpFamily::v4) {
    const auto before = load_be<std::uint16_t>(packet.data() + 8);
    --ttl;
    const auto after = load_be<std::uint16_t>(packet.data() + 8);
    store_be(packet.data() + 10, packet::updated_checksum(load_be<std::uint16_t>(packet.data() + 10), before, after));
  } else {
    --ttl;
  }
  return true;
}

Bytes icmp_error(IcmpError error, ByteView about, const IpView& ip, const IpAddress& from, std::uint32_t mtu) {
  if (from.family() != ip.family || ip.later_fragment) return {};
  const auto source = packet::source_address(about, ip);
  if (source.is_unspecified()) return {};
  const bool v4 = ip.family == IpFamily::v4;
  if (ip.is(v4 ? IpProtocol::icmp : IpProtocol::icmpv6)) {
    // RFC 1122 §3.2.2, RFC 4443 §2.4 (e): never about an error.
    if (about.size() <= ip.l4_offset) return {};
    const auto type = about[ip.l4_offset];
    if (v4 ? (type != 8 && type != 0) : type < 128) return {};
  }
  const auto quoted = about.first(std::min(ip.total_bytes, v4 ? kQuotedV4 : kQuotedV6));
  const auto protocol = static_cast<std::uint8_t>(v4 ? IpProtocol::icmp : IpProtocol::icmpv6);
  auto out = ip_header(from, source, protocol, 8 + quoted.size());
  auto* icmp = out.data() + out.size() - 8 - quoted.size();
  switch (error) {
    case IcmpError::too_big:
      icmp[0] = v4 ? 3 : 2;
      icmp[1] = v4 ? 4 : 0;
      if (v4) {
        store_be(icmp + 6, static_cast<std::uint16_t>(mtu));  // RFC 1191 §4
      } else {
        store_be(icmp + 4, mtu);
      }
      break;
    case IcmpError::prohibited:
      icmp[0] = v4 ? 3 : 1;
      icmp[1] = v4 ? 13 : 1;
      break;
    case IcmpError::port_unreachable:
      icmp[0] = v4 ? 3 : 1;
      icmp[1] = v4 ? 3 : 4;
      break;
    case IcmpError::time_exceeded: icmp[0] = v4 ? 11 : 3; break;
  }
  std::copy(quoted.begin(), quoted.end(), icmp + 8);
  packet::ChecksumSum sum;
  if (!v4) {
    sum.add_pseudo_header(ByteView{out}.subspan(8, 32), protocol, static_cast<std::uint32_t>(8 + quoted.size()));
  }
  sum.add({icmp, 8 + quoted.size()});
  store_be(icmp + 2, sum.finish());
  return out;
}

void rewrite(ByteSpan packet, const IpView& ip, bool source, const Endpoint& to) noexcept {
  const auto field = checksum_offset(ip);
  auto* checksum = field != 0 && !ip.later_fragment && packet.size() >= ip.l4_offset + field + 2
                       ? packet.data() + ip.l4_offset + field
                       : nullptr;
  if (checksum != nullptr && ip.is(IpProtocol::udp) && load_be<std::uint16_t>(checksum) == 0) checksum = nullptr;
  const auto change = [&](std::uint8_t* at, std::uint16_t value, bool in_ip_header) {
    const auto before = load_be<std::uint16_t>(at);
    store_be(at, value);
    if (in_ip_header && ip.family == IpFamily::v4) {
      auto* own = packet.data() + 10;
      store_be(own, packet::updated_checksum(load_be<std::uint16_t>(own), before, value));
    }
    if (checksum == nullptr) return;
    auto updated = packet::updated_checksum(load_be<std::uint16_t>(checksum), before, value);
    if (updated == 0 && ip.is(IpProtocol::udp)) updated = 0xFFFF;
    store_be(checksum, updated);
  };
  auto* address = packet.data() + ip.source_offset + (source ? 0 : ip.address_bytes);
  const auto octets = to.address.bytes();
  for (std::size_t i = 0; i + 1 < octets.size(); i += 2) {
    change(address + i, load_be<std::uint16_t>(octets.data() + i), true);
  }
  if (to.port != 0 && field != 0 && !ip.later_fragment && packet.size() >= ip.l4_offset + 4U) {
    change(packet.data() + ip.l4_offset + (source ? 0 : 2), to.port, false);
  }
}

}  // namespace switchback::middlebox
