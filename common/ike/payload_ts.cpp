#include "common/ike/payload_ts.h"

#include <cassert>

namespace switchback::ike {

Result<TrafficSelectorsView, ParseError> parse_traffic_selectors(ByteView body) {
  WireReader r{body};
  const auto count = r.u8();
  r.skip(3);
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  if (count == 0) return fail(ParseErrc::bad_value, 0);
  TrafficSelectorsView view;
  view.selectors.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    const auto offset = r.offset();
    const auto type = TsType{r.u8()};
    packet::TrafficSelector selector;
    selector.ip_protocol = r.u8();
    const auto length = r.u16be();
    if (!r.ok()) return fail(ParseErrc::truncated, offset);
    if (length < 4) return fail(ParseErrc::bad_length, offset + 2);
    const auto inside = r.bytes(length - 4U);
    if (!r.ok()) return fail(ParseErrc::truncated, offset);
    const std::size_t address_octets = type == TsType::ipv4_range ? 4 : type == TsType::ipv6_range ? 16 : 0;
    if (address_octets == 0) {
      ++view.skipped;
      continue;
    }
    if (inside.size() != 4 + 2 * address_octets) return fail(ParseErrc::bad_length, offset + 2);
    selector.first_port = load_be<std::uint16_t>(inside.data());
    selector.last_port = load_be<std::uint16_t>(inside.data() + 2);
    selector.first = IpAddress::from_bytes(inside.subspan(4, address_octets));
    selector.last = IpAddress::from_bytes(inside.subspan(4 + address_octets, address_octets));
    if (!packet::is_valid(selector)) return fail(ParseErrc::bad_value, offset + 4);
    view.selectors.push_back(selector);
  }
  if (!r.at_end()) return fail(ParseErrc::bad_length, r.offset());
  return view;
}

void add_traffic_selectors(ChainBuilder& chain, PayloadType which, const packet::TrafficSelectors& selectors) {
  assert(which == PayloadType::ts_initiator || which == PayloadType::ts_responder);
  assert(!selectors.empty() && selectors.size() <= packet::kMaxTrafficSelectors);
  chain.add(which, [&](WireWriter& w) {
    w.u8(static_cast<std::uint8_t>(selectors.size()));
    w.zeros(3);
    for (const auto& selector : selectors) {
      w.u8(static_cast<std::uint8_t>(selector.first.is_v4() ? TsType::ipv4_range : TsType::ipv6_range));
      w.u8(selector.ip_protocol);
      w.u16be(static_cast<std::uint16_t>(8 + 2 * selector.first.size()));
      w.u16be(selector.first_port);
      w.u16be(selector.last_port);
      w.bytes(selector.first.bytes());
      w.bytes(selector.last.bytes());
    }
  });
}

}  // namespace switchback::ike
