#include "common/ike/payload_auth.h"

#include <cassert>

namespace switchback::ike {

namespace {

/// Of the encodings with a certificate's authorities in CERTREQ, RFC 7296 §3.7.
bool lists_authorities(CertificateEncoding encoding) noexcept {
  return encoding == CertificateEncoding::x509_signature || encoding == CertificateEncoding::x509_hash_and_url ||
         encoding == CertificateEncoding::x509_bundle_hash_and_url;
}

void write_id(WireWriter& w, IdPayloadType type, ByteView data) {
  w.u8(static_cast<std::uint8_t>(type));
  w.zeros(3);
  w.bytes(data);
}

}  // namespace

Result<IdView, ParseError> parse_id(ByteView body) noexcept {
  WireReader r{body};
  const auto type = IdPayloadType{r.u8()};
  r.skip(3);
  const auto data = r.rest();
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  switch (type) {
    case IdPayloadType::ipv4_address:
      if (data.size() != 4) return fail(ParseErrc::bad_length, 4);
      break;
    case IdPayloadType::ipv6_address:
      if (data.size() != 16) return fail(ParseErrc::bad_length, 4);
      break;
    case IdPayloadType::null: break;
    default:
      if (data.empty()) return fail(ParseErrc::bad_length, 4);
  }
  return IdView{type, data};
}

void add_id(ChainBuilder& chain, PayloadType which, IdPayloadType type, ByteView data) {
  assert(which == PayloadType::id_initiator || which == PayloadType::id_responder);
  chain.add(which, [&](WireWriter& w) { write_id(w, type, data); });
}

Bytes id_body(IdPayloadType type, ByteView data) {
  Bytes body;
  WireWriter w{body};
  write_id(w, type, data);
  return body;
}

Result<CertificateView, ParseError> parse_certificate(ByteView body) noexcept {
  WireReader r{body};
  const auto encoding = CertificateEncoding{r.u8()};
  const auto data = r.rest();
  if (!r.ok() || data.empty()) return fail(ParseErrc::truncated, r.offset());
  return CertificateView{encoding, data};
}

void add_certificate(ChainBuilder& chain, CertificateEncoding encoding, ByteView data) {
  chain.add(PayloadType::certificate, [&](WireWriter& w) {
    w.u8(static_cast<std::uint8_t>(encoding));
    w.bytes(data);
  });
}

bool CertificateRequestView::names(ByteView authority_hash) const noexcept {
  for (auto rest = authorities; rest.size() >= kAuthorityHashOctets; rest = rest.subspan(kAuthorityHashOctets)) {
    if (same_bytes(rest.first(kAuthorityHashOctets), authority_hash)) return true;
  }
  return false;
}

Result<CertificateRequestView, ParseError> parse_certificate_request(ByteView body) noexcept {
  WireReader r{body};
  const auto encoding = CertificateEncoding{r.u8()};
  const auto authorities = r.rest();
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  if (lists_authorities(encoding) && authorities.size() % kAuthorityHashOctets != 0) {
    return fail(ParseErrc::bad_length, 1);
  }
  return CertificateRequestView{encoding, authorities};
}

void add_certificate_request(ChainBuilder& chain, CertificateEncoding encoding, ByteView authorities) {
  chain.add(PayloadType::certificate_request, [&](WireWriter& w) {
    w.u8(static_cast<std::uint8_t>(encoding));
    w.bytes(authorities);
  });
}

Result<AuthView, ParseError> parse_auth(ByteView body) noexcept {
  WireReader r{body};
  const auto method = AuthenticationMethod{r.u8()};
  r.skip(3);
  const auto data = r.rest();
  if (!r.ok() || data.empty()) return fail(ParseErrc::truncated, r.offset());
  return AuthView{method, data};
}

void add_auth(ChainBuilder& chain, AuthenticationMethod method, ByteView data) {
  chain.add(PayloadType::authentication, [&](WireWriter& w) {
    w.u8(static_cast<std::uint8_t>(method));
    w.zeros(3);
    w.bytes(data);
  });
}

}  // namespace switchback::ike
