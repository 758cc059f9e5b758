// The authorities that we trust, and the judgement of what a peer shows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/crypto/certificate.h"

namespace switchback::crypto {

/// CERT payloads of one message that are looked at: end entity and intermediates. More are refused.
inline constexpr std::size_t kMaxPeerCertificates = 8;
/// Intermediate authorities between the end entity and a trusted one.
inline constexpr int kMaxIntermediates = 4;

enum class TrustErrc : std::uint8_t {
  no_certificate,         // the peer sent none
  too_many_certificates,  // more than kMaxPeerCertificates
  malformed,              // one of them does not parse (see CertificateErrc)
  untrusted,              // no path to a trusted authority, a bad signature, or a constraint of an authority broken
  not_yet_valid,
  expired,
  wrong_usage,  // an authority's certificate, or its (extended) key usage is for something else
  wrong_name,   // it does not speak for the identity
};
/// A clause for logs and people: "the certificate has expired".
[[nodiscard]] const char* to_string(TrustErrc code) noexcept;

/// Immutable once built and then usable from any thread. Trusts exactly what was added: never the system's authorities.
class TrustStore {
 public:
  TrustStore();
  TrustStore(TrustStore&&) noexcept;
  TrustStore& operator=(TrustStore&&) noexcept;
  ~TrustStore();

  /// Adds an authority. Self-signed or not, it is an anchor: nothing above it is asked for. A certificate that is not
  /// an authority is trusted as itself (pinned) only.
  void add(const Certificate& anchor);
  /// Every certificate of a PEM text. @param where  what to call it in error messages
  [[nodiscard]] Result<void, UserError> add_pem(std::string_view pem, std::string_view where);

  [[nodiscard]] bool empty() const noexcept { return anchors_.empty(); }
  [[nodiscard]] const std::vector<Certificate>& anchors() const noexcept { return anchors_; }
  /// The data of our CERTREQ payload: SHA-1 of each authority's SubjectPublicKeyInfo, 20 octets each (RFC 7296 §3.7).
  [[nodiscard]] Bytes authority_hashes() const;

  /// Judges what a peer sent: path to an anchor, validity at `now`, constraints and usage, then whether it speaks for
  /// the identity (Certificate::speaks_for).
  /// @param ders  the CERT payloads' data in the order they came; the first is the end entity's (RFC 7296 §3.6).
  /// Hostile
  /// @return the end entity's certificate, whose key must then verify AUTH
  [[nodiscard]] Result<Certificate, TrustErrc> verify(std::span<const ByteView> ders, const IkeIdentity& identity,
                                                      CertificateUse use, WallTime now) const;
  [[nodiscard]] Result<Certificate, TrustErrc> verify(const std::vector<Bytes>& ders, const IkeIdentity& identity,
                                                      CertificateUse use, WallTime now) const;

 private:
  struct Store;
  std::unique_ptr<Store> store_;
  std::vector<Certificate> anchors_;
};

}  // namespace switchback::crypto
