// Certificates, trust and what our own authority issues, together: each needs the others to have something to judge.
#include "common/crypto/credentials.h"
#include "common/crypto/pki.h"
#include "common/crypto/trust_store.h"
#include "tests/unit/crypto/support.h"

namespace switchback::crypto {
namespace {

constexpr WallTime kNow{std::chrono::sys_days{std::chrono::year{2026} / 6 / 1}};

CertificateAuthority make_authority(std::string_view name = "Test CA") {
  return CertificateAuthority::create(name, kNow).value();
}
IkeIdentity id(std::string_view text) { return IkeIdentity::parse(text).value(); }
HeadendRequest headend_request() {
  return {{"vpn.example.org"}, {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")}};
}
Result<Certificate, TrustErrc> judge(const TrustStore& store, const Certificate& leaf, std::string_view identity,
                                     CertificateUse use, WallTime now = kNow) {
  return store.verify(std::vector<Bytes>{to_bytes(leaf.der())}, id(identity), use, now);
}

TEST_CASE("an issued headend certificate names its names and serves as one", "[crypto][pki]") {
  const auto authority = make_authority();
  for (const auto type : {KeyType::ecdsa_p256, KeyType::ecdsa_p384, KeyType::ed25519, KeyType::rsa}) {
    CAPTURE(to_string(type));
    auto request = headend_request();
    request.key_type = type;
    const auto issued = authority.issue_headend(request, kNow).value();
    const auto& certificate = issued.certificate;
    CHECK(certificate.key_type() == type);
    CHECK(issued.key.belongs_to(certificate));
    CHECK(certificate.dns_names() == std::vector<std::string>{"vpn.example.org"});
    CHECK(certificate.addresses() == request.addresses);
    CHECK(certificate.common_name() == "vpn.example.org");
    CHECK(certificate.allows(CertificateUse::headend));
    CHECK_FALSE(certificate.allows(CertificateUse::client));
    CHECK_FALSE(certificate.is_authority());
    CHECK(certificate.not_before() == kNow - std::chrono::hours{1});
    CHECK(certificate.not_after() == kNow + kHeadendLifetime);
    CHECK(same_bytes(certificate.issuer(), authority.certificate().subject()));
    CHECK(certificate.serial().size() == 16);
  }
  CHECK(authority.certificate().is_authority());
}

TEST_CASE("a headend is believed by name and address, a client by name, neither as the other", "[crypto][trust]") {
  const auto authority = make_authority();
  TrustStore store;
  store.add(authority.certificate());
  const auto headend = authority.issue_headend(headend_request(), kNow).value().certificate;
  const auto alice = authority.issue_user({"alice"}, kNow).value().certificate;
  const auto mail = authority.issue_user({"bob@example.org"}, kNow).value().certificate;
  constexpr auto client = CertificateUse::client;
  for (const auto* name : {"vpn.example.org", "VPN.Example.ORG", "192.0.2.1", "2001:db8::1"}) {
    CHECK(judge(store, headend, name, CertificateUse::headend));
  }
  CHECK(judge(store, headend, "CN=vpn.example.org", CertificateUse::headend));
  for (const auto* name : {"example.org", "a.vpn.example.org", "192.0.2.2", "keyid:vpn.example.org"}) {
    CHECK(judge(store, headend, name, CertificateUse::headend).error() == TrustErrc::wrong_name);
  }
  CHECK(judge(store, alice, "alice", client));
  CHECK(judge(store, alice, "CN=alice", client));
  CHECK(judge(store, mail, "bob@example.org", client));
  CHECK(judge(store, alice, "bob", client).error() == TrustErrc::wrong_name);
  CHECK(judge(store, mail, "alice@example.org", client).error() == TrustErrc::wrong_name);
  // A user must not be able to stand in for the headend.
  CHECK(judge(store, alice, "alice", CertificateUse::headend).error() == TrustErrc::wrong_usage);
  CHECK(judge(store, headend, "vpn.example.org", client).error() == TrustErrc::wrong_usage);
}

TEST_CASE("time, authority and integrity are each checked", "[crypto][trust]") {
  const auto authority = make_authority();
  const auto other = make_authority();  // of the same name, with another key
  const auto alice = authority.issue_user({"alice"}, kNow).value().certificate;
  TrustStore store, others, nobody;
  store.add(authority.certificate());
  others.add(other.certificate());
  constexpr auto client = CertificateUse::client;
  CHECK(judge(store, alice, "alice", client, alice.not_after() - std::chrono::hours{1}));
  CHECK(judge(store, alice, "alice", client, alice.not_after() + std::chrono::hours{1}).error() == TrustErrc::expired);
  CHECK(judge(store, alice, "alice", client, kNow - std::chrono::days{1}).error() == TrustErrc::not_yet_valid);
  CHECK(judge(others, alice, "alice", client).error() == TrustErrc::untrusted);
  CHECK(judge(nobody, alice, "alice", client).error() == TrustErrc::untrusted);
  auto forged = to_bytes(alice.der());
  forged.back() ^= 1U;
  const auto judged = store.verify(std::vector<Bytes>{forged}, id("alice"), client, kNow);
  REQUIRE_FALSE(judged);
  CHECK((judged.error() == TrustErrc::untrusted || judged.error() == TrustErrc::malformed));
  CHECK(store.verify(std::vector<Bytes>{}, id("alice"), client, kNow).error() == TrustErrc::no_certificate);
  const std::vector<Bytes> many(kMaxPeerCertificates + 1, to_bytes(alice.der()));
  CHECK(store.verify(many, id("alice"), client, kNow).error() == TrustErrc::too_many_certificates);
  CHECK(store.verify(std::vector<Bytes>{Bytes(50, 0x30)}, id("alice"), client, kNow).error() == TrustErrc::malformed);
  CHECK(store.authority_hashes() == to_bytes(authority.certificate().public_key_hash()));
}

TEST_CASE("chains of other authorities are judged by their constraints, usages and names",
          "[crypto][trust][rfc5280][rfc4945]") {
  const auto vectors = read_vectors("chains.txt");
  TrustStore store;
  for (const auto& vector : vectors) {
    if (vector.count("Anchor") != 0) {
      store.add(Certificate::parse(from_hex(vector.at("Anchor"))).value());
      continue;
    }
    std::vector<Bytes> chain;
    for (auto at = vector.find("Certificate0"); at != vector.end();
         at = vector.find("Certificate" + std::to_string(chain.size()))) {
      chain.push_back(from_hex(at->second));
    }
    CAPTURE(vector);
    const auto use = vector.at("Use") == "headend" ? CertificateUse::headend : CertificateUse::client;
    const auto judged = store.verify(chain, id(vector.at("Identity")), use, kNow);
    const auto& expected = vector.at("Expect");
    if (judged) {
      CHECK(expected == "trusted");
    } else {
      static const std::map<std::string, TrustErrc> kErrors{{"untrusted", TrustErrc::untrusted},
                                                            {"expired", TrustErrc::expired},
                                                            {"wrong_usage", TrustErrc::wrong_usage},
                                                            {"wrong_name", TrustErrc::wrong_name}};
      CHECK(kErrors.count(expected) == 1);
      CHECK(kErrors.at(expected) == judged.error());
    }
  }
}

TEST_CASE("a user's certificate does not sign others", "[crypto][trust]") {
  const auto authority = make_authority();
  const auto mallory = authority.issue_user({"mallory"}, kNow).value();
  // What mallory would sign with the key of a certificate that is no authority's: load() refuses it at once.
  CHECK_FALSE(CertificateAuthority::load(mallory.certificate.to_pem(), mallory.key.to_pem().value().view(), "here"));
}

TEST_CASE("hostile octets are no certificate", "[crypto][certificate]") {
  const auto der = to_bytes(make_authority().certificate().der());
  CHECK(Certificate::parse({}).error() == CertificateErrc::malformed);
  CHECK(Certificate::parse(Bytes(kMaxCertificateOctets + 1, 0)).error() == CertificateErrc::too_large);
  auto longer = der;
  longer.push_back(0);
  CHECK(Certificate::parse(longer).error() == CertificateErrc::malformed);
  for (std::size_t size = 0; size < der.size(); ++size) {
    if (Certificate::parse(ByteView{der}.first(size))) FAIL("accepted when cut to " << size);
  }
  for (std::size_t at = 0; at < der.size(); ++at) {  // must not crash; may parse
    auto twisted = der;
    twisted[at] ^= 0xffU;
    if (const auto parsed = Certificate::parse(twisted)) CHECK(same_bytes(parsed->der(), twisted));
  }
}

TEST_CASE("PEM goes out and comes back, and errors say where", "[crypto][pki]") {
  const auto authority = make_authority();
  const auto issued = authority.issue_user({"alice"}, kNow).value();
  const auto key_pem = issued.key.to_pem().value();
  const auto both = issued.certificate.to_pem() + authority.certificate().to_pem();
  const auto credentials = Credentials::from_pem(both, key_pem.view(), "alice.toml");
  REQUIRE(credentials);
  REQUIRE(credentials->chain().size() == 2);
  CHECK(credentials->chain()[0].fingerprint() == issued.certificate.fingerprint());
  const auto wrong = Credentials::from_pem(authority.certificate().to_pem(), key_pem.view(), "alice.toml");
  REQUIRE_FALSE(wrong);
  CHECK_THAT(wrong.error().message, Catch::Contains("alice.toml"));
  CHECK_FALSE(Certificate::parse_pem("nothing", "x"));
  CHECK_FALSE(PrivateKey::parse_pem(as_bytes("nothing"), "x"));
  CHECK_FALSE(Credentials::from_pre_shared_key(Secret{}));
  const auto again =
      CertificateAuthority::load(authority.certificate().to_pem(), authority.key().to_pem().value().view(), "pki");
  REQUIRE(again);
  CHECK(again->issue_user({"carol"}, kNow));
}

TEST_CASE("PKCS#12 comes back with its password only", "[crypto][pki]") {
  const auto authority = make_authority();
  const auto issued = authority.issue_user({"alice"}, kNow).value();
  const std::array authorities{authority.certificate()};
  for (const bool compatible : {false, true}) {
    for (const std::string_view password : {"", "correct horse"}) {
      const auto file = make_pkcs12(issued.certificate, issued.key, authorities, "alice", password, compatible);
      REQUIRE(file);
      const auto content = read_pkcs12(file->view(), password, "alice.p12");
      REQUIRE(content);
      CHECK(content->key.belongs_to(issued.certificate));
      CHECK(content->certificate.fingerprint() == issued.certificate.fingerprint());
      REQUIRE(content->authorities.size() == 1);
      CHECK(content->authorities[0].fingerprint() == authority.certificate().fingerprint());
      CHECK_FALSE(read_pkcs12(file->view(), "wrong", "alice.p12"));
    }
  }
  CHECK_FALSE(read_pkcs12(Bytes(100, 0x30), "", "x"));
}

TEST_CASE("names that could not be told apart or would break out are not issued", "[crypto][pki]") {
  const auto authority = make_authority();
  for (const auto* name : {"", "a b", "@a", "a@", "a@b@c", ".a", "-a", "a,DNS:vpn.example.org", "a/b", "a\nb"}) {
    CAPTURE(name);
    CHECK_FALSE(authority.issue_user({name}, kNow));
  }
  CHECK_FALSE(check_user_name(std::string(65, 'a')));
  CHECK(check_user_name(std::string(64, 'a')));
  CHECK_FALSE(authority.issue_headend({}, kNow));
  CHECK_FALSE(authority.issue_headend({{"a b"}, {}}, kNow));
}

}  // namespace
}  // namespace switchback::crypto
