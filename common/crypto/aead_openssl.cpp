#include <new>

#include "common/crypto/aead_backends.h"
#include "common/crypto/openssl.h"

namespace switchback::crypto {
namespace {

const EVP_CIPHER* cipher(AeadAlgorithm algorithm) {
  // Fetched once: a context made from the legacy constants would search the providers each time.
  static EVP_CIPHER* const aes128 = EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr);
  static EVP_CIPHER* const aes256 = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  static EVP_CIPHER* const chacha = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  switch (algorithm) {
    case AeadAlgorithm::aes128_gcm: return aes128;
    case AeadAlgorithm::aes256_gcm: return aes256;
    case AeadAlgorithm::chacha20_poly1305: return chacha;
  }
  return nullptr;
}

// Contexts keep the expanded key; each message only sets its nonce. One context for each direction, since turning one
// round would expand the key again.
class OpensslAead final : public Aead {
 public:
  explicit OpensslAead(const AeadKey& key) : cipher_{cipher(key.algorithm)}, key_{key.key()} {
    seal_ = make_context(1);
    open_ = make_context(0);
  }

  void seal(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      job.ok = run(seal_.get(), job) &&
               EVP_CIPHER_CTX_ctrl(seal_.get(), EVP_CTRL_AEAD_GET_TAG, int{kAeadTagOctets}, job.tag) == 1;
      if (!job.ok) wipe(job.text);
    }
  }

  void open(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      // The tag goes in after the nonce, which resets it.
      job.ok = run(open_.get(), job, job.tag);
      if (!job.ok) wipe(job.text);
    }
  }

  [[nodiscard]] AeadBackend backend() const noexcept override { return AeadBackend::openssl; }

 private:
  [[nodiscard]] EvpCipherCtxPtr make_context(int encrypt) const {
    EvpCipherCtxPtr context{EVP_CIPHER_CTX_new()};
    if (cipher_ == nullptr || context == nullptr ||
        EVP_CipherInit_ex2(context.get(), cipher_, key_.view().data(), nullptr, encrypt, nullptr) != 1) {
      throw std::bad_alloc{};
    }
    return context;
  }

  /// @param expected  the tag to check, when opening
  static bool run(EVP_CIPHER_CTX* context, AeadJob& job, std::uint8_t* expected = nullptr) noexcept {
    int count = 0;
    if (EVP_CipherInit_ex2(context, nullptr, nullptr, job.nonce.data(), -1, nullptr) != 1) return false;
    if (expected != nullptr &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, int{kAeadTagOctets}, expected) != 1) {
      return false;
    }
    if (!job.aad.empty() &&
        EVP_CipherUpdate(context, nullptr, &count, job.aad.data(), static_cast<int>(job.aad.size())) != 1) {
      return false;
    }
    if (!job.text.empty() &&
        EVP_CipherUpdate(context, job.text.data(), &count, job.text.data(), static_cast<int>(job.text.size())) != 1) {
      return false;
    }
    std::array<std::uint8_t, 16> nothing;  // stream modes keep no block back
    return EVP_CipherFinal_ex(context, nothing.data(), &count) == 1;
  }

  const EVP_CIPHER* cipher_;
  Secret key_;
  EvpCipherCtxPtr seal_, open_;
};

}  // namespace

std::unique_ptr<Aead> make_openssl_aead(const AeadKey& key) { return std::make_unique<OpensslAead>(key); }

}  // namespace switchback::crypto
