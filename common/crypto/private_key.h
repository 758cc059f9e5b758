// Private keys that sign: made, read and written.
#pragma once

#include <memory>
#include <string_view>

#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/crypto/certificate.h"

namespace switchback::crypto {

/// Move-only; the key lives in OpenSSL's memory and is wiped with this object. Signing from several threads is fine.
class PrivateKey {
 public:
  /// RSA keys are made with 3072 bits.
  [[nodiscard]] static Result<PrivateKey, UserError> generate(KeyType type);
  /// PEM: PKCS#8, or the older forms of EC and RSA keys. Encrypted keys are refused with a sentence about it.
  /// @param where  what to call the text in error messages
  [[nodiscard]] static Result<PrivateKey, UserError> parse_pem(ByteView pem, std::string_view where);
  PrivateKey(PrivateKey&&) noexcept;
  PrivateKey& operator=(PrivateKey&&) noexcept;
  ~PrivateKey();

  [[nodiscard]] KeyType type() const noexcept;
  [[nodiscard]] bool belongs_to(const Certificate& certificate) const;
  /// PKCS#8, not encrypted: for a file of mode 0600.
  [[nodiscard]] Result<Secret, UserError> to_pem() const;
  /// Another handle on the same key.
  [[nodiscard]] PrivateKey share() const;

  struct Handle;  // of this folder only
  [[nodiscard]] const Handle& handle() const noexcept { return *handle_; }
  explicit PrivateKey(std::unique_ptr<Handle> handle) noexcept;

 private:
  std::unique_ptr<Handle> handle_;
};

}  // namespace switchback::crypto
