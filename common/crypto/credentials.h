// What we prove our identity with: a certificate chain and its key, or a pre-shared key.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/crypto/certificate.h"
#include "common/crypto/private_key.h"

namespace switchback::crypto {

/// Move-only; immutable, so shared_ptr<const Credentials> serves many sessions and threads.
class Credentials {
 public:
  /// @param chain  end entity first, then intermediates; the anchor itself need not be there
  /// Errors: an empty chain, or a key that is not the first certificate's.
  [[nodiscard]] static Result<Credentials, UserError> from_certificate(std::vector<Certificate> chain, PrivateKey key);
  /// @param where  what to call the texts in error messages
  [[nodiscard]] static Result<Credentials, UserError> from_pem(std::string_view chain_pem, ByteView key_pem,
                                                               std::string_view where);
  /// The key's octets as they stand. Errors: an empty key.
  [[nodiscard]] static Result<Credentials, UserError> from_pre_shared_key(Secret key);

  [[nodiscard]] bool has_certificate() const noexcept { return key_.has_value(); }
  /// End entity first; empty with a pre-shared key.
  [[nodiscard]] const std::vector<Certificate>& chain() const noexcept { return chain_; }
  /// Pre: has_certificate().
  [[nodiscard]] const PrivateKey& key() const noexcept { return *key_; }
  /// Empty with a certificate.
  [[nodiscard]] const Secret& pre_shared_key() const noexcept { return pre_shared_key_; }

 private:
  Credentials() = default;

  std::vector<Certificate> chain_;
  std::optional<PrivateKey> key_;
  Secret pre_shared_key_;
};

}  // namespace switchback::crypto
