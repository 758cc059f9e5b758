#include "common/ike/payload_ke.h"

#include <cassert>

namespace switchback::ike {

Result<KeyExchangeView, ParseError> parse_key_exchange(ByteView body) noexcept {
  WireReader r{body};
  const auto method = KeyExchangeId{r.u16be()};
  r.skip(2);
  const auto public_value = r.rest();
  if (!r.ok() || public_value.empty()) return fail(ParseErrc::truncated, r.offset());
  return KeyExchangeView{method, public_value};
}

void add_key_exchange(ChainBuilder& chain, KeyExchangeId method, ByteView public_value) {
  chain.add(PayloadType::key_exchange, [&](WireWriter& w) {
    w.u16be(static_cast<std::uint16_t>(method));
    w.u16be(0);
    w.bytes(public_value);
  });
}

Result<ByteView, ParseError> parse_nonce(ByteView body) noexcept {
  if (body.size() < kMinNonceOctets || body.size() > kMaxNonceOctets) return fail(ParseErrc::bad_length, 0);
  return body;
}

void add_nonce(ChainBuilder& chain, ByteView nonce) {
  assert(nonce.size() >= kMinNonceOctets && nonce.size() <= kMaxNonceOctets);
  chain.add(PayloadType::nonce, nonce);
}

}  // namespace switchback::ike
