// What CREATE_CHILD_SA and IKE_AUTH carry alike: the payloads that negotiate an SA.
#pragma once

#include <optional>
#include <vector>

#include "common/ike/message.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_sa.h"
#include "common/packet/traffic_selector.h"

namespace switchback::ike {

/// Views are borrowed from the message. Which of them must be present is the exchange's to say.
struct NegotiationPayloads {
  std::vector<Proposal> proposals;
  ByteView nonce;
  std::optional<KeyExchangeView> key_exchange;
  packet::TrafficSelectors initiator_selectors, responder_selectors;
};
/// Absent payloads stay empty. Errors: those of the payload parsers.
[[nodiscard]] Result<NegotiationPayloads, ParseError> parse_negotiation(const Payloads& payloads);

/// Every selector of the answer lies within what was offered, and there is at least one (RFC 7296 §2.9).
[[nodiscard]] bool is_narrowing(const packet::TrafficSelectors& answer, const packet::TrafficSelectors& offered);

}  // namespace switchback::ike
