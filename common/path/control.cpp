#include "common/path/control.h"

#include <algorithm>
#include <cassert>

#include "common/base/wire_writer.h"

namespace switchback::path {
namespace {

constexpr std::uint8_t kFlagTcpView = 0x01;
constexpr std::uint8_t kFlagHolesOmitted = 0x02;
constexpr std::uint8_t kLastRole = 2;

bool read_claim(WireReader& reader, Claim& claim) {
  claim.decision = reader.u32be();
  const auto role = reader.u8();
  claim.role = Role{role};
  return role <= kLastRole;
}

void write_claim(WireWriter& writer, const Claim& claim) {
  writer.u32be(claim.decision);
  writer.u8(static_cast<std::uint8_t>(claim.role));
}

/// Runs from the newest to the oldest, below `highest`, with something received between any two.
bool plausible(std::span<const Hole> holes, std::uint64_t highest) {
  std::uint64_t newer_end = 0;  // distance from `highest` at which the hole before this one began
  for (const auto& hole : holes) {
    if (hole.length == 0 || hole.below >= highest) return false;  // sequence number 0 is never sent
    if (hole.below < hole.length) return false;                   // would cover `highest`, which was received
    const std::uint64_t last = hole.below - hole.length + std::uint64_t{1};  // distance of the run's last number
    if (last <= newer_end + (newer_end == 0 ? 0U : 1U)) return false;
    newer_end = hole.below;
  }
  return true;
}

Result<ControlMessage, ParseError> parse_probe(WireReader& reader) {
  Probe probe;
  probe.id = reader.u64be();
  probe.sent_at_us = reader.u64be();
  probe.sent_count = reader.u64be();
  const bool role_known = read_claim(reader, probe.claim);
  const auto reserved = reader.bytes(3);
  if (!reader.ok() || !reader.at_end()) return fail(ParseErrc::bad_length, reader.offset());
  if (!role_known || std::any_of(reserved.begin(), reserved.end(), [](auto octet) { return octet != 0; })) {
    return fail(ParseErrc::bad_value, reader.offset() - 4);
  }
  return probe;
}

Result<ControlMessage, ParseError> parse_probe_answer(WireReader& reader) {
  ProbeAnswer answer;
  answer.id = reader.u64be();
  answer.probe_sent_at_us = reader.u64be();
  answer.received_at_us = reader.u64be();
  answer.answered_at_us = reader.u64be();
  answer.received_count = reader.u64be();
  answer.decision = reader.u32be();
  const auto reserved = reader.u32be();
  if (!reader.ok() || !reader.at_end()) return fail(ParseErrc::bad_length, reader.offset());
  if (reserved != 0) return fail(ParseErrc::bad_value, reader.offset() - 4);
  return answer;
}

TcpView parse_tcp_view(WireReader& reader) {
  TcpView view;
  view.received_octets = reader.u64be();
  view.highest_octet = reader.u64be();
  view.acknowledged_octets = reader.u64be();
  view.window = reader.u32be();
  view.duplicate_acks = reader.u32be();
  view.resets = reader.u32be();
  view.fins = reader.u32be();
  view.resegmented = reader.u32be();
  return view;
}

Result<ControlMessage, ParseError> parse_report(WireReader& reader) {
  Report report;
  report.number = reader.u32be();
  report.spi = Spi{reader.u32be()};
  report.highest = reader.u64be();
  report.received_count = reader.u64be();
  report.received_octets = reader.u64be();
  report.peer_sent_count = reader.u64be();
  report.received_then = reader.u64be();
  report.sent_count = reader.u64be();
  report.quiet_us = reader.u32be();
  const bool role_known = read_claim(reader, report.claim);
  const auto flags = reader.u8();
  const std::size_t holes = reader.u8();
  const auto reserved = reader.u8();
  const auto fixed_end = reader.offset();
  if (!reader.ok()) return fail(ParseErrc::bad_length, fixed_end);
  if (!role_known || reserved != 0 || (flags & ~(kFlagTcpView | kFlagHolesOmitted)) != 0) {
    return fail(ParseErrc::bad_value, fixed_end - 4);
  }
  if (holes > kMaxHoles) return fail(ParseErrc::too_many, fixed_end - 2);
  report.holes_omitted = (flags & kFlagHolesOmitted) != 0;
  report.holes.reserve(holes);
  for (std::size_t i = 0; i < holes; ++i) {
    Hole hole;
    hole.below = reader.u32be();
    hole.length = reader.u32be();
    report.holes.push_back(hole);
  }
  if ((flags & kFlagTcpView) != 0) report.tcp = parse_tcp_view(reader);
  if (!reader.ok() || !reader.at_end()) return fail(ParseErrc::bad_length, reader.offset());
  if (!plausible(report.holes, report.highest)) return fail(ParseErrc::bad_value, fixed_end);
  return report;
}

Result<ControlMessage, ParseError> parse_pmtu(WireReader& reader, bool probe, std::size_t body_octets) {
  const auto id = reader.u64be();
  const auto packet_octets = reader.u16be();
  const auto stated = reader.u16be();
  const auto at = reader.offset();
  const auto padding = reader.rest();
  if (!reader.ok()) return fail(ParseErrc::bad_length, at);
  if (!probe) {
    if (!padding.empty()) return fail(ParseErrc::bad_length, at);
    return PmtuAnswer{id, packet_octets, stated};
  }
  if (stated != body_octets) return fail(ParseErrc::bad_length, at - 2);
  if (std::any_of(padding.begin(), padding.end(), [](auto octet) { return octet != 0; })) {
    return fail(ParseErrc::bad_value, at);
  }
  return PmtuProbe{id, packet_octets, stated};
}

constexpr std::uint8_t kSeesIpv6 = 0x01, kSeesTcp = 0x02, kSeesNumbers = 0x04, kSeesSack = 0x08, kSeesTimestamps = 0x10,
                       kSeesEngine = 0x20, kSeesScale = 0x40;
constexpr std::size_t kAddressField = 16;

IpAddress read_address(WireReader& reader, bool v6) {
  const auto octets = reader.bytes(kAddressField);
  return octets.empty() ? IpAddress{} : IpAddress::from_bytes(octets.first(v6 ? 16 : 4));
}

void write_address(WireWriter& writer, const IpAddress& address) {
  writer.bytes(address.bytes());
  writer.zeros(kAddressField - address.size());
}

Result<ControlMessage, ParseError> parse_observe(WireReader& reader) {
  Observe observe;
  observe.id = reader.u64be();
  observe.answer_octets = reader.u16be();
  const auto reserved = reader.u16be();
  if (!reader.ok() || !reader.at_end()) return fail(ParseErrc::bad_length, reader.offset());
  if (reserved != 0) return fail(ParseErrc::bad_value, reader.offset() - 2);
  return observe;
}

Result<ControlMessage, ParseError> parse_observation(WireReader& reader, std::size_t body_octets) {
  Observation seen;
  seen.id = reader.u64be();
  const auto flags = reader.u8();
  const auto scale = reader.u8();
  seen.remote.port = reader.u16be();
  seen.local.port = reader.u16be();
  TcpObservation tcp;
  tcp.mss = reader.u16be();
  seen.remote.address = read_address(reader, (flags & kSeesIpv6) != 0);
  seen.local.address = read_address(reader, (flags & kSeesIpv6) != 0);
  seen.received_count = reader.u64be();
  seen.sent_count = reader.u64be();
  seen.clock_s = reader.u64be();
  tcp.local_isn = reader.u32be();
  tcp.remote_isn = reader.u32be();
  tcp.resegmented = reader.u32be();
  tcp.resets = reader.u32be();
  tcp.rtt_us = reader.u32be();
  const auto stated = reader.u16be();
  const auto reserved = reader.u16be();
  const auto at = reader.offset();
  const auto padding = reader.rest();
  if (!reader.ok() || stated != body_octets) return fail(ParseErrc::bad_length, at);
  if (reserved != 0 || std::any_of(padding.begin(), padding.end(), [](auto octet) { return octet != 0; })) {
    return fail(ParseErrc::bad_value, at - 4);
  }
  if ((flags & kSeesTcp) != 0) {
    tcp.numbers_known = (flags & kSeesNumbers) != 0;
    tcp.sack = (flags & kSeesSack) != 0;
    tcp.timestamps = (flags & kSeesTimestamps) != 0;
    tcp.engine = (flags & kSeesEngine) != 0;
    if ((flags & kSeesScale) != 0) tcp.window_scale = scale;
    seen.tcp = tcp;
  }
  seen.body_octets = static_cast<std::uint16_t>(body_octets);
  return seen;
}

constexpr std::uint8_t kTracesIpv6 = 0x01, kTracesHops = 0x02;

bool is_trace_limit(std::uint8_t limit, bool order) noexcept {
  return limit <= kMaxTraceHops || (order && limit == kTraceReportOnly);
}

Result<ControlMessage, ParseError> parse_trace(WireReader& reader, bool order, std::size_t body_octets) {
  const auto id = reader.u64be();
  const auto limit = reader.u8();
  const auto reserved = reader.u8();
  const auto stated = reader.u16be();
  const auto at = reader.offset();
  const auto padding = reader.rest();
  if (!reader.ok()) return fail(ParseErrc::bad_length, at);
  if (reserved != 0 || !is_trace_limit(limit, order)) return fail(ParseErrc::bad_value, at - 4);
  if (!order) {
    if (!padding.empty()) return fail(ParseErrc::bad_length, at);
    if (stated != 0) return fail(ParseErrc::bad_value, at - 2);
    return TracePacket{id, limit};
  }
  if (stated != body_octets) return fail(ParseErrc::bad_length, at - 2);
  if (std::any_of(padding.begin(), padding.end(), [](auto octet) { return octet != 0; })) {
    return fail(ParseErrc::bad_value, at);
  }
  return TraceOrder{id, limit, stated};
}

bool plausible(const TraceHop& hop) noexcept {
  return hop.hop_limit >= 1 && hop.hop_limit <= kMaxTraceHops && hop.answered <= hop.sent &&
         (hop.answered == 0) == hop.from.empty();
}

Result<ControlMessage, ParseError> parse_trace_report(WireReader& reader) {
  TraceReport report;
  report.id = reader.u64be();
  report.sent_count = reader.u64be();
  report.data_segments_sent = reader.u64be();
  report.data_segments_received = reader.u64be();
  const auto flags = reader.u8();
  const std::size_t count = reader.u8();
  const auto reserved = reader.u16be();
  const auto fixed_end = reader.offset();
  if (!reader.ok()) return fail(ParseErrc::bad_length, fixed_end);
  if (reserved != 0 || (flags & ~(kTracesIpv6 | kTracesHops)) != 0) return fail(ParseErrc::bad_value, fixed_end - 4);
  if (count > kMaxTraceHops) return fail(ParseErrc::too_many, fixed_end - 3);
  report.hops_available = (flags & kTracesHops) != 0;
  report.hops.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    TraceHop hop;
    hop.hop_limit = reader.u8();
    const auto zeros = reader.bytes(3);
    hop.sent = reader.u32be();
    hop.answered = reader.u32be();
    hop.least_rtt_us = reader.u32be();
    const auto address = read_address(reader, (flags & kTracesIpv6) != 0);
    if (!reader.ok()) return fail(ParseErrc::bad_length, reader.offset());
    if (hop.answered != 0) hop.from = address;
    const bool in_order = report.hops.empty() || report.hops.back().hop_limit < hop.hop_limit;
    if (!in_order || !plausible(hop) ||
        std::any_of(zeros.begin(), zeros.end(), [](auto octet) { return octet != 0; })) {
      return fail(ParseErrc::bad_value, reader.offset() - kTraceHopOctets);
    }
    report.hops.push_back(hop);
  }
  if (!reader.at_end()) return fail(ParseErrc::bad_length, reader.offset());
  return report;
}

struct Builder {
  WireWriter& writer;

  void operator()(const Probe& probe) const {
    writer.u64be(probe.id);
    writer.u64be(probe.sent_at_us);
    writer.u64be(probe.sent_count);
    write_claim(writer, probe.claim);
    writer.zeros(3);
  }
  void operator()(const ProbeAnswer& answer) const {
    writer.u64be(answer.id);
    writer.u64be(answer.probe_sent_at_us);
    writer.u64be(answer.received_at_us);
    writer.u64be(answer.answered_at_us);
    writer.u64be(answer.received_count);
    writer.u32be(answer.decision);
    writer.zeros(4);
  }
  void operator()(const Report& report) const {
    assert(report.holes.size() <= kMaxHoles && plausible(report.holes, report.highest));
    writer.u32be(report.number);
    writer.u32be(report.spi.value);
    writer.u64be(report.highest);
    writer.u64be(report.received_count);
    writer.u64be(report.received_octets);
    writer.u64be(report.peer_sent_count);
    writer.u64be(report.received_then);
    writer.u64be(report.sent_count);
    writer.u32be(report.quiet_us);
    write_claim(writer, report.claim);
    writer.u8(
        static_cast<std::uint8_t>((report.tcp ? kFlagTcpView : 0U) | (report.holes_omitted ? kFlagHolesOmitted : 0U)));
    writer.u8(static_cast<std::uint8_t>(report.holes.size()));
    writer.u8(0);
    for (const auto& hole : report.holes) {
      writer.u32be(hole.below);
      writer.u32be(hole.length);
    }
    if (!report.tcp) return;
    writer.u64be(report.tcp->received_octets);
    writer.u64be(report.tcp->highest_octet);
    writer.u64be(report.tcp->acknowledged_octets);
    writer.u32be(report.tcp->window);
    writer.u32be(report.tcp->duplicate_acks);
    writer.u32be(report.tcp->resets);
    writer.u32be(report.tcp->fins);
    writer.u32be(report.tcp->resegmented);
  }
  void operator()(const PmtuProbe& probe) const {
    assert(probe.body_octets >= kPmtuOctets && probe.body_octets <= kMaxControlOctets);
    writer.u64be(probe.id);
    writer.u16be(probe.packet_octets);
    writer.u16be(probe.body_octets);
    writer.zeros(probe.body_octets - kPmtuOctets);
  }
  void operator()(const PmtuAnswer& answer) const {
    writer.u64be(answer.id);
    writer.u16be(answer.packet_octets);
    writer.u16be(answer.body_octets);
  }
  void operator()(const Observe& observe) const {
    writer.u64be(observe.id);
    writer.u16be(observe.answer_octets);
    writer.u16be(0);
  }
  void operator()(const Observation& seen) const {
    assert(seen.remote.address.family() == seen.local.address.family());
    assert(seen.body_octets == 0 || (seen.body_octets >= kObservationOctets && seen.body_octets <= kMaxControlOctets));
    const auto tcp = seen.tcp.value_or(TcpObservation{});
    unsigned flags = seen.remote.address.is_v6() ? kSeesIpv6 : 0U;
    if (seen.tcp) flags |= kSeesTcp;
    if (tcp.numbers_known) flags |= kSeesNumbers;
    if (tcp.sack) flags |= kSeesSack;
    if (tcp.timestamps) flags |= kSeesTimestamps;
    if (tcp.engine) flags |= kSeesEngine;
    if (tcp.window_scale) flags |= kSeesScale;
    writer.u64be(seen.id);
    writer.u8(static_cast<std::uint8_t>(flags));
    writer.u8(tcp.window_scale.value_or(0));
    writer.u16be(seen.remote.port);
    writer.u16be(seen.local.port);
    writer.u16be(tcp.mss);
    write_address(writer, seen.remote.address);
    write_address(writer, seen.local.address);
    writer.u64be(seen.received_count);
    writer.u64be(seen.sent_count);
    writer.u64be(seen.clock_s);
    writer.u32be(tcp.local_isn);
    writer.u32be(tcp.remote_isn);
    writer.u32be(tcp.resegmented);
    writer.u32be(tcp.resets);
    writer.u32be(tcp.rtt_us);
    writer.u16be(std::max(seen.body_octets, static_cast<std::uint16_t>(kObservationOctets)));
    writer.u16be(0);
    if (seen.body_octets > kObservationOctets) writer.zeros(seen.body_octets - kObservationOctets);
  }
  void operator()(const TraceOrder& order) const {
    assert(is_trace_limit(order.hop_limit, true));
    assert(order.body_octets == 0 || (order.body_octets >= kTraceOctets && order.body_octets <= kMaxControlOctets));
    const auto octets = std::max(order.body_octets, static_cast<std::uint16_t>(kTraceOctets));
    writer.u64be(order.id);
    writer.u8(order.hop_limit);
    writer.u8(0);
    writer.u16be(octets);
    writer.zeros(octets - kTraceOctets);
  }
  void operator()(const TracePacket& packet) const {
    assert(is_trace_limit(packet.hop_limit, false));
    writer.u64be(packet.id);
    writer.u8(packet.hop_limit);
    writer.zeros(3);
  }
  void operator()(const TraceReport& report) const {
    assert(report.hops.size() <= kMaxTraceHops);
    const bool v6 = std::any_of(report.hops.begin(), report.hops.end(), [](auto& hop) { return hop.from.is_v6(); });
    writer.u64be(report.id);
    writer.u64be(report.sent_count);
    writer.u64be(report.data_segments_sent);
    writer.u64be(report.data_segments_received);
    writer.u8(static_cast<std::uint8_t>((v6 ? kTracesIpv6 : 0U) | (report.hops_available ? kTracesHops : 0U)));
    writer.u8(static_cast<std::uint8_t>(report.hops.size()));
    writer.u16be(0);
    for (const auto& hop : report.hops) {
      assert(plausible(hop) && (hop.from.empty() || hop.from.is_v6() == v6));
      writer.u8(hop.hop_limit);
      writer.zeros(3);
      writer.u32be(hop.sent);
      writer.u32be(hop.answered);
      writer.u32be(hop.least_rtt_us);
      write_address(writer, hop.from);
    }
  }
};

constexpr std::array kTypeOfAlternative{ControlType::probe,       ControlType::probe_answer, ControlType::report,
                                        ControlType::pmtu_probe,  ControlType::pmtu_answer,  ControlType::observe,
                                        ControlType::observation, ControlType::trace_order,  ControlType::trace_packet,
                                        ControlType::trace_report};
static_assert(kTypeOfAlternative.size() == std::variant_size_v<ControlMessage>);

/// Unknown flags, fields without their flag, octets behind an IPv4 address: all have to be zero.
Result<ControlMessage, ParseError> only_as_built(Result<ControlMessage, ParseError> message, ByteView body) {
  if (!message) return message;
  Bytes again;
  build_control(*message, again);
  if (!same_bytes(again, body)) return fail(ParseErrc::bad_value, kControlHeaderOctets);
  return message;
}

}  // namespace

bool is_control(ByteView body) noexcept {
  return body.size() >= kControlHeaderOctets && same_bytes(body.first(kControlMagic.size()), kControlMagic);
}

Result<ControlMessage, ParseError> parse_control(ByteView body) {
  WireReader reader{body};
  const auto magic = reader.bytes(kControlMagic.size());
  const auto version = reader.u8();
  const auto type = ControlType{reader.u8()};
  const auto length = reader.u16be();
  if (!reader.ok()) return fail(ParseErrc::truncated, reader.offset());
  if (!same_bytes(magic, kControlMagic)) return fail(ParseErrc::bad_value, 0);
  if (version != kControlVersion) return fail(ParseErrc::unsupported, 4);
  if (length != body.size() || length > kMaxControlOctets) return fail(ParseErrc::bad_length, 6);
  switch (type) {
    case ControlType::probe: return parse_probe(reader);
    case ControlType::probe_answer: return parse_probe_answer(reader);
    case ControlType::report: return parse_report(reader);
    case ControlType::pmtu_probe: return parse_pmtu(reader, true, body.size());
    case ControlType::pmtu_answer: return parse_pmtu(reader, false, body.size());
    case ControlType::observe: return parse_observe(reader);
    case ControlType::observation: return only_as_built(parse_observation(reader, body.size()), body);
    case ControlType::trace_order: return parse_trace(reader, true, body.size());
    case ControlType::trace_packet: return parse_trace(reader, false, body.size());
    case ControlType::trace_report: return only_as_built(parse_trace_report(reader), body);
  }
  return fail(ParseErrc::unsupported, 5);
}

void build_control(const ControlMessage& message, Bytes& out) {
  const auto start = out.size();
  WireWriter writer{out};
  writer.bytes(kControlMagic);
  writer.u8(kControlVersion);
  writer.u8(static_cast<std::uint8_t>(kTypeOfAlternative[message.index()]));
  writer.u16be(0);
  std::visit(Builder{writer}, message);
  writer.patch_length_u16be(start + 6, start);
}

}  // namespace switchback::path
