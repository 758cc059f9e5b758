// Traffic Selector payloads (RFC 7296 §3.13).
#pragma once

#include "common/ike/message.h"
#include "common/packet/traffic_selector.h"

namespace switchback::ike {

/// The selectors that we understand. Others (unknown TS types) are left out, as RFC 7296 §3.13.1 lets a narrowing
/// responder do, and counted.
struct TrafficSelectorsView {
  packet::TrafficSelectors selectors;
  std::size_t skipped = 0;
};
/// Errors: truncated; bad_length where lengths and type disagree; bad_value for no selectors, or an address range that
/// ends before it starts. A port range 65535..0 means OPAQUE and is kept as it is.
[[nodiscard]] Result<TrafficSelectorsView, ParseError> parse_traffic_selectors(ByteView body);
/// @param which  ts_initiator or ts_responder. Pre: 1 to 255 selectors.
void add_traffic_selectors(ChainBuilder& chain, PayloadType which, const packet::TrafficSelectors& selectors);

}  // namespace switchback::ike
