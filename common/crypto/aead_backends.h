// The backends of aead.h. Of this folder only.
#pragma once

#include <memory>

#include "common/crypto/aead.h"

namespace switchback::crypto {

/// Each returns null where its library or the CPU lacks the algorithm.
[[nodiscard]] std::unique_ptr<Aead> make_ipsec_mb_aead(const AeadKey& key);
[[nodiscard]] std::unique_ptr<Aead> make_openssl_aead(const AeadKey& key);
[[nodiscard]] std::unique_ptr<Aead> make_sodium_aead(const AeadKey& key);

}  // namespace switchback::crypto
