#include "common/crypto/certificate.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>

#include <optional>
#include <utility>

#include "common/crypto/certificate_parsed.h"
#include "common/crypto/prf.h"

namespace switchback::crypto {
namespace {

using GeneralNamesPtr = OpensslPtr<GENERAL_NAMES, GENERAL_NAMES_free>;
using UsagePtr = OpensslPtr<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free>;

constexpr std::size_t kMaxNameOctets = 255;
constexpr std::size_t kMaxPemCertificates = 100;

// RFC 4945 §5.1.3.12 and Apple's; OpenSSL has the first by name.
constexpr const char* kIkeIntermediate = "1.3.6.1.5.5.8.2.2";

bool printable(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

bool same_name(std::string_view a, std::string_view b) noexcept {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

// RFC 9525 §6.3: a wildcard is the whole left-most label, stands for one label, and leaves at least two after it.
bool matches_dns(std::string_view pattern, std::string_view name, bool wildcards) noexcept {
  if (same_name(pattern, name)) return pattern.find('*') == std::string_view::npos;
  if (!wildcards || !pattern.starts_with("*.")) return false;
  const auto rest = pattern.substr(1);
  const auto dot = name.find('.');
  if (dot == std::string_view::npos || dot == 0 || rest.find('*') != std::string_view::npos) return false;
  return rest.find('.', 1) != std::string_view::npos && same_name(rest, name.substr(dot));
}

Bytes name_der(const X509_NAME* name) {
  const std::uint8_t* der = nullptr;
  std::size_t size = 0;
  if (X509_NAME_get0_der(name, &der, &size) != 1) return {};
  return {der, der + size};
}

// UTF-8 of the last CN, if it is printable ASCII without a NUL hidden in it.
std::string last_common_name(const X509_NAME* name) {
  int index = -1, last = -1;
  while ((index = X509_NAME_get_index_by_NID(name, NID_commonName, index)) >= 0) last = index;
  if (last < 0) return {};
  std::uint8_t* text = nullptr;
  const auto size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, last)));
  if (size < 0) return {};
  std::string value{as_text({text, static_cast<std::size_t>(size)})};
  OPENSSL_free(text);
  return value.size() <= kMaxNameOctets && printable(value) ? value : std::string{};
}

std::optional<WallTime> to_wall_time(const ASN1_TIME* time) {
  std::tm broken{};
  if (ASN1_TIME_to_tm(time, &broken) != 1) return std::nullopt;
  const auto date = std::chrono::year{broken.tm_year + 1900} /
                    std::chrono::month{static_cast<unsigned>(broken.tm_mon + 1)} /
                    std::chrono::day{static_cast<unsigned>(broken.tm_mday)};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days{date} + std::chrono::hours{broken.tm_hour} + std::chrono::minutes{broken.tm_min} +
         std::chrono::seconds{broken.tm_sec};
}

std::optional<CertificateErrc> read_names(const X509* x509, Certificate::Parsed& out) {
  int critical = -1;
  const GeneralNamesPtr names{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(x509, NID_subject_alt_name, &critical, nullptr))};
  if (names == nullptr) {
    if (critical == -1) return std::nullopt;                                         // none there
    return critical == -2 ? CertificateErrc::bad_name : CertificateErrc::malformed;  // there twice, or broken
  }
  const auto count = sk_GENERAL_NAME_num(names.get());
  if (count > static_cast<int>(kMaxSubjectNames)) return CertificateErrc::too_many_names;
  for (int i = 0; i < count; ++i) {
    const auto* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS && name->type != GEN_EMAIL && name->type != GEN_IPADD) continue;
    const auto* string = name->type == GEN_IPADD ? name->d.iPAddress : name->d.ia5;
    const ByteView value{ASN1_STRING_get0_data(string), static_cast<std::size_t>(ASN1_STRING_length(string))};
    if (name->type == GEN_IPADD) {
      const auto address = IpAddress::from_bytes(value);
      if (address.empty()) return CertificateErrc::bad_name;
      out.addresses.push_back(address);
      continue;
    }
    const auto text = as_text(value);
    if (text.empty() || text.size() > kMaxNameOctets || !printable(text)) return CertificateErrc::bad_name;
    (name->type == GEN_DNS ? out.dns_names : out.emails).emplace_back(text);
  }
  return std::nullopt;
}

// False if the extension is there and broken.
bool read_usage(const X509* x509, Certificate::Parsed& out) {
  int critical = -1;
  const UsagePtr usage{static_cast<EXTENDED_KEY_USAGE*>(X509_get_ext_d2i(x509, NID_ext_key_usage, &critical, nullptr))};
  if (usage == nullptr) {
    out.allows_headend = out.allows_client = critical == -1;
    return critical == -1;
  }
  for (int i = 0; i < sk_ASN1_OBJECT_num(usage.get()); ++i) {
    const auto* object = sk_ASN1_OBJECT_value(usage.get(), i);
    std::array<char, 64> dotted{};
    OBJ_obj2txt(dotted.data(), static_cast<int>(dotted.size()), object, 1);
    const auto nid = OBJ_obj2nid(object);
    const bool any = nid == NID_anyExtendedKeyUsage || nid == NID_ipsec_IKE;
    out.allows_client |= any || nid == NID_client_auth;
    // ikeIntermediate is what servers show to Apple's clients; our user certificates do not have it, so that no user
    // can stand in for a headend.
    out.allows_headend |= any || nid == NID_server_auth || std::string_view{dotted.data()} == kIkeIntermediate;
  }
  return true;
}

}  // namespace

std::optional<KeyType> accepted_key_type(const EVP_PKEY* key) {
  if (key == nullptr) return std::nullopt;
  if (EVP_PKEY_is_a(key, "ED25519") == 1) return KeyType::ed25519;
  if (EVP_PKEY_is_a(key, "EC") == 1) {
    std::array<char, 64> group{};
    std::size_t size = 0;
    if (EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) != 1) return std::nullopt;
    const std::string_view curve{group.data(), size};
    if (curve == "prime256v1") return KeyType::ecdsa_p256;
    if (curve == "secp384r1") return KeyType::ecdsa_p384;
    if (curve == "secp521r1") return KeyType::ecdsa_p521;
    return std::nullopt;
  }
  if (EVP_PKEY_is_a(key, "RSA") == 1 || EVP_PKEY_is_a(key, "RSA-PSS") == 1) {
    const auto bits = EVP_PKEY_get_bits(key);
    if (bits < 2048 || bits > 8192) return std::nullopt;
    BIGNUM* exponent = nullptr;
    const bool got = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) == 1;
    const BignumPtr owned{exponent};
    // A huge exponent would make each verification as dear as a signature; 3 and up to 64 bits are what exists.
    if (!got || BN_num_bits(exponent) > 64 || BN_is_odd(exponent) == 0 || BN_is_one(exponent) == 1) return std::nullopt;
    return KeyType::rsa;
  }
  return std::nullopt;
}

std::string_view to_string(KeyType type) noexcept {
  switch (type) {
    case KeyType::ecdsa_p256: return "ecdsa-p256";
    case KeyType::ecdsa_p384: return "ecdsa-p384";
    case KeyType::ecdsa_p521: return "ecdsa-p521";
    case KeyType::ed25519: return "ed25519";
    case KeyType::rsa: return "rsa";
  }
  return "unknown";
}

const char* to_string(CertificateErrc code) noexcept {
  switch (code) {
    case CertificateErrc::too_large: return "the certificate is too large";
    case CertificateErrc::malformed: return "it is no certificate in DER";
    case CertificateErrc::bad_name: return "an alternative name is empty, twisted or not printable";
    case CertificateErrc::too_many_names: return "it has too many alternative names";
    case CertificateErrc::unsupported_key: return "its key type or size is not supported";
  }
  return "unknown";
}

Result<Certificate, CertificateErrc> Certificate::parse(ByteView der) {
  const ErrorQueueGuard guard;
  if (der.size() > kMaxCertificateOctets) return fail(CertificateErrc::too_large);
  const auto* at = der.data();
  auto parsed = std::make_shared<Parsed>();
  parsed->x509.reset(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  auto* x509 = parsed->x509.get();
  if (x509 == nullptr || at != der.data() + der.size()) return fail(CertificateErrc::malformed);
  // Makes OpenSSL take the extensions apart now, so that nothing is lazily written to a shared certificate later.
  if (X509_check_purpose(x509, -1, 0) != 1 || (X509_get_extension_flags(x509) & EXFLAG_INVALID) != 0) {
    return fail(CertificateErrc::malformed);
  }
  parsed->der = to_bytes(der);
  parsed->subject = name_der(X509_get_subject_name(x509));
  parsed->issuer = name_der(X509_get_issuer_name(x509));
  parsed->subject_text = name_text(X509_get_subject_name(x509));
  parsed->common_name = last_common_name(X509_get_subject_name(x509));
  const auto* serial = X509_get0_serialNumber(x509);
  parsed->serial = to_bytes({ASN1_STRING_get0_data(serial), static_cast<std::size_t>(ASN1_STRING_length(serial))});

  const auto not_before = to_wall_time(X509_get0_notBefore(x509));
  const auto not_after = to_wall_time(X509_get0_notAfter(x509));
  if (!not_before || !not_after) return fail(CertificateErrc::malformed);
  parsed->not_before = *not_before;
  parsed->not_after = *not_after;

  const auto key_type = accepted_key_type(X509_get0_pubkey(x509));
  if (!key_type) return fail(CertificateErrc::unsupported_key);
  parsed->key_type = *key_type;
  if (const auto error = read_names(x509, *parsed)) return fail(*error);
  if (!read_usage(x509, *parsed)) return fail(CertificateErrc::malformed);
  const auto flags = X509_get_extension_flags(x509);
  parsed->is_authority =
      (flags & EXFLAG_CA) != 0 && ((flags & EXFLAG_KUSAGE) == 0 || (X509_get_key_usage(x509) & KU_KEY_CERT_SIGN) != 0);

  std::uint8_t* key_info = nullptr;
  const auto key_info_size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &key_info);
  if (key_info_size <= 0) return fail(CertificateErrc::malformed);
  parsed->public_key_hash = sha1({ByteView{key_info, static_cast<std::size_t>(key_info_size)}});
  OPENSSL_free(key_info);
  parsed->fingerprint = sha256({der});
  return Certificate{std::move(parsed)};
}

Result<std::vector<Certificate>, UserError> Certificate::parse_pem(std::string_view text, std::string_view where) {
  const ErrorQueueGuard guard;
  const auto refuse = [&](std::string_view why) { return fail_user(std::string{where} + ": " + std::string{why}); };
  const auto bio = memory_reader(as_bytes(text));
  if (bio == nullptr) return refuse("the text is too large.");
  std::vector<Certificate> found;
  char* name = nullptr;
  char* header = nullptr;
  std::uint8_t* data = nullptr;
  long size = 0;
  while (PEM_read_bio(bio.get(), &name, &header, &data, &size) == 1) {
    const std::string label{name};
    const Bytes der{data, data + size};
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, static_cast<std::size_t>(size));  // it may be a private key that stands beside
    if (label != PEM_STRING_X509 && label != PEM_STRING_X509_OLD) continue;
    auto certificate = parse(der);
    if (!certificate) {
      return refuse("certificate " + std::to_string(found.size() + 1) +
                    " is not usable: " + to_string(certificate.error()) + ". Export it again, or use another one.");
    }
    found.push_back(*std::move(certificate));
    if (found.size() > kMaxPemCertificates) return refuse("there are more than 100 certificates; keep those needed.");
  }
  if (found.empty()) return refuse("there is no certificate in PEM form (\"-----BEGIN CERTIFICATE-----\").");
  return found;
}

ByteView Certificate::der() const noexcept { return parsed_->der; }
ByteView Certificate::subject() const noexcept { return parsed_->subject; }
ByteView Certificate::issuer() const noexcept { return parsed_->issuer; }
const std::string& Certificate::subject_text() const noexcept { return parsed_->subject_text; }
const std::string& Certificate::common_name() const noexcept { return parsed_->common_name; }
const std::vector<std::string>& Certificate::dns_names() const noexcept { return parsed_->dns_names; }
const std::vector<std::string>& Certificate::emails() const noexcept { return parsed_->emails; }
const std::vector<IpAddress>& Certificate::addresses() const noexcept { return parsed_->addresses; }
ByteView Certificate::serial() const noexcept { return parsed_->serial; }
WallTime Certificate::not_before() const noexcept { return parsed_->not_before; }
WallTime Certificate::not_after() const noexcept { return parsed_->not_after; }
bool Certificate::is_authority() const noexcept { return parsed_->is_authority; }
KeyType Certificate::key_type() const noexcept { return parsed_->key_type; }
const std::array<std::uint8_t, 32>& Certificate::fingerprint() const noexcept { return parsed_->fingerprint; }
const std::array<std::uint8_t, 20>& Certificate::public_key_hash() const noexcept { return parsed_->public_key_hash; }

std::string Certificate::to_pem() const {
  const BioPtr bio{BIO_new(BIO_s_mem())};
  if (bio == nullptr || PEM_write_bio_X509(bio.get(), parsed_->x509.get()) != 1) return {};
  return std::string{as_text(written(bio.get()))};
}

bool Certificate::allows(CertificateUse use) const noexcept {
  return use == CertificateUse::headend ? parsed_->allows_headend : parsed_->allows_client;
}

bool Certificate::speaks_for(const IkeIdentity& identity, CertificateUse use) const {
  const auto text = as_text(identity.data);
  const bool client = use == CertificateUse::client;
  const auto& own = *parsed_;
  const bool common_name_matches = client && !own.common_name.empty() && same_name(own.common_name, text);
  switch (identity.type) {
    case IdType::ipv4_address:
    case IdType::ipv6_address: {
      const auto address = IpAddress::from_bytes(identity.data);
      return !address.empty() && std::find(own.addresses.begin(), own.addresses.end(), address) != own.addresses.end();
    }
    case IdType::fqdn:
      if (std::any_of(own.dns_names.begin(), own.dns_names.end(),
                      [&](const auto& name) { return matches_dns(name, text, !client); })) {
        return true;
      }
      return common_name_matches && (own.dns_names.empty() || text.find('.') == std::string_view::npos);
    case IdType::email:
      if (std::any_of(own.emails.begin(), own.emails.end(), [&](const auto& name) { return same_name(name, text); })) {
        return true;
      }
      return common_name_matches && own.emails.empty();
    case IdType::der_asn1_dn: {
      const auto name = parse_name(identity.data);
      // An empty DN names nobody; it would match every certificate with an empty subject.
      return name != nullptr && X509_NAME_entry_count(name.get()) > 0 &&
             X509_NAME_cmp(name.get(), X509_get_subject_name(own.x509.get())) == 0;
    }
    case IdType::der_asn1_gn:
    case IdType::key_id: break;
  }
  return false;
}

}  // namespace switchback::crypto
