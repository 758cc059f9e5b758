// Key exchange methods of IKEv2, with the encodings of their RFCs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/secret.h"

namespace switchback::crypto {

/// Values are IANA's (Transform Type 4): RFC 3526 §3, RFC 5903, RFC 8031.
enum class KeyExchangeMethod : std::uint16_t { modp_2048 = 14, ecp_256 = 19, ecp_384 = 20, curve25519 = 31 };

/// Octets of a public value on the wire: 256, 64 (x and y), 96 (x and y), 32.
[[nodiscard]] std::size_t public_value_octets(KeyExchangeMethod method) noexcept;
[[nodiscard]] std::string_view to_string(KeyExchangeMethod method) noexcept;

enum class KeyExchangeErrc : std::uint8_t {
  bad_size,          // the public value has not the size that its method fixes
  bad_public_value,  // not on the curve, not in the group, or of small order (RFC 6989 §2, RFC 7748 §6.1)
  internal,          // the library failed: no memory or no randomness
};
[[nodiscard]] const char* to_string(KeyExchangeErrc code) noexcept;

/// One end's half of an exchange, used once: the private key goes with the object. Move-only.
class KeyExchange {
 public:
  [[nodiscard]] static Result<KeyExchange, KeyExchangeErrc> generate(KeyExchangeMethod method);
  /// From a given private key (big-endian; little-endian for curve25519), for published vectors.
  [[nodiscard]] static Result<KeyExchange, KeyExchangeErrc> from_private(KeyExchangeMethod method,
                                                                         ByteView private_key);
  KeyExchange(KeyExchange&&) noexcept;
  KeyExchange& operator=(KeyExchange&&) noexcept;
  ~KeyExchange();

  [[nodiscard]] KeyExchangeMethod method() const noexcept { return method_; }
  /// As the KE payload carries it; borrowed from this object.
  [[nodiscard]] ByteView public_value() const noexcept { return public_value_; }
  /// g^ir in the fixed length that its RFC gives: for the curves the x coordinate (RFC 5903 §7), MODP padded (§2.14).
  /// @param peer  the data of the peer's KE payload: hostile
  [[nodiscard]] Result<Secret, KeyExchangeErrc> shared_secret(ByteView peer) const;

 private:
  struct Key;
  KeyExchange(KeyExchangeMethod method, std::unique_ptr<Key> key, Bytes public_value) noexcept;

  KeyExchangeMethod method_;
  std::unique_ptr<Key> key_;
  Bytes public_value_;
};

}  // namespace switchback::crypto
