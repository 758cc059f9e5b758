// Authenticated encryption of batches in place: AES-GCM and ChaCha20-Poly1305 as ESP and IKE use them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/secret.h"

namespace switchback::crypto {

/// All have a 16-octet tag, a 4-octet salt and an 8-octet explicit IV: RFC 4106, RFC 5282, RFC 7634.
enum class AeadAlgorithm : std::uint8_t { aes128_gcm, aes256_gcm, chacha20_poly1305 };

inline constexpr std::size_t kAeadTagOctets = 16;
inline constexpr std::size_t kAeadSaltOctets = 4;
inline constexpr std::size_t kAeadNonceOctets = 12;

/// Octets of the key itself: 16 or 32.
[[nodiscard]] constexpr std::size_t aead_key_octets(AeadAlgorithm algorithm) noexcept {
  return algorithm == AeadAlgorithm::aes128_gcm ? 16 : 32;
}
[[nodiscard]] std::string_view to_string(AeadAlgorithm algorithm) noexcept;

/// What key derivation yields for one direction: the key, then the salt (RFC 4106 §8.1).
struct AeadKey {
  AeadAlgorithm algorithm{};
  Secret key_and_salt;  // aead_key_octets() + kAeadSaltOctets

  [[nodiscard]] AeadKey clone() const { return {algorithm, key_and_salt.clone()}; }
  [[nodiscard]] ByteView key() const noexcept { return key_and_salt.view().first(aead_key_octets(algorithm)); }
  [[nodiscard]] ByteView salt() const noexcept { return key_and_salt.view().subspan(aead_key_octets(algorithm)); }
};

/// One message. Everything is borrowed for the duration of the call.
struct AeadJob {
  std::array<std::uint8_t, kAeadNonceOctets> nonce;  // salt, then explicit IV; never twice for one key
  ByteView aad;                                      // authenticated only; must not overlap text
  ByteSpan text;                                     // encrypted or decrypted in place; may be empty
  std::uint8_t* tag;                                 // 16 octets: written by seal, read by open
  bool ok = false;                                   // set by open, and by seal
};

/// Which library does the work.
enum class AeadBackend : std::uint8_t { ipsec_mb, openssl, libsodium };
[[nodiscard]] std::string_view to_string(AeadBackend backend) noexcept;

/// A cipher with one key, for one thread at a time. Calls allocate nothing.
class Aead {
 public:
  virtual ~Aead() = default;
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;

  /// Encrypts and writes the tags. A job that comes back with `ok` false (a library failed; not seen in practice) has
  /// its text zeroed: it must not be sent.
  virtual void seal(std::span<AeadJob> jobs) noexcept = 0;
  /// Decrypts what is authentic and sets `ok`. A forged text is zeroed: its plaintext is never released. Tags are
  /// compared in constant time.
  virtual void open(std::span<AeadJob> jobs) noexcept = 0;

  [[nodiscard]] virtual AeadBackend backend() const noexcept = 0;

 protected:
  Aead() = default;
};

/// A cipher of the backend that is fastest here. The first call of a process measures for about a millisecond; any
/// thread may call. Pre: the key has the size that its algorithm needs. Throws std::bad_alloc only.
[[nodiscard]] std::unique_ptr<Aead> make_aead(const AeadKey& key);
/// … or of the backend named; null if this CPU or library does not have that algorithm.
[[nodiscard]] std::unique_ptr<Aead> make_aead(const AeadKey& key, AeadBackend backend);

/// Those that work here for this algorithm and agree with OpenSSL on a known message; OpenSSL is always among them.
[[nodiscard]] std::vector<AeadBackend> available_backends(AeadAlgorithm algorithm);
/// What make_aead(key) uses, for logs and status. The first call measures.
[[nodiscard]] AeadBackend chosen_backend(AeadAlgorithm algorithm);

}  // namespace switchback::crypto
