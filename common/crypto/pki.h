// A private certification authority: what `init` and `user add` make, and PKCS#12 for other people's clients.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/base/time.h"
#include "common/crypto/certificate.h"
#include "common/crypto/private_key.h"

namespace switchback::crypto {

struct IssuedCertificate {
  Certificate certificate;
  PrivateKey key;
};

/// How long certificates last; they begin an hour early, for clocks that are late.
inline constexpr std::chrono::days kAuthorityLifetime{3650};
inline constexpr std::chrono::days kHeadendLifetime{1825};
inline constexpr std::chrono::days kUserLifetime{1825};

struct HeadendRequest {
  std::vector<std::string> dns_names;  // the first name (or address) is the CN
  std::vector<IpAddress> addresses;
  KeyType key_type = KeyType::ecdsa_p256;
  std::chrono::days lifetime = kHeadendLifetime;
};

struct UserRequest {
  std::string name;  // "alice" or "alice@example.org": CN, and dNSName or rfc822Name
  KeyType key_type = KeyType::ecdsa_p256;
  std::chrono::days lifetime = kUserLifetime;
};

/// An authority's certificate and key. Move-only.
class CertificateAuthority {
 public:
  /// A new self-signed one, path length 0.
  /// @param name  its CN, as people will see it in their clients
  [[nodiscard]] static Result<CertificateAuthority, UserError> create(std::string_view name, WallTime now,
                                                                      KeyType type = KeyType::ecdsa_p256);
  /// @param where  what to call the texts in error messages, a folder say
  /// Errors: not an authority, or a key that is not its own.
  [[nodiscard]] static Result<CertificateAuthority, UserError> load(std::string_view certificate_pem, ByteView key_pem,
                                                                    std::string_view where);

  [[nodiscard]] const Certificate& certificate() const noexcept { return certificate_; }
  [[nodiscard]] const PrivateKey& key() const noexcept { return key_; }

  /// Makes a key and a certificate with serverAuth and ikeIntermediate (which old macOS and Windows clients ask for).
  [[nodiscard]] Result<IssuedCertificate, UserError> issue_headend(const HeadendRequest& request, WallTime now) const;
  /// Makes a key and a certificate with clientAuth.
  [[nodiscard]] Result<IssuedCertificate, UserError> issue_user(const UserRequest& request, WallTime now) const;

 private:
  CertificateAuthority(Certificate certificate, PrivateKey key) noexcept;

  Certificate certificate_;
  PrivateKey key_;
};

/// Names that a user may have: 1 to 64 of a-z A-Z 0-9 . _ - and one @, neither first nor last. Errors say so.
[[nodiscard]] Result<void, UserError> check_user_name(std::string_view name);

/// A PKCS#12 file with key, certificate and authorities. An empty password still encrypts (with it), which is what most
/// importers expect of "no password".
/// @param compatible  3DES and SHA-1, which older macOS, iOS and Windows need, instead of AES-256 and SHA-256
[[nodiscard]] Result<Secret, UserError> make_pkcs12(const Certificate& certificate, const PrivateKey& key,
                                                    std::span<const Certificate> authorities, std::string_view label,
                                                    std::string_view password, bool compatible = false);

struct Pkcs12Content {
  Certificate certificate;
  PrivateKey key;
  std::vector<Certificate> authorities;
};
/// Reads one back. Errors: a wrong password, or not a PKCS#12 file with a key and its certificate.
[[nodiscard]] Result<Pkcs12Content, UserError> read_pkcs12(ByteView der, std::string_view password,
                                                           std::string_view where);

}  // namespace switchback::crypto
