#include "common/crypto/credentials.h"

#include <string>
#include <utility>

namespace switchback::crypto {

Result<Credentials, UserError> Credentials::from_certificate(std::vector<Certificate> chain, PrivateKey key) {
  if (chain.empty()) return fail_user("There is a private key, but no certificate for it: add its certificate.");
  if (!key.belongs_to(chain.front())) {
    return fail_user("The private key does not belong to the certificate of \"" + chain.front().subject_text() +
                     "\": put the end entity's certificate first, and give its own key.");
  }
  Credentials made;
  made.chain_ = std::move(chain);
  made.key_ = std::move(key);
  return made;
}

Result<Credentials, UserError> Credentials::from_pem(std::string_view chain_pem, ByteView key_pem,
                                                     std::string_view where) {
  SB_TRY(auto chain, Certificate::parse_pem(chain_pem, where));
  SB_TRY(auto key, PrivateKey::parse_pem(key_pem, where));
  auto made = from_certificate(std::move(chain), std::move(key));
  if (!made) return fail_user(std::string{where} + ": " + made.error().message);
  return made;
}

Result<Credentials, UserError> Credentials::from_pre_shared_key(Secret key) {
  if (key.empty()) return fail_user("The pre-shared key is empty: anyone could compute its proof. Give a long one.");
  Credentials made;
  made.pre_shared_key_ = std::move(key);
  return made;
}

}  // namespace switchback::crypto
