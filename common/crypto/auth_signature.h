// The Authentication payload: what is signed (RFC 7296 §2.15), with what, and whether a peer's proof holds.
#pragma once

#include <cstdint>
#include <span>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/crypto/certificate.h"
#include "common/crypto/prf.h"
#include "common/crypto/private_key.h"

namespace switchback::crypto {

/// Values are IANA's IKEv2 authentication methods.
enum class AuthMethod : std::uint8_t {
  rsa_signature = 1,      // RFC 7296 §3.8: PKCS#1 v1.5, with SHA-1 unless the peers know better
  shared_key_mic = 2,     // RFC 7296 §2.15
  ecdsa_sha256_p256 = 9,  // RFC 4754
  ecdsa_sha384_p384 = 10,
  ecdsa_sha512_p521 = 11,
  digital_signature = 14,  // RFC 7427
};

/// Values of SIGNATURE_HASH_ALGORITHMS, RFC 7427 §7 and RFC 8420 §4.
enum class HashAlgorithm : std::uint16_t { sha1 = 1, sha2_256 = 2, sha2_384 = 3, sha2_512 = 4, identity = 5 };

/// What our SIGNATURE_HASH_ALGORITHMS announces. No SHA-1: RFC 8247 §4.2.
inline constexpr HashAlgorithm kOurHashAlgorithms[] = {HashAlgorithm::sha2_256, HashAlgorithm::sha2_384,
                                                       HashAlgorithm::sha2_512, HashAlgorithm::identity};

enum class AuthErrc : std::uint8_t {
  no_common_hash,      // our key needs a hash (Ed25519: identity) that the peer did not announce
  unsupported_method,  // a method or algorithm identifier that we do not know
  wrong_key,           // the method does not fit the key of the certificate
  malformed,           // the data cannot be taken apart
  bad_signature,       // the proof is wrong
  internal,            // the library failed
};
/// A clause for logs and people.
[[nodiscard]] const char* to_string(AuthErrc code) noexcept;

struct AuthData {
  AuthMethod method{};
  Bytes data;  // for digital_signature: length-prefixed AlgorithmIdentifier, then the signature (RFC 7427 §3)
};

/// InitiatorSignedOctets or ResponderSignedOctets, RFC 7296 §2.15: message | nonce | prf(SK_p, id_body).
/// @param message  the signer's own first IKE_SA_INIT message, from its header on
/// @param nonce    the other end's, without its payload header
/// @param sk_p     SK_pi or SK_pr of the signer
/// @param id_body  the signer's ID payload without its generic header
[[nodiscard]] Bytes signed_octets(PrfAlgorithm algorithm, ByteView message, ByteView nonce, const Secret& sk_p,
                                  ByteView id_body);

/// Signs. With digital_signature if the peer announced hashes, else with the older method that fits the key.
/// ECDSA uses the hash of its curve's size if the peer has it, RSA PKCS#1 v1.5 with the first of SHA-256, -384, -512.
/// @param peer_hashes  of the peer's SIGNATURE_HASH_ALGORITHMS, unknown values included; empty: it sent none
/// Errors: no_common_hash; unsupported_method (Ed25519 for a peer that sent none); internal.
[[nodiscard]] Result<AuthData, AuthErrc> sign_auth(const PrivateKey& key, std::span<const HashAlgorithm> peer_hashes,
                                                   ByteView octets);
/// The same with RSASSA-PSS where the key is RSA and the peer announced hashes.
[[nodiscard]] Result<AuthData, AuthErrc> sign_auth_pss(const PrivateKey& key,
                                                       std::span<const HashAlgorithm> peer_hashes, ByteView octets);

/// Verifies a signature by the key of a certificate that TrustStore::verify has accepted.
/// @param method, data  of the AUTH payload: hostile. RFC 7427 signatures need SHA-256 or better.
/// @param hashes_announced  both ends sent SIGNATURE_HASH_ALGORITHMS. If not, the old RSA method takes SHA-1 too, which
///                          RFC 7296 §3.8 has by default; if so, nobody needs it (RFC 8247 §3.2)
[[nodiscard]] Result<void, AuthErrc> verify_auth(const Certificate& certificate, std::uint8_t method, ByteView data,
                                                 ByteView octets, bool hashes_announced);

/// prf(prf(shared key, "Key Pad for IKEv2"), octets), RFC 7296 §2.15. For EAP the shared key is the MSK (§2.16).
[[nodiscard]] AuthData shared_key_auth(PrfAlgorithm algorithm, ByteView shared_key, ByteView octets);
/// In constant time. Errors: bad_signature, also for an empty shared key.
[[nodiscard]] Result<void, AuthErrc> verify_shared_key_auth(PrfAlgorithm algorithm, ByteView shared_key, ByteView data,
                                                            ByteView octets);

}  // namespace switchback::crypto
