// X.509 certificates. Those of peers are hostile input: Certificate::parse is the one place that takes them apart.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/crypto/ike_identity.h"

namespace switchback::crypto {

inline constexpr std::size_t kMaxCertificateOctets = 16384;
/// Subject alternative names that are looked at; a certificate with more is refused.
inline constexpr std::size_t kMaxSubjectNames = 100;

enum class KeyType : std::uint8_t { ecdsa_p256, ecdsa_p384, ecdsa_p521, ed25519, rsa };
[[nodiscard]] std::string_view to_string(KeyType type) noexcept;

enum class CertificateErrc : std::uint8_t {
  too_large,        // more than kMaxCertificateOctets
  malformed,        // no DER certificate, or octets after it
  bad_name,         // an alternative name that no honest authority writes: empty, or not printable
  too_many_names,   // more than kMaxSubjectNames
  unsupported_key,  // another key type or curve, RSA under 2048 or over 8192 bits, or an odd RSA exponent
};
[[nodiscard]] const char* to_string(CertificateErrc code) noexcept;

/// What a certificate is used for; decides the extended key usage that it needs and how it names its holder.
enum class CertificateUse : std::uint8_t {
  headend,  // shown by a responder: serverAuth
  client,   // shown by an initiator: clientAuth
};

/// A parsed certificate; immutable, cheap to copy, any thread. Parsing says nothing about trust: see TrustStore.
class Certificate {
 public:
  /// One certificate in DER, nothing after it.
  [[nodiscard]] static Result<Certificate, CertificateErrc> parse(ByteView der);
  /// All certificates of a PEM text, in order, at least one and at most 100. Other PEM blocks are skipped.
  /// @param where  what to call the text in error messages: a file name or a profile key
  [[nodiscard]] static Result<std::vector<Certificate>, UserError> parse_pem(std::string_view text,
                                                                             std::string_view where);

  [[nodiscard]] ByteView der() const noexcept;
  [[nodiscard]] std::string to_pem() const;
  /// Distinguished names as DER; the subject is what ID_DER_ASN1_DN carries.
  [[nodiscard]] ByteView subject() const noexcept;
  [[nodiscard]] ByteView issuer() const noexcept;
  /// "O=Example, CN=alice"
  [[nodiscard]] const std::string& subject_text() const noexcept;
  /// The last CN of the subject; empty if there is none or it does not print.
  [[nodiscard]] const std::string& common_name() const noexcept;
  [[nodiscard]] const std::vector<std::string>& dns_names() const noexcept;
  [[nodiscard]] const std::vector<std::string>& emails() const noexcept;
  [[nodiscard]] const std::vector<IpAddress>& addresses() const noexcept;
  /// Big-endian, at most 20 octets from honest authorities.
  [[nodiscard]] ByteView serial() const noexcept;
  [[nodiscard]] WallTime not_before() const noexcept;
  [[nodiscard]] WallTime not_after() const noexcept;
  /// Basic constraints say CA, and key usage, if present, allows signing certificates.
  [[nodiscard]] bool is_authority() const noexcept;
  [[nodiscard]] KeyType key_type() const noexcept;
  /// SHA-256 of the DER.
  [[nodiscard]] const std::array<std::uint8_t, 32>& fingerprint() const noexcept;
  /// SHA-1 of SubjectPublicKeyInfo, as CERTREQ names authorities (RFC 7296 §3.7).
  [[nodiscard]] const std::array<std::uint8_t, 20>& public_key_hash() const noexcept;

  /// Whether its extended key usage admits this use: serverAuth or clientAuth, id-kp-ipsecIKE, ikeIntermediate or any;
  /// a certificate without that extension is not restricted (RFC 4945 §5.1.3.12).
  [[nodiscard]] bool allows(CertificateUse use) const noexcept;

  /// Whether this certificate may speak for an IKE identity (RFC 4945 §3.1):
  /// - an address: that iPAddress among the alternative names;
  /// - a name: that dNSName, without regard to case; a headend's may be a wildcard of one left-most label
  ///   (*.example.org); of a client also the subject's CN if the certificate has no dNSName, or if the name has no dot
  ///   ("alice", as our own user certificates have it);
  /// - a mail address: that rfc822Name; of a client without rfc822Names also the CN;
  /// - a DN: the subject, compared as RFC 5280 §7.1 says;
  /// - anything else (key ID, general name): never.
  /// The CN of a headend counts for nothing.
  [[nodiscard]] bool speaks_for(const IkeIdentity& identity, CertificateUse use) const;

  struct Parsed;  // of this folder only: what OpenSSL made of it
  [[nodiscard]] const Parsed& parsed() const noexcept { return *parsed_; }

 private:
  explicit Certificate(std::shared_ptr<const Parsed> parsed) noexcept : parsed_{std::move(parsed)} {}
  std::shared_ptr<const Parsed> parsed_;
};

}  // namespace switchback::crypto
