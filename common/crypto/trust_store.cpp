#include "common/crypto/trust_store.h"

#include <openssl/x509_vfy.h>

#include <new>
#include <string>
#include <utility>

#include "common/crypto/certificate_parsed.h"

namespace switchback::crypto {
namespace {

using StorePtr = OpensslPtr<X509_STORE, X509_STORE_free>;
using StoreCtxPtr = OpensslPtr<X509_STORE_CTX, X509_STORE_CTX_free>;
struct StackDeleter {
  void operator()(STACK_OF(X509) * stack) const noexcept { sk_X509_free(stack); }  // its elements are borrowed
};
using BorrowedStackPtr = std::unique_ptr<STACK_OF(X509), StackDeleter>;

// 112 bits: no SHA-1, no RSA below 2048.
constexpr int kSecurityLevel = 2;

TrustErrc from_openssl(int error) noexcept {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED: return TrustErrc::expired;
    case X509_V_ERR_CERT_NOT_YET_VALID: return TrustErrc::not_yet_valid;
    case X509_V_ERR_INVALID_CA:
    case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
    case X509_V_ERR_INVALID_PURPOSE: return TrustErrc::wrong_usage;
    default: return TrustErrc::untrusted;
  }
}

}  // namespace

struct TrustStore::Store {
  StorePtr handle;
};

const char* to_string(TrustErrc code) noexcept {
  switch (code) {
    case TrustErrc::no_certificate: return "the peer sent no certificate";
    case TrustErrc::too_many_certificates: return "the peer sent too many certificates";
    case TrustErrc::malformed: return "a certificate is malformed or of a kind that is not supported";
    case TrustErrc::untrusted: return "the certificate leads to no trusted authority";
    case TrustErrc::not_yet_valid: return "the certificate is not yet valid";
    case TrustErrc::expired: return "the certificate has expired";
    case TrustErrc::wrong_usage: return "the certificate is meant for another use";
    case TrustErrc::wrong_name: return "the certificate does not speak for the peer's identity";
  }
  return "unknown";
}

TrustStore::TrustStore() : store_{std::make_unique<Store>(Store{StorePtr{X509_STORE_new()}})} {
  if (store_->handle == nullptr) throw std::bad_alloc{};
  auto* parameters = X509_STORE_get0_param(store_->handle.get());
  // What was added is an anchor, self-signed or not.
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_depth(parameters, kMaxIntermediates);
  X509_VERIFY_PARAM_set_auth_level(parameters, kSecurityLevel);
}
TrustStore::TrustStore(TrustStore&&) noexcept = default;
TrustStore& TrustStore::operator=(TrustStore&&) noexcept = default;
TrustStore::~TrustStore() = default;

void TrustStore::add(const Certificate& anchor) {
  const ErrorQueueGuard guard;
  if (X509_STORE_add_cert(store_->handle.get(), anchor.parsed().x509.get()) != 1) throw std::bad_alloc{};
  anchors_.push_back(anchor);
}

Result<void, UserError> TrustStore::add_pem(std::string_view pem, std::string_view where) {
  SB_TRY(const auto certificates, Certificate::parse_pem(pem, where));
  for (const auto& certificate : certificates) add(certificate);
  return {};
}

Bytes TrustStore::authority_hashes() const {
  Bytes hashes;
  for (const auto& anchor : anchors_) {
    if (anchor.is_authority()) append(hashes, anchor.public_key_hash());
  }
  return hashes;
}

Result<Certificate, TrustErrc> TrustStore::verify(std::span<const ByteView> ders, const IkeIdentity& identity,
                                                  CertificateUse use, WallTime now) const {
  const ErrorQueueGuard guard;
  if (ders.empty()) return fail(TrustErrc::no_certificate);
  if (ders.size() > kMaxPeerCertificates) return fail(TrustErrc::too_many_certificates);
  std::vector<Certificate> shown;
  for (const auto der : ders) {
    auto certificate = Certificate::parse(der);
    if (!certificate) return fail(TrustErrc::malformed);
    shown.push_back(*std::move(certificate));
  }
  const auto& leaf = shown.front();

  const BorrowedStackPtr intermediates{sk_X509_new_null()};
  const StoreCtxPtr context{X509_STORE_CTX_new()};
  if (intermediates == nullptr || context == nullptr) return fail(TrustErrc::untrusted);
  for (std::size_t i = 1; i < shown.size(); ++i) {
    if (sk_X509_push(intermediates.get(), shown[i].parsed().x509.get()) == 0) return fail(TrustErrc::untrusted);
  }
  if (X509_STORE_CTX_init(context.get(), store_->handle.get(), leaf.parsed().x509.get(), intermediates.get()) != 1) {
    return fail(TrustErrc::untrusted);
  }
  X509_STORE_CTX_set_time(context.get(), 0, static_cast<std::time_t>(now.time_since_epoch().count()));
  if (X509_verify_cert(context.get()) != 1) return fail(from_openssl(X509_STORE_CTX_get_error(context.get())));

  // Path validation leaves extended key usages of authorities aside (RFC 5280 §6); but one that its issuer made for
  // clients only must not make headends. The anchor is not limited: it was added on purpose.
  const auto* path = X509_STORE_CTX_get0_chain(context.get());
  for (int i = 1; i < sk_X509_num(path); ++i) {
    const auto* issuer = sk_X509_value(path, i);
    for (const auto& one : shown) {
      if (one.parsed().x509.get() == issuer && !one.allows(use)) return fail(TrustErrc::wrong_usage);
    }
  }

  // RFC 4945 §5.1.3.2: a key usage, if there is one, must allow signatures.
  auto* x509 = leaf.parsed().x509.get();
  if ((X509_get_extension_flags(x509) & EXFLAG_KUSAGE) != 0 &&
      (X509_get_key_usage(x509) & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION)) == 0) {
    return fail(TrustErrc::wrong_usage);
  }
  if (!leaf.allows(use)) return fail(TrustErrc::wrong_usage);
  if (!leaf.speaks_for(identity, use)) return fail(TrustErrc::wrong_name);
  return leaf;
}

Result<Certificate, TrustErrc> TrustStore::verify(const std::vector<Bytes>& ders, const IkeIdentity& identity,
                                                  CertificateUse use, WallTime now) const {
  const std::vector<ByteView> views{ders.begin(), ders.end()};
  return verify(std::span<const ByteView>{views}, identity, use, now);
}

}  // namespace switchback::crypto
