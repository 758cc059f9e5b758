// Key Exchange and Nonce payloads (RFC 7296 §3.4, §3.9).
#pragma once

#include "common/ike/message.h"

namespace switchback::ike {

/// Borrowed from the message. The public value is judged by crypto::KeyExchange.
struct KeyExchangeView {
  KeyExchangeId method;
  ByteView public_value;
};
/// Errors: truncated, also for an empty public value.
[[nodiscard]] Result<KeyExchangeView, ParseError> parse_key_exchange(ByteView body) noexcept;
void add_key_exchange(ChainBuilder& chain, KeyExchangeId method, ByteView public_value);

inline constexpr std::size_t kMinNonceOctets = 16;
inline constexpr std::size_t kMaxNonceOctets = 256;
/// What we send: at least half the key size of any PRF offered (§2.10).
inline constexpr std::size_t kNonceOctets = 32;

/// The nonce, borrowed from the message. Errors: bad_length outside 16 to 256 octets.
[[nodiscard]] Result<ByteView, ParseError> parse_nonce(ByteView body) noexcept;
void add_nonce(ChainBuilder& chain, ByteView nonce);

}  // namespace switchback::ike
