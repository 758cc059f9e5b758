#include <sodium.h>

#include <new>

#include "common/crypto/aead_backends.h"

namespace switchback::crypto {
namespace {

bool ready() {
  static const bool worked = sodium_init() >= 0;
  return worked;
}

/// libsodium's functions are declared never to take a null text, not even an empty one.
std::uint8_t* not_null(ByteSpan text) noexcept {
  static std::uint8_t nothing = 0;
  return text.empty() ? &nothing : text.data();
}

class SodiumGcm final : public Aead {
 public:
  explicit SodiumGcm(const AeadKey& key) { crypto_aead_aes256gcm_beforenm(&schedule_, key.key().data()); }
  ~SodiumGcm() override { sodium_memzero(&schedule_, sizeof schedule_); }

  void seal(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      job.ok = crypto_aead_aes256gcm_encrypt_detached_afternm(not_null(job.text), job.tag, nullptr, not_null(job.text),
                                                              job.text.size(), job.aad.data(), job.aad.size(), nullptr,
                                                              job.nonce.data(), &schedule_) == 0;
      if (!job.ok) wipe(job.text);
    }
  }

  void open(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      job.ok = crypto_aead_aes256gcm_decrypt_detached_afternm(not_null(job.text), nullptr, not_null(job.text),
                                                              job.text.size(), job.tag, job.aad.data(), job.aad.size(),
                                                              job.nonce.data(), &schedule_) == 0;
      if (!job.ok) wipe(job.text);
    }
  }

  [[nodiscard]] AeadBackend backend() const noexcept override { return AeadBackend::libsodium; }

 private:
  alignas(64) crypto_aead_aes256gcm_state schedule_;
};

class SodiumChacha final : public Aead {
 public:
  explicit SodiumChacha(const AeadKey& key) : key_{key.key()} {}

  void seal(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      job.ok = crypto_aead_chacha20poly1305_ietf_encrypt_detached(
                   not_null(job.text), job.tag, nullptr, not_null(job.text), job.text.size(), job.aad.data(),
                   job.aad.size(), nullptr, job.nonce.data(), key_.view().data()) == 0;
      if (!job.ok) wipe(job.text);
    }
  }

  void open(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      job.ok = crypto_aead_chacha20poly1305_ietf_decrypt_detached(
                   not_null(job.text), nullptr, not_null(job.text), job.text.size(), job.tag, job.aad.data(),
                   job.aad.size(), job.nonce.data(), key_.view().data()) == 0;
      if (!job.ok) wipe(job.text);
    }
  }

  [[nodiscard]] AeadBackend backend() const noexcept override { return AeadBackend::libsodium; }

 private:
  Secret key_;
};

}  // namespace

std::unique_ptr<Aead> make_sodium_aead(const AeadKey& key) {
  if (!ready()) return nullptr;
  switch (key.algorithm) {
    case AeadAlgorithm::aes128_gcm: return nullptr;  // the library has AES-256 only
    case AeadAlgorithm::aes256_gcm:
      if (crypto_aead_aes256gcm_is_available() == 0) return nullptr;
      return std::make_unique<SodiumGcm>(key);
    case AeadAlgorithm::chacha20_poly1305: return std::make_unique<SodiumChacha>(key);
  }
  return nullptr;
}

}  // namespace switchback::crypto
