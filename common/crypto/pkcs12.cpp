#include <openssl/err.h>

#include <string>
#include <utility>

#include "common/crypto/certificate_parsed.h"
#include "common/crypto/pki.h"
#include "common/crypto/private_key_handle.h"

namespace switchback::crypto {
namespace {

using Pkcs12Ptr = OpensslPtr<PKCS12, PKCS12_free>;
struct OwnedStackDeleter {
  void operator()(STACK_OF(X509) * stack) const noexcept { sk_X509_pop_free(stack, X509_free); }
};
using OwnedStackPtr = std::unique_ptr<STACK_OF(X509), OwnedStackDeleter>;

constexpr int kIterations = 20000;
constexpr std::size_t kMaxPkcs12Octets = std::size_t{1} << 20U;
constexpr int kMaxCertificates = 20;

Result<Certificate, UserError> reparse(X509* x509, std::string_view where) {
  std::uint8_t* der = nullptr;
  const auto size = i2d_X509(x509, &der);
  if (size <= 0) return fail_user(std::string{where} + ": a certificate in it is damaged.");
  const auto parsed = Certificate::parse({der, static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  if (!parsed) {
    return fail_user(std::string{where} + ": a certificate in it is not usable: " + to_string(parsed.error()) + ".");
  }
  return *parsed;
}

}  // namespace

Result<Secret, UserError> make_pkcs12(const Certificate& certificate, const PrivateKey& key,
                                      std::span<const Certificate> authorities, std::string_view label,
                                      std::string_view password, bool compatible) {
  const ErrorQueueGuard guard;
  const auto failed = [] { return fail_user("OpenSSL could not make a PKCS#12 file; is there enough memory?"); };
  if (!key.belongs_to(certificate)) return fail_user("The private key does not belong to the certificate.");
  const OwnedStackPtr stack{sk_X509_new_null()};
  if (stack == nullptr) return failed();
  for (const auto& authority : authorities) {
    auto* x509 = authority.parsed().x509.get();
    X509_up_ref(x509);
    if (sk_X509_push(stack.get(), x509) == 0) {
      X509_free(x509);
      return failed();
    }
  }
  const std::string name{label};
  const Secret secret_password{[&] {
    Bytes terminated = to_bytes(as_bytes(password));
    terminated.push_back(0);
    Secret copy{ByteView{terminated}};
    wipe(terminated);
    return copy;
  }()};
  const auto* password_text = reinterpret_cast<const char*>(secret_password.view().data());
  const int cipher = compatible ? NID_pbe_WithSHA1And3_Key_TripleDES_CBC : NID_aes_256_cbc;
  // The MAC is made apart, since PKCS12_create would take SHA-256 where older importers know SHA-1 only.
  const Pkcs12Ptr file{PKCS12_create(password_text, name.c_str(), key.handle().key.get(),
                                     certificate.parsed().x509.get(), stack.get(), cipher, cipher, kIterations, -1, 0)};
  if (file == nullptr || PKCS12_set_mac(file.get(), password_text, static_cast<int>(password.size()), nullptr, 0,
                                        kIterations, compatible ? EVP_sha1() : EVP_sha256()) != 1) {
    return failed();
  }
  const auto bio = secret_writer();
  if (bio == nullptr || i2d_PKCS12_bio(bio.get(), file.get()) != 1) return failed();
  return Secret{written(bio.get())};
}

Result<Pkcs12Content, UserError> read_pkcs12(ByteView der, std::string_view password, std::string_view where) {
  const ErrorQueueGuard guard;
  const auto refuse = [&](std::string_view why) { return fail_user(std::string{where} + ": " + std::string{why}); };
  if (der.size() > kMaxPkcs12Octets) return refuse("it is too large for a PKCS#12 file: 1 MiB is the most.");
  const auto* at = der.data();
  const Pkcs12Ptr file{d2i_PKCS12(nullptr, &at, static_cast<long>(der.size()))};
  if (file == nullptr) return refuse("it is no PKCS#12 file.");
  std::string terminated{password};
  EVP_PKEY* raw_key = nullptr;
  X509* raw_certificate = nullptr;
  STACK_OF(X509)* raw_others = nullptr;
  const auto parsed = PKCS12_parse(file.get(), terminated.c_str(), &raw_key, &raw_certificate, &raw_others);
  wipe({reinterpret_cast<std::uint8_t*>(terminated.data()), terminated.size()});
  EvpPkeyPtr key{raw_key};
  const X509Ptr x509{raw_certificate};
  const OwnedStackPtr others{raw_others};
  if (parsed != 1) return refuse("the password is wrong, or the file is damaged.");
  if (key == nullptr || x509 == nullptr) return refuse("it holds no private key with its certificate.");
  SB_TRY(auto private_key, adopt_private_key(std::move(key), where));
  SB_TRY(auto certificate, reparse(x509.get(), where));
  Pkcs12Content content{std::move(certificate), std::move(private_key), {}};
  const auto count = others != nullptr ? sk_X509_num(others.get()) : 0;
  if (count > kMaxCertificates) return refuse("it holds more than 20 certificates; export only those needed.");
  for (int i = 0; i < count; ++i) {
    SB_TRY(auto authority, reparse(sk_X509_value(others.get(), i), where));
    content.authorities.push_back(std::move(authority));
  }
  return content;
}

}  // namespace switchback::crypto
