#include "common/crypto/pki.h"

#include <openssl/rand.h>

#include <string>
#include <utility>

#include "common/crypto/certificate_parsed.h"
#include "common/crypto/private_key_handle.h"

namespace switchback::crypto {
namespace {

using ExtensionPtr = OpensslPtr<X509_EXTENSION, X509_EXTENSION_free>;

constexpr std::size_t kSerialOctets = 16;
constexpr std::chrono::hours kClockSlack{1};
constexpr std::size_t kMaxUserName = 64;  // RFC 5280 §A.1: ub-common-name
constexpr std::string_view kIkeIntermediate = "1.3.6.1.5.5.8.2.2";

// One certificate in the making; the first failure stays, and finish() reports it.
class Builder {
 public:
  Builder(std::string_view common_name, std::string_view organization, WallTime now, std::chrono::days lifetime)
      : x509_{X509_new()} {
    if (x509_ == nullptr) {
      good_ = false;
      return;
    }
    need(X509_set_version(x509_.get(), X509_VERSION_3));
    // RFC 5280 §4.1.2.2: positive, at most 20 octets; random, so that nothing is learnt from it.
    std::array<std::uint8_t, kSerialOctets> serial{};
    need(RAND_bytes(serial.data(), int{kSerialOctets}));
    serial[0] = static_cast<std::uint8_t>((serial[0] & 0x7fU) | 0x40U);
    const BignumPtr number{BN_bin2bn(serial.data(), int{kSerialOctets}, nullptr)};
    good_ =
        good_ && number != nullptr && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x509_.get())) != nullptr;
    const auto begin = now - kClockSlack;
    good_ = good_ && ASN1_TIME_set(X509_getm_notBefore(x509_.get()), to_time_t(begin)) != nullptr &&
            ASN1_TIME_set(X509_getm_notAfter(x509_.get()), to_time_t(now + lifetime)) != nullptr;
    auto* name = X509_get_subject_name(x509_.get());
    if (!organization.empty()) add_name(name, "O", organization);
    add_name(name, "CN", common_name);
  }

  void extension(int nid, const std::string& value) {
    X509V3_CTX context{};
    X509V3_set_ctx(&context, issuer_ != nullptr ? issuer_ : x509_.get(), x509_.get(), nullptr, nullptr, 0);
    if (!good_) return;
    const ExtensionPtr made{X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str())};
    good_ = made != nullptr && X509_add_ext(x509_.get(), made.get(), -1) == 1;
  }

  /// Built by hand and not from text, so that no name can break out of OpenSSL's configuration syntax.
  void alternative_names(const std::vector<std::string>& dns, const std::vector<std::string>& emails,
                         const std::vector<IpAddress>& addresses) {
    const OpensslPtr<GENERAL_NAMES, GENERAL_NAMES_free> names{GENERAL_NAMES_new()};
    if (!good_ || names == nullptr) {
      good_ = false;
      return;
    }
    const auto add = [&](int type, int string_type, ByteView value) {
      auto* name = GENERAL_NAME_new();
      auto* string = ASN1_STRING_type_new(string_type);
      if (name == nullptr || string == nullptr ||
          ASN1_STRING_set(string, value.data(), static_cast<int>(value.size())) != 1 ||
          sk_GENERAL_NAME_push(names.get(), name) == 0) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(string);
        good_ = false;
        return;
      }
      GENERAL_NAME_set0_value(name, type, string);
    };
    for (const auto& name : dns) add(GEN_DNS, V_ASN1_IA5STRING, as_bytes(name));
    for (const auto& name : emails) add(GEN_EMAIL, V_ASN1_IA5STRING, as_bytes(name));
    for (const auto& address : addresses) add(GEN_IPADD, V_ASN1_OCTET_STRING, address.bytes());
    if (sk_GENERAL_NAME_num(names.get()) == 0) return;
    need(X509_add1_ext_i2d(x509_.get(), NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT));
  }

  /// Fixes the key and the issuer; before extensions, whose key identifiers need both. Null: self-signed.
  void key_and_issuer(const PrivateKey& key, X509* issuer) {
    if (!good_) return;
    issuer_ = issuer;
    need(X509_set_pubkey(x509_.get(), key.handle().key.get()));
    need(X509_set_issuer_name(x509_.get(), X509_get_subject_name(issuer != nullptr ? issuer : x509_.get())));
  }

  [[nodiscard]] Result<Certificate, UserError> finish(const PrivateKey& signer) {
    const auto* digest = signer.type() == KeyType::ed25519      ? nullptr
                         : signer.type() == KeyType::ecdsa_p384 ? EVP_sha384()
                         : signer.type() == KeyType::ecdsa_p521 ? EVP_sha512()
                                                                : EVP_sha256();
    std::uint8_t* der = nullptr;
    const auto size =
        good_ && X509_sign(x509_.get(), signer.handle().key.get(), digest) > 0 ? i2d_X509(x509_.get(), &der) : -1;
    if (size <= 0) return fail_user("OpenSSL could not make a certificate; check the names that it should have.");
    const auto made = Certificate::parse({der, static_cast<std::size_t>(size)});
    OPENSSL_free(der);
    if (!made) return fail_user(std::string{"The certificate cannot be made: "} + to_string(made.error()) + ".");
    return *made;
  }

 private:
  static std::time_t to_time_t(WallTime time) { return static_cast<std::time_t>(time.time_since_epoch().count()); }
  void need(int result) { good_ = good_ && result == 1; }
  void add_name(X509_NAME* name, const char* field, std::string_view value) {
    const auto octets = as_bytes(value);
    need(X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, octets.data(), static_cast<int>(octets.size()), -1, 0));
  }

  X509Ptr x509_;
  X509* issuer_ = nullptr;  // borrowed
  bool good_ = true;
};

bool is_dns_name(std::string_view name) {
  return !name.empty() && name.size() <= 253 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_' || c == '*';
  });
}

}  // namespace

CertificateAuthority::CertificateAuthority(Certificate certificate, PrivateKey key) noexcept
    : certificate_{std::move(certificate)}, key_{std::move(key)} {}

Result<CertificateAuthority, UserError> CertificateAuthority::create(std::string_view name, WallTime now,
                                                                     KeyType type) {
  const ErrorQueueGuard guard;
  if (name.empty() || name.size() > kMaxUserName) {
    return fail_user("The name of the certification authority must have 1 to 64 characters.");
  }
  SB_TRY(auto key, PrivateKey::generate(type));
  Builder builder{name, {}, now, kAuthorityLifetime};
  builder.key_and_issuer(key, nullptr);
  builder.extension(NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  builder.extension(NID_key_usage, "critical,keyCertSign,cRLSign");
  builder.extension(NID_subject_key_identifier, "hash");
  SB_TRY(auto certificate, builder.finish(key));
  return CertificateAuthority{std::move(certificate), std::move(key)};
}

Result<CertificateAuthority, UserError> CertificateAuthority::load(std::string_view certificate_pem, ByteView key_pem,
                                                                   std::string_view where) {
  SB_TRY(auto certificates, Certificate::parse_pem(certificate_pem, where));
  SB_TRY(auto key, PrivateKey::parse_pem(key_pem, where));
  if (!certificates.front().is_authority()) {
    return fail_user(std::string{where} + ": the certificate of \"" + certificates.front().subject_text() +
                     "\" is not a certification authority's.");
  }
  if (!key.belongs_to(certificates.front())) {
    return fail_user(std::string{where} + ": the private key does not belong to the authority's certificate.");
  }
  return CertificateAuthority{certificates.front(), std::move(key)};
}

Result<IssuedCertificate, UserError> CertificateAuthority::issue_headend(const HeadendRequest& request,
                                                                         WallTime now) const {
  const ErrorQueueGuard guard;
  if (request.dns_names.empty() && request.addresses.empty()) {
    return fail_user("A headend's certificate needs at least one name or address that clients connect to.");
  }
  for (const auto& name : request.dns_names) {
    if (!is_dns_name(name)) return fail_user("\"" + name + "\" is no host name: letters, digits, '-' and '.' only.");
  }
  for (const auto& address : request.addresses) {
    if (address.empty()) return fail_user("An address of the headend is empty: give an IPv4 or IPv6 address.");
  }
  SB_TRY(auto key, PrivateKey::generate(request.key_type));
  const auto full_name = request.dns_names.empty() ? request.addresses.front().to_string() : request.dns_names.front();
  // The CN may have 64 characters only; the alternative names count.
  Builder builder{std::string_view{full_name}.substr(0, kMaxUserName), {}, now, request.lifetime};
  builder.key_and_issuer(key, certificate_.parsed().x509.get());
  builder.extension(NID_basic_constraints, "critical,CA:FALSE");
  builder.extension(NID_key_usage, "critical,digitalSignature");
  builder.extension(NID_ext_key_usage, "serverAuth," + std::string{kIkeIntermediate});
  builder.extension(NID_subject_key_identifier, "hash");
  builder.extension(NID_authority_key_identifier, "keyid:always");
  builder.alternative_names(request.dns_names, {}, request.addresses);
  SB_TRY(auto certificate, builder.finish(key_));
  return IssuedCertificate{std::move(certificate), std::move(key)};
}

Result<IssuedCertificate, UserError> CertificateAuthority::issue_user(const UserRequest& request, WallTime now) const {
  const ErrorQueueGuard guard;
  SB_CHECK(check_user_name(request.name));
  SB_TRY(auto key, PrivateKey::generate(request.key_type));
  Builder builder{request.name, {}, now, request.lifetime};
  builder.key_and_issuer(key, certificate_.parsed().x509.get());
  builder.extension(NID_basic_constraints, "critical,CA:FALSE");
  builder.extension(NID_key_usage, "critical,digitalSignature");
  builder.extension(NID_ext_key_usage, "clientAuth");
  builder.extension(NID_subject_key_identifier, "hash");
  builder.extension(NID_authority_key_identifier, "keyid:always");
  const bool mail = request.name.find('@') != std::string::npos;
  // strongSwan and others compare an ID_FQDN with dNSNames only, so a plain name stands there too.
  const std::vector<std::string> names{request.name};
  builder.alternative_names(mail ? std::vector<std::string>{} : names, mail ? names : std::vector<std::string>{}, {});
  SB_TRY(auto certificate, builder.finish(key_));
  return IssuedCertificate{std::move(certificate), std::move(key)};
}

Result<void, UserError> check_user_name(std::string_view name) {
  const auto at = name.find('@');
  const bool good = !name.empty() && name.size() <= kMaxUserName && at != 0 && at != name.size() - 1 &&
                    (at == std::string_view::npos || name.find('@', at + 1) == std::string_view::npos) &&
                    name.front() != '.' && name.front() != '-' && std::all_of(name.begin(), name.end(), [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                             c == '_' || c == '-' || c == '@';
                    });
  if (good) return {};
  return fail_user("\"" + std::string{name.substr(0, 100)} +
                   "\" cannot be a user's name: use 1 to 64 letters, digits, '.', '_', '-', and one '@' at most.");
}

}  // namespace switchback::crypto
