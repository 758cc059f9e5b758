// Identification, Certificate, Certificate Request and Authentication payloads (RFC 7296 §3.5 to §3.8).
#pragma once

#include <vector>

#include "common/ike/message.h"

namespace switchback::ike {

/// Borrowed from the message. The body of the payload as it stands is what AUTH covers (RestOfIDPayload, §2.15):
/// keep PayloadView::body for that.
struct IdView {
  IdPayloadType type;
  ByteView data;
};
/// Errors: truncated; bad_length for an address of the wrong size or an ID without data that needs some.
[[nodiscard]] Result<IdView, ParseError> parse_id(ByteView body) noexcept;
/// @param which  id_initiator or id_responder
void add_id(ChainBuilder& chain, PayloadType which, IdPayloadType type, ByteView data);
/// The body that add_id writes, for the AUTH computation.
[[nodiscard]] Bytes id_body(IdPayloadType type, ByteView data);

/// Borrowed from the message.
struct CertificateView {
  CertificateEncoding encoding;
  ByteView data;  // DER of one certificate for x509_signature
};
/// Errors: truncated, also for empty data.
[[nodiscard]] Result<CertificateView, ParseError> parse_certificate(ByteView body) noexcept;
void add_certificate(ChainBuilder& chain, CertificateEncoding encoding, ByteView data);

inline constexpr std::size_t kAuthorityHashOctets = 20;
/// Borrowed from the message.
struct CertificateRequestView {
  CertificateEncoding encoding;
  /// For x509 encodings: SHA-1 hashes of the authorities' SubjectPublicKeyInfo, 20 octets each; may be empty.
  ByteView authorities;
  [[nodiscard]] bool names(ByteView authority_hash) const noexcept;
};
/// Errors: truncated; bad_length for x509 encodings if not a multiple of 20.
[[nodiscard]] Result<CertificateRequestView, ParseError> parse_certificate_request(ByteView body) noexcept;
void add_certificate_request(ChainBuilder& chain, CertificateEncoding encoding, ByteView authorities);

/// Borrowed from the message.
struct AuthView {
  AuthenticationMethod method;
  ByteView data;  // for digital_signature: RFC 7427 §3, length-prefixed AlgorithmIdentifier and signature
};
/// Errors: truncated, also for empty data.
[[nodiscard]] Result<AuthView, ParseError> parse_auth(ByteView body) noexcept;
void add_auth(ChainBuilder& chain, AuthenticationMethod method, ByteView data);

}  // namespace switchback::ike
