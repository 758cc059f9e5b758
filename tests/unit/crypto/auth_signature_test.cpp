#include "common/crypto/auth_signature.h"
#include "common/crypto/pki.h"
#include "tests/unit/crypto/support.h"

namespace switchback::crypto {
namespace {

constexpr WallTime kNow{std::chrono::sys_days{std::chrono::year{2026} / 6 / 1}};
constexpr std::array kTypes{KeyType::ecdsa_p256, KeyType::ecdsa_p384, KeyType::ecdsa_p521, KeyType::ed25519,
                            KeyType::rsa};
constexpr auto kDigitalSignature = static_cast<std::uint8_t>(AuthMethod::digital_signature);

IssuedCertificate issue(KeyType type) {
  static const auto authority = CertificateAuthority::create("Test CA", kNow).value();
  return authority.issue_user({"alice", type}, kNow).value();
}
Result<void, AuthErrc> check(const Certificate& certificate, const AuthData& auth, ByteView octets,
                             bool hashes_announced = false) {
  return verify_auth(certificate, static_cast<std::uint8_t>(auth.method), auth.data, octets, hashes_announced);
}

TEST_CASE("what one end signs the other verifies, and nothing else", "[crypto][auth][rfc7427][rfc4754]") {
  const auto octets = as_bytes("what is signed"), other = as_bytes("what is not");
  const std::array only_512{HashAlgorithm::sha2_512, HashAlgorithm::identity};
  for (const auto type : kTypes) {
    CAPTURE(to_string(type));
    const auto alice = issue(type), bob = issue(type);
    std::vector<AuthData> proofs{sign_auth(alice.key, kOurHashAlgorithms, octets).value(),
                                 sign_auth(alice.key, only_512, octets).value(),
                                 sign_auth_pss(alice.key, kOurHashAlgorithms, octets).value()};
    for (const auto& proof : proofs) CHECK(proof.method == AuthMethod::digital_signature);
    if (const auto old = sign_auth(alice.key, {}, octets)) {
      CHECK(old->method != AuthMethod::digital_signature);
      proofs.push_back(*old);
    } else {
      CHECK(type == KeyType::ed25519);
      CHECK(old.error() == AuthErrc::unsupported_method);
    }
    for (const auto& proof : proofs) {
      CHECK(check(alice.certificate, proof, octets));
      const bool sha1 = proof.method == AuthMethod::rsa_signature;
      CHECK(check(alice.certificate, proof, octets, true).has_value() == !sha1);
      CHECK(check(alice.certificate, proof, other).error() == AuthErrc::bad_signature);
      CHECK(check(bob.certificate, proof, octets).error() == AuthErrc::bad_signature);
      auto twisted = proof;
      twisted.data.back() ^= 1U;
      CHECK(check(alice.certificate, twisted, octets).error() == AuthErrc::bad_signature);
    }
  }
}

TEST_CASE("algorithm identifiers are those of RFC 7427", "[crypto][auth][rfc7427]") {
  const auto identifier = [](KeyType type, HashAlgorithm hash, bool pss = false) {
    const auto alice = issue(type);
    const std::array hashes{hash};
    const auto auth =
        (pss ? sign_auth_pss(alice.key, hashes, as_bytes("x")) : sign_auth(alice.key, hashes, as_bytes("x"))).value();
    return to_hex(ByteView{auth.data}.subspan(1, auth.data[0]));
  };
  CHECK(identifier(KeyType::rsa, HashAlgorithm::sha2_256) == "300d06092a864886f70d01010b0500");
  CHECK(identifier(KeyType::rsa, HashAlgorithm::sha2_512) == "300d06092a864886f70d01010d0500");
  CHECK(identifier(KeyType::ecdsa_p256, HashAlgorithm::sha2_256) == "300a06082a8648ce3d040302");
  CHECK(identifier(KeyType::ecdsa_p384, HashAlgorithm::sha2_384) == "300a06082a8648ce3d040303");
  CHECK(identifier(KeyType::ecdsa_p521, HashAlgorithm::sha2_512) == "300a06082a8648ce3d040304");
  CHECK(identifier(KeyType::ed25519, HashAlgorithm::identity) == "300506032b6570");
  CHECK(identifier(KeyType::rsa, HashAlgorithm::sha2_256, true) ==
        "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d0609608648"
        "0165030402010500a203020120");
}

TEST_CASE("a proof that does not fit the key, the method or the peer is refused", "[crypto][auth]") {
  const auto octets = as_bytes("octets");
  const auto ecdsa = issue(KeyType::ecdsa_p256), ed = issue(KeyType::ed25519), rsa = issue(KeyType::rsa);
  const std::array no_identity{HashAlgorithm::sha2_256};
  CHECK(sign_auth(ed.key, no_identity, octets).error() == AuthErrc::no_common_hash);
  const std::array sha1_only{HashAlgorithm::sha1};
  CHECK(sign_auth(rsa.key, sha1_only, octets).error() == AuthErrc::no_common_hash);
  const auto proof = sign_auth(ecdsa.key, kOurHashAlgorithms, octets).value();
  CHECK(check(rsa.certificate, proof, octets).error() == AuthErrc::wrong_key);
  CHECK(verify_auth(ecdsa.certificate, 3, proof.data, octets, false).error() == AuthErrc::unsupported_method);
  CHECK(verify_auth(ecdsa.certificate, 9, proof.data, octets, false).error() == AuthErrc::malformed);
  CHECK(verify_auth(ecdsa.certificate, 1, proof.data, octets, false).error() == AuthErrc::wrong_key);
  CHECK(verify_auth(ecdsa.certificate, kDigitalSignature, {}, octets, false).error() == AuthErrc::malformed);
  CHECK(verify_auth(ecdsa.certificate, kDigitalSignature, Bytes{200, 1}, octets, false).error() == AuthErrc::malformed);
  // RFC 7427 §A.1.1: sha1WithRSAEncryption, which nobody may use any more (RFC 8247 §3.2)
  auto sha1 = from_hex("0f300d06092a864886f70d0101050500");
  sha1.resize(sha1.size() + 384);
  CHECK(verify_auth(rsa.certificate, kDigitalSignature, sha1, octets, false).error() == AuthErrc::unsupported_method);
  for (std::size_t size = 0; size < proof.data.size(); ++size) {
    CHECK_FALSE(verify_auth(ecdsa.certificate, kDigitalSignature, ByteView{proof.data}.first(size), octets, false));
  }
}

TEST_CASE("shared key proofs are prf(prf(key, pad), octets) and never pass with an empty key",
          "[crypto][auth][rfc7296]") {
  const auto alg = PrfAlgorithm::hmac_sha2_256;
  const auto key = as_bytes("secret"), octets = as_bytes("octets");
  const auto auth = shared_key_auth(alg, key, octets);
  CHECK(auth.method == AuthMethod::shared_key_mic);
  CHECK(prf(alg, prf(alg, key, {as_bytes("Key Pad for IKEv2")}).view(), {octets}).equals(auth.data));
  CHECK(verify_shared_key_auth(alg, key, auth.data, octets));
  CHECK_FALSE(verify_shared_key_auth(alg, as_bytes("Secret"), auth.data, octets));
  CHECK_FALSE(verify_shared_key_auth(alg, key, ByteView{auth.data}.first(31), octets));
  CHECK_FALSE(verify_shared_key_auth(alg, key, {}, octets));
  CHECK_FALSE(verify_shared_key_auth(alg, {}, shared_key_auth(alg, {}, octets).data, octets));
}

TEST_CASE("the signed octets are message, nonce and maced identity", "[crypto][auth][rfc7296]") {
  const Secret sk_p{as_bytes("sk_p")};
  const auto octets =
      signed_octets(PrfAlgorithm::hmac_sha2_384, as_bytes("message"), as_bytes("nonce"), sk_p, as_bytes("id"));
  CHECK(octets.size() == 7 + 5 + 48);
  CHECK(as_text(ByteView{octets}.first(12)) == "messagenonce");
  CHECK(prf(PrfAlgorithm::hmac_sha2_384, sk_p.view(), {as_bytes("id")}).equals(ByteView{octets}.subspan(12)));
}

}  // namespace
}  // namespace switchback::crypto
