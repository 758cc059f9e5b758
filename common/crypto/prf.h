// Pseudo-random functions of IKEv2 (HMAC with SHA-2) and the plain hashes that the protocol needs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/secret.h"

namespace switchback::crypto {

/// RFC 4868 §2.1.2: the PRF's preferred key length is its output length.
enum class PrfAlgorithm : std::uint8_t { hmac_sha2_256, hmac_sha2_384, hmac_sha2_512 };

/// Octets of output and of preferred key length: 32, 48, 64.
[[nodiscard]] constexpr std::size_t prf_octets(PrfAlgorithm algorithm) noexcept {
  return algorithm == PrfAlgorithm::hmac_sha2_256 ? 32 : algorithm == PrfAlgorithm::hmac_sha2_384 ? 48 : 64;
}
[[nodiscard]] std::string_view to_string(PrfAlgorithm algorithm) noexcept;

/// prf(key, parts concatenated). Keys of any length, also none. Throws std::bad_alloc only.
[[nodiscard]] Secret prf(PrfAlgorithm algorithm, ByteView key, std::initializer_list<ByteView> parts);

/// The largest output of prf_plus: its counter is one octet (RFC 7296 §2.13).
[[nodiscard]] constexpr std::size_t prf_plus_limit(PrfAlgorithm algorithm) noexcept {
  return 255 * prf_octets(algorithm);
}
/// prf+(key, seeds concatenated), the first `octets` of it: RFC 7296 §2.13. Pre: octets <= prf_plus_limit().
[[nodiscard]] Secret prf_plus(PrfAlgorithm algorithm, ByteView key, std::initializer_list<ByteView> seeds,
                              std::size_t octets);

/// For NAT_DETECTION payloads and CERTREQ, where the standard fixes SHA-1; nothing here relies on its strength.
[[nodiscard]] std::array<std::uint8_t, 20> sha1(std::initializer_list<ByteView> parts);
[[nodiscard]] std::array<std::uint8_t, 32> sha256(std::initializer_list<ByteView> parts);

}  // namespace switchback::crypto
