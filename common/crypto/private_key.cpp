#include "common/crypto/private_key.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <string>
#include <utility>

#include "common/crypto/certificate_parsed.h"
#include "common/crypto/private_key_handle.h"

namespace switchback::crypto {
namespace {

constexpr std::size_t kRsaBits = 3072;

EvpPkeyPtr generate_key(KeyType type) {
  switch (type) {
    case KeyType::ecdsa_p256: return EvpPkeyPtr{EVP_EC_gen("P-256")};
    case KeyType::ecdsa_p384: return EvpPkeyPtr{EVP_EC_gen("P-384")};
    case KeyType::ecdsa_p521: return EvpPkeyPtr{EVP_EC_gen("P-521")};
    case KeyType::ed25519: return EvpPkeyPtr{EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")};
    case KeyType::rsa: return EvpPkeyPtr{EVP_RSA_gen(kRsaBits)};
  }
  return nullptr;
}

// Without a callback the library would ask at the terminal.
int refuse_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

}  // namespace

PrivateKey::PrivateKey(std::unique_ptr<Handle> handle) noexcept : handle_{std::move(handle)} {}
PrivateKey::PrivateKey(PrivateKey&&) noexcept = default;
PrivateKey& PrivateKey::operator=(PrivateKey&&) noexcept = default;
PrivateKey::~PrivateKey() = default;

Result<PrivateKey, UserError> adopt_private_key(EvpPkeyPtr key, std::string_view where) {
  const auto type = accepted_key_type(key.get());
  if (!type) {
    return fail_user(std::string{where} + ": this kind of private key is not supported; use ECDSA P-256, P-384 or " +
                     "P-521, Ed25519, or RSA with 2048 to 8192 bits.");
  }
  return PrivateKey{std::make_unique<PrivateKey::Handle>(PrivateKey::Handle{std::move(key), *type})};
}

Result<PrivateKey, UserError> PrivateKey::generate(KeyType type) {
  const ErrorQueueGuard guard;
  auto key = generate_key(type);
  if (key == nullptr) return fail_user("OpenSSL could not make a private key; is the system's randomness available?");
  return adopt_private_key(std::move(key), "A new key");
}

Result<PrivateKey, UserError> PrivateKey::parse_pem(ByteView pem, std::string_view where) {
  const ErrorQueueGuard guard;
  const auto bio = memory_reader(pem);
  bool asked = false;
  EvpPkeyPtr key{bio != nullptr ? PEM_read_bio_PrivateKey(bio.get(), nullptr, refuse_passphrase, &asked) : nullptr};
  if (asked) {
    return fail_user(std::string{where} + ": the private key is encrypted with a passphrase; decrypt it with " +
                     "\"openssl pkey\" and keep the file readable by its owner only.");
  }
  if (key == nullptr) {
    return fail_user(std::string{where} + ": there is no private key in PEM form (\"-----BEGIN PRIVATE KEY-----\").");
  }
  return adopt_private_key(std::move(key), where);
}

KeyType PrivateKey::type() const noexcept { return handle_->type; }

bool PrivateKey::belongs_to(const Certificate& certificate) const {
  const ErrorQueueGuard guard;
  const auto* public_key = X509_get0_pubkey(certificate.parsed().x509.get());
  return public_key != nullptr && EVP_PKEY_eq(public_key, handle_->key.get()) == 1;
}

Result<Secret, UserError> PrivateKey::to_pem() const {
  const ErrorQueueGuard guard;
  const auto bio = secret_writer();
  if (bio == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), handle_->key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return fail_user("OpenSSL could not write a private key; is there enough memory?");
  }
  return Secret{written(bio.get())};
}

PrivateKey PrivateKey::share() const {
  EVP_PKEY_up_ref(handle_->key.get());
  return PrivateKey{std::make_unique<Handle>(Handle{EvpPkeyPtr{handle_->key.get()}, handle_->type})};
}

}  // namespace switchback::crypto
