// EAP payload (RFC 7296 §3.16, RFC 3748 §4): parsed, for methods that come later.
#pragma once

#include <cstdint>
#include <optional>

#include "common/ike/message.h"

namespace switchback::ike {

/// Borrowed from the message.
struct EapView {
  EapCode code;
  std::uint8_t identifier;
  std::optional<std::uint8_t> type;  // requests and responses only
  ByteView data;                     // after the type
};
/// Errors: truncated; bad_length unless the length field is the payload's; bad_value for an unknown code.
[[nodiscard]] Result<EapView, ParseError> parse_eap(ByteView body) noexcept;

}  // namespace switchback::ike
