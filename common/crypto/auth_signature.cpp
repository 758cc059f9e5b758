#include "common/crypto/auth_signature.h"

#include <openssl/ecdsa.h>
#include <openssl/rsa.h>

#include <array>
#include <optional>

#include "common/crypto/certificate_parsed.h"
#include "common/crypto/private_key_handle.h"

namespace switchback::crypto {
namespace {

using AlgorithmPtr = OpensslPtr<X509_ALGOR, X509_ALGOR_free>;
using PssParamsPtr = OpensslPtr<RSA_PSS_PARAMS, RSA_PSS_PARAMS_free>;
using EcdsaSigPtr = OpensslPtr<ECDSA_SIG, ECDSA_SIG_free>;

constexpr std::string_view kKeyPad = "Key Pad for IKEv2";  // RFC 7296 §2.15

enum class Scheme : std::uint8_t { rsa_pkcs1, rsa_pss, ecdsa, ed25519 };

struct SignatureAlgorithm {
  Scheme scheme;
  HashAlgorithm hash;
};

// AlgorithmIdentifiers as RFC 7427 Appendix A and RFC 8420 §A give them, octet for octet.
struct Identifier {
  SignatureAlgorithm algorithm;
  std::size_t size;
  std::array<std::uint8_t, 67> der;
};
constexpr Identifier kIdentifiers[] = {
    {{Scheme::rsa_pkcs1, HashAlgorithm::sha2_256},
     15,
     {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00}},
    {{Scheme::rsa_pkcs1, HashAlgorithm::sha2_384},
     15,
     {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c, 0x05, 0x00}},
    {{Scheme::rsa_pkcs1, HashAlgorithm::sha2_512},
     15,
     {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d, 0x05, 0x00}},
    {{Scheme::ecdsa, HashAlgorithm::sha2_256},
     12,
     {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}},
    {{Scheme::ecdsa, HashAlgorithm::sha2_384},
     12,
     {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03}},
    {{Scheme::ecdsa, HashAlgorithm::sha2_512},
     12,
     {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04}},
    {{Scheme::ed25519, HashAlgorithm::identity}, 7, {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70}},
    {{Scheme::rsa_pss, HashAlgorithm::sha2_256},
     67,
     {0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f,
      0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa1, 0x1c,
      0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09,
      0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x20}},
    {{Scheme::rsa_pss, HashAlgorithm::sha2_384},
     67,
     {0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f,
      0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c,
      0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09,
      0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30}},
    {{Scheme::rsa_pss, HashAlgorithm::sha2_512},
     67,
     {0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f,
      0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0xa1, 0x1c,
      0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09,
      0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x40}},
};

const EVP_MD* digest(HashAlgorithm hash) noexcept {
  switch (hash) {
    case HashAlgorithm::sha1: return EVP_sha1();
    case HashAlgorithm::sha2_256: return EVP_sha256();
    case HashAlgorithm::sha2_384: return EVP_sha384();
    case HashAlgorithm::sha2_512: return EVP_sha512();
    case HashAlgorithm::identity: break;
  }
  return nullptr;
}

std::optional<HashAlgorithm> hash_of(int nid) noexcept {
  switch (nid) {
    case NID_sha256: return HashAlgorithm::sha2_256;
    case NID_sha384: return HashAlgorithm::sha2_384;
    case NID_sha512: return HashAlgorithm::sha2_512;
    default: return std::nullopt;
  }
}

int nid_of(const X509_ALGOR* algorithm) noexcept {
  const ASN1_OBJECT* object = nullptr;
  X509_ALGOR_get0(&object, nullptr, nullptr, algorithm);
  return OBJ_obj2nid(object);
}

// RFC 4055 §3.1 as RFC 7427 §A.4 uses it: MGF1 with the same hash, a salt as long as the hash, trailer 1.
std::optional<SignatureAlgorithm> read_pss(const X509_ALGOR* algorithm) {
  const ASN1_OBJECT* object = nullptr;
  int parameter_type = 0;
  const void* parameter = nullptr;
  X509_ALGOR_get0(&object, &parameter_type, &parameter, algorithm);
  if (parameter_type != V_ASN1_SEQUENCE) return std::nullopt;
  const auto* sequence = static_cast<const ASN1_STRING*>(parameter);
  const auto* at = ASN1_STRING_get0_data(sequence);
  const auto* end = at + ASN1_STRING_length(sequence);
  const PssParamsPtr pss{d2i_RSA_PSS_PARAMS(nullptr, &at, end - at)};
  // Defaults stand for SHA-1, which nobody may use here.
  if (pss == nullptr || at != end || pss->hashAlgorithm == nullptr || pss->maskGenAlgorithm == nullptr ||
      pss->saltLength == nullptr || nid_of(pss->maskGenAlgorithm) != NID_mgf1) {
    return std::nullopt;
  }
  if (pss->trailerField != nullptr && ASN1_INTEGER_get(pss->trailerField) != 1) return std::nullopt;
  const auto hash = hash_of(nid_of(pss->hashAlgorithm));
  if (!hash || ASN1_INTEGER_get(pss->saltLength) != EVP_MD_get_size(digest(*hash))) return std::nullopt;
  X509_ALGOR_get0(&object, &parameter_type, &parameter, pss->maskGenAlgorithm);
  if (parameter_type != V_ASN1_SEQUENCE) return std::nullopt;
  const auto* mask = static_cast<const ASN1_STRING*>(parameter);
  at = ASN1_STRING_get0_data(mask);
  end = at + ASN1_STRING_length(mask);
  const AlgorithmPtr mask_hash{d2i_X509_ALGOR(nullptr, &at, end - at)};
  if (mask_hash == nullptr || at != end || hash_of(nid_of(mask_hash.get())) != hash) return std::nullopt;
  return SignatureAlgorithm{Scheme::rsa_pss, *hash};
}

std::optional<SignatureAlgorithm> read_identifier(ByteView der) {
  const auto* at = der.data();
  const AlgorithmPtr algorithm{d2i_X509_ALGOR(nullptr, &at, static_cast<long>(der.size()))};
  if (algorithm == nullptr || at != der.data() + der.size()) return std::nullopt;
  const ASN1_OBJECT* object = nullptr;
  int parameter_type = 0;
  X509_ALGOR_get0(&object, &parameter_type, nullptr, algorithm.get());
  // RFC 4055 §5 has NULL behind RSA's, RFC 5758 §3.2 and RFC 8410 §3 nothing behind the others; both are met.
  const bool plain = parameter_type == V_ASN1_UNDEF || parameter_type == V_ASN1_NULL;
  const auto if_plain = [&](Scheme scheme, HashAlgorithm hash) {
    return plain ? std::optional{SignatureAlgorithm{scheme, hash}} : std::nullopt;
  };
  switch (OBJ_obj2nid(object)) {
    case NID_sha256WithRSAEncryption: return if_plain(Scheme::rsa_pkcs1, HashAlgorithm::sha2_256);
    case NID_sha384WithRSAEncryption: return if_plain(Scheme::rsa_pkcs1, HashAlgorithm::sha2_384);
    case NID_sha512WithRSAEncryption: return if_plain(Scheme::rsa_pkcs1, HashAlgorithm::sha2_512);
    case NID_ecdsa_with_SHA256: return if_plain(Scheme::ecdsa, HashAlgorithm::sha2_256);
    case NID_ecdsa_with_SHA384: return if_plain(Scheme::ecdsa, HashAlgorithm::sha2_384);
    case NID_ecdsa_with_SHA512: return if_plain(Scheme::ecdsa, HashAlgorithm::sha2_512);
    case NID_ED25519: return if_plain(Scheme::ed25519, HashAlgorithm::identity);
    case NID_rsassaPss: return read_pss(algorithm.get());
    default: return std::nullopt;
  }
}

bool fits(Scheme scheme, KeyType key) noexcept {
  switch (scheme) {
    case Scheme::rsa_pkcs1:
    case Scheme::rsa_pss: return key == KeyType::rsa;
    case Scheme::ecdsa: return key == KeyType::ecdsa_p256 || key == KeyType::ecdsa_p384 || key == KeyType::ecdsa_p521;
    case Scheme::ed25519: return key == KeyType::ed25519;
  }
  return false;
}

bool set_padding(EVP_PKEY_CTX* context, Scheme scheme) {
  if (scheme == Scheme::rsa_pkcs1) return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) == 1;
  if (scheme != Scheme::rsa_pss) return true;
  return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

// Empty if the library fails.
Bytes sign(EVP_PKEY* key, SignatureAlgorithm algorithm, ByteView octets) {
  const EvpMdCtxPtr context{EVP_MD_CTX_new()};
  EVP_PKEY_CTX* key_context = nullptr;  // owned by context
  std::size_t size = 0;
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), &key_context, digest(algorithm.hash), nullptr, key) != 1 ||
      !set_padding(key_context, algorithm.scheme) ||
      EVP_DigestSign(context.get(), nullptr, &size, octets.data(), octets.size()) != 1) {
    return {};
  }
  Bytes signature(size);
  if (EVP_DigestSign(context.get(), signature.data(), &size, octets.data(), octets.size()) != 1) return {};
  signature.resize(size);
  return signature;
}

bool verifies(EVP_PKEY* key, SignatureAlgorithm algorithm, ByteView signature, ByteView octets) {
  const EvpMdCtxPtr context{EVP_MD_CTX_new()};
  EVP_PKEY_CTX* key_context = nullptr;
  return context != nullptr &&
         EVP_DigestVerifyInit(context.get(), &key_context, digest(algorithm.hash), nullptr, key) == 1 &&
         set_padding(key_context, algorithm.scheme) &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(), octets.data(), octets.size()) == 1;
}

// RFC 4754 §7: the old methods carry r | s, each as long as the curve's order; OpenSSL and RFC 7427 have DER.
struct OldEcdsa {
  AuthMethod method;
  KeyType key;
  HashAlgorithm hash;
  std::size_t integer_octets;
};
constexpr OldEcdsa kOldEcdsa[] = {
    {AuthMethod::ecdsa_sha256_p256, KeyType::ecdsa_p256, HashAlgorithm::sha2_256, 32},
    {AuthMethod::ecdsa_sha384_p384, KeyType::ecdsa_p384, HashAlgorithm::sha2_384, 48},
    {AuthMethod::ecdsa_sha512_p521, KeyType::ecdsa_p521, HashAlgorithm::sha2_512, 66},
};

Bytes plain_from_der(ByteView der, std::size_t integer_octets) {
  const auto* at = der.data();
  const EcdsaSigPtr signature{d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(der.size()))};
  Bytes plain(2 * integer_octets);
  const auto width = static_cast<int>(integer_octets);
  if (signature == nullptr || BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), plain.data(), width) < 0 ||
      BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), plain.data() + integer_octets, width) < 0) {
    return {};
  }
  return plain;
}

Bytes der_from_plain(ByteView plain) {
  const auto half = plain.size() / 2;
  const EcdsaSigPtr signature{ECDSA_SIG_new()};
  BignumPtr r{BN_bin2bn(plain.data(), static_cast<int>(half), nullptr)};
  BignumPtr s{BN_bin2bn(plain.data() + half, static_cast<int>(half), nullptr)};
  if (signature == nullptr || r == nullptr || s == nullptr || ECDSA_SIG_set0(signature.get(), r.get(), s.get()) != 1) {
    return {};
  }
  (void)r.release();  // the signature owns them now
  (void)s.release();
  std::uint8_t* der = nullptr;
  const auto size = i2d_ECDSA_SIG(signature.get(), &der);
  if (size <= 0) return {};
  Bytes out{der, der + size};
  OPENSSL_free(der);
  return out;
}

bool announced(std::span<const HashAlgorithm> hashes, HashAlgorithm hash) noexcept {
  return std::find(hashes.begin(), hashes.end(), hash) != hashes.end();
}

std::optional<HashAlgorithm> choose_hash(KeyType key, std::span<const HashAlgorithm> peer) {
  using enum HashAlgorithm;
  if (key == KeyType::ed25519) return announced(peer, identity) ? std::optional{identity} : std::nullopt;
  std::array<HashAlgorithm, 3> preference{sha2_256, sha2_384, sha2_512};
  if (key == KeyType::ecdsa_p384) preference = {sha2_384, sha2_512, sha2_256};
  if (key == KeyType::ecdsa_p521) preference = {sha2_512, sha2_384, sha2_256};
  for (const auto hash : preference) {
    if (announced(peer, hash)) return hash;
  }
  return std::nullopt;
}

Result<AuthData, AuthErrc> sign_old(const PrivateKey& key, ByteView octets) {
  auto* handle = key.handle().key.get();
  if (key.type() == KeyType::rsa) {
    // RFC 7296 §3.8: without a negotiation SHA-1 is what every implementation verifies.
    auto signature = sign(handle, {Scheme::rsa_pkcs1, HashAlgorithm::sha1}, octets);
    if (signature.empty()) return fail(AuthErrc::internal);
    return AuthData{AuthMethod::rsa_signature, std::move(signature)};
  }
  for (const auto& old : kOldEcdsa) {
    if (old.key != key.type()) continue;
    auto plain = plain_from_der(sign(handle, {Scheme::ecdsa, old.hash}, octets), old.integer_octets);
    if (plain.empty()) return fail(AuthErrc::internal);
    return AuthData{old.method, std::move(plain)};
  }
  return fail(AuthErrc::unsupported_method);
}

Result<AuthData, AuthErrc> sign_with(const PrivateKey& key, std::span<const HashAlgorithm> peer_hashes, ByteView octets,
                                     Scheme rsa_scheme) {
  const ErrorQueueGuard guard;
  if (peer_hashes.empty()) return sign_old(key, octets);
  const auto hash = choose_hash(key.type(), peer_hashes);
  if (!hash) return fail(AuthErrc::no_common_hash);
  const auto scheme = key.type() == KeyType::rsa       ? rsa_scheme
                      : key.type() == KeyType::ed25519 ? Scheme::ed25519
                                                       : Scheme::ecdsa;
  for (const auto& identifier : kIdentifiers) {
    if (identifier.algorithm.scheme != scheme || identifier.algorithm.hash != *hash) continue;
    const auto signature = sign(key.handle().key.get(), identifier.algorithm, octets);
    if (signature.empty()) return fail(AuthErrc::internal);
    AuthData auth{AuthMethod::digital_signature, {static_cast<std::uint8_t>(identifier.size)}};
    append(auth.data, ByteView{identifier.der}.first(identifier.size));
    append(auth.data, signature);
    return auth;
  }
  return fail(AuthErrc::internal);
}

}  // namespace

const char* to_string(AuthErrc code) noexcept {
  switch (code) {
    case AuthErrc::no_common_hash: return "the peer announced no hash that our key can sign with";
    case AuthErrc::unsupported_method: return "the authentication method or signature algorithm is not supported";
    case AuthErrc::wrong_key: return "the authentication method does not fit the certificate's key";
    case AuthErrc::malformed: return "the authentication data is malformed";
    case AuthErrc::bad_signature: return "the proof of identity is wrong";
    case AuthErrc::internal: return "the cryptographic library failed";
  }
  return "unknown";
}

Bytes signed_octets(PrfAlgorithm algorithm, ByteView message, ByteView nonce, const Secret& sk_p, ByteView id_body) {
  const auto maced_id = prf(algorithm, sk_p.view(), {id_body});
  Bytes octets;
  octets.reserve(message.size() + nonce.size() + maced_id.size());
  append(octets, message);
  append(octets, nonce);
  append(octets, maced_id.view());
  return octets;
}

Result<AuthData, AuthErrc> sign_auth(const PrivateKey& key, std::span<const HashAlgorithm> peer_hashes,
                                     ByteView octets) {
  return sign_with(key, peer_hashes, octets, Scheme::rsa_pkcs1);
}

Result<AuthData, AuthErrc> sign_auth_pss(const PrivateKey& key, std::span<const HashAlgorithm> peer_hashes,
                                         ByteView octets) {
  return sign_with(key, peer_hashes, octets, Scheme::rsa_pss);
}

Result<void, AuthErrc> verify_auth(const Certificate& certificate, std::uint8_t method, ByteView data, ByteView octets,
                                   bool hashes_announced) {
  const ErrorQueueGuard guard;
  auto* key = X509_get0_pubkey(certificate.parsed().x509.get());
  const auto auth_method = AuthMethod{method};
  if (auth_method == AuthMethod::digital_signature) {
    if (data.empty() || data.size() - 1 < data[0]) return fail(AuthErrc::malformed);
    const auto algorithm = read_identifier(data.subspan(1, data[0]));
    if (!algorithm) return fail(AuthErrc::unsupported_method);
    if (!fits(algorithm->scheme, certificate.key_type())) return fail(AuthErrc::wrong_key);
    if (!verifies(key, *algorithm, data.subspan(1U + data[0]), octets)) return fail(AuthErrc::bad_signature);
    return {};
  }
  if (auth_method == AuthMethod::rsa_signature) {
    if (certificate.key_type() != KeyType::rsa) return fail(AuthErrc::wrong_key);
    // The hash is inside the signature; the signer chose it.
    using enum HashAlgorithm;
    for (const auto hash : {sha2_256, sha1, sha2_384, sha2_512}) {
      if (hash == sha1 && hashes_announced) continue;
      if (verifies(key, {Scheme::rsa_pkcs1, hash}, data, octets)) return {};
    }
    return fail(AuthErrc::bad_signature);
  }
  for (const auto& old : kOldEcdsa) {
    if (old.method != auth_method) continue;
    if (old.key != certificate.key_type()) return fail(AuthErrc::wrong_key);
    if (data.size() != 2 * old.integer_octets) return fail(AuthErrc::malformed);
    const auto der = der_from_plain(data);
    if (der.empty() || !verifies(key, {Scheme::ecdsa, old.hash}, der, octets)) return fail(AuthErrc::bad_signature);
    return {};
  }
  return fail(AuthErrc::unsupported_method);
}

AuthData shared_key_auth(PrfAlgorithm algorithm, ByteView shared_key, ByteView octets) {
  const auto padded = prf(algorithm, shared_key, {as_bytes(kKeyPad)});
  return {AuthMethod::shared_key_mic, to_bytes(prf(algorithm, padded.view(), {octets}).view())};
}

Result<void, AuthErrc> verify_shared_key_auth(PrfAlgorithm algorithm, ByteView shared_key, ByteView data,
                                              ByteView octets) {
  if (shared_key.empty()) return fail(AuthErrc::bad_signature);
  const auto padded = prf(algorithm, shared_key, {as_bytes(kKeyPad)});
  if (!prf(algorithm, padded.view(), {octets}).equals(data)) return fail(AuthErrc::bad_signature);
  return {};
}

}  // namespace switchback::crypto
