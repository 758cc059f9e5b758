#include <cassert>

#include "common/crypto/aead_backends.h"

#ifdef SB_HAVE_IPSEC_MB

#include <intel-ipsec-mb.h>

namespace switchback::crypto {
namespace {

// The manager is used as a table of functions for this CPU; its direct functions keep all state in their arguments, so
// every thread shares it. Null on a CPU without AES instructions, where the library would emulate them with tables.
const IMB_MGR* manager() {
  static const IMB_MGR* const shared = []() -> const IMB_MGR* {
    auto* made = alloc_mb_mgr(0);
    if (made == nullptr) return nullptr;
    IMB_ARCH architecture = IMB_ARCH_NONE;
    init_mb_mgr_auto(made, &architecture);
    constexpr auto kNeeded = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
    if (imb_get_errno(made) != 0 || (made->features & kNeeded) != kNeeded) {
      free_mb_mgr(made);
      return nullptr;
    }
    return made;
  }();
  return shared;
}

// The key schedule with its hash powers is part of the object: guard pages for each would not scale to a headend. It
// is wiped when it goes.
class IpsecMbGcm final : public Aead {
 public:
  IpsecMbGcm(const IMB_MGR& table, const AeadKey& key)
      : encrypt_{key.algorithm == AeadAlgorithm::aes128_gcm ? table.gcm128_enc : table.gcm256_enc},
        decrypt_{key.algorithm == AeadAlgorithm::aes128_gcm ? table.gcm128_dec : table.gcm256_dec} {
    const auto expand = key.algorithm == AeadAlgorithm::aes128_gcm ? table.gcm128_pre : table.gcm256_pre;
    expand(key.key().data(), &schedule_);
  }
  ~IpsecMbGcm() override {
    wipe({reinterpret_cast<std::uint8_t*>(&schedule_), sizeof schedule_});
    wipe({reinterpret_cast<std::uint8_t*>(&context_), sizeof context_});
  }

  void seal(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      encrypt_(&schedule_, &context_, job.text.data(), job.text.data(), job.text.size(), job.nonce.data(),
               job.aad.data(), job.aad.size(), job.tag, kAeadTagOctets);
      job.ok = true;
    }
  }

  void open(std::span<AeadJob> jobs) noexcept override {
    std::array<std::uint8_t, kAeadTagOctets> tag;
    for (auto& job : jobs) {
      decrypt_(&schedule_, &context_, job.text.data(), job.text.data(), job.text.size(), job.nonce.data(),
               job.aad.data(), job.aad.size(), tag.data(), tag.size());
      job.ok = constant_time_equal(tag, {job.tag, kAeadTagOctets});
      if (!job.ok) wipe(job.text);  // it was decrypted on the way
    }
    wipe(tag);  // of a forged message it is the tag that would have passed
  }

  [[nodiscard]] AeadBackend backend() const noexcept override { return AeadBackend::ipsec_mb; }

 private:
  alignas(64) gcm_key_data schedule_{};
  alignas(64) gcm_context_data context_{};
  aes_gcm_enc_dec_t encrypt_, decrypt_;
};

class IpsecMbChacha final : public Aead {
 public:
  IpsecMbChacha(const IMB_MGR& table, const AeadKey& key) : table_{table}, key_{key.key()} {}
  ~IpsecMbChacha() override { wipe({reinterpret_cast<std::uint8_t*>(&context_), sizeof context_}); }

  void seal(std::span<AeadJob> jobs) noexcept override {
    for (auto& job : jobs) {
      run(job, table_.chacha20_poly1305_enc_update, job.tag);
      job.ok = true;
    }
  }

  void open(std::span<AeadJob> jobs) noexcept override {
    std::array<std::uint8_t, kAeadTagOctets> tag;
    for (auto& job : jobs) {
      run(job, table_.chacha20_poly1305_dec_update, tag.data());
      job.ok = constant_time_equal(tag, {job.tag, kAeadTagOctets});
      if (!job.ok) wipe(job.text);
    }
    wipe(tag);
  }

  [[nodiscard]] AeadBackend backend() const noexcept override { return AeadBackend::ipsec_mb; }

 private:
  void run(AeadJob& job, chacha_poly_enc_dec_update_t update, std::uint8_t* tag) noexcept {
    const auto* key = key_.view().data();
    table_.chacha20_poly1305_init(key, &context_, job.nonce.data(), job.aad.data(), job.aad.size());
    update(key, &context_, job.text.data(), job.text.data(), job.text.size());
    table_.chacha20_poly1305_finalize(&context_, tag, kAeadTagOctets);
  }

  const IMB_MGR& table_;
  Secret key_;
  alignas(64) chacha20_poly1305_context_data context_{};
};

}  // namespace

std::unique_ptr<Aead> make_ipsec_mb_aead(const AeadKey& key) {
  const auto* table = manager();
  if (table == nullptr) return nullptr;
  if (key.algorithm == AeadAlgorithm::chacha20_poly1305) return std::make_unique<IpsecMbChacha>(*table, key);
  return std::make_unique<IpsecMbGcm>(*table, key);
}

}  // namespace switchback::crypto

#else

namespace switchback::crypto {
std::unique_ptr<Aead> make_ipsec_mb_aead(const AeadKey& /*key*/) { return nullptr; }
}  // namespace switchback::crypto

#endif
