#include "common/ike/proposal.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::ike;
using crypto::AeadAlgorithm;
using crypto::KeyExchangeMethod;
using crypto::PrfAlgorithm;

namespace {

std::vector<IkeProposal> ike_policy(std::initializer_list<const char*> texts) {
  std::vector<IkeProposal> out;
  for (const auto* text : texts) out.push_back(parse_ike_proposal(text).value());
  return out;
}
std::vector<EspProposal> esp_policy(std::initializer_list<const char*> texts) {
  std::vector<EspProposal> out;
  for (const auto* text : texts) out.push_back(parse_esp_proposal(text).value());
  return out;
}
constexpr auto kWithKe = ChildKeyExchange::negotiated;
constexpr auto kWithoutKe = ChildKeyExchange::ignored;
constexpr Spi kSpi{0x1000};

}  // namespace

TEST_CASE("proposals are written in strongSwan's syntax", "[ike][proposal]") {
  const auto proposal = parse_ike_proposal("AES256GCM16-aes128gcm128-prfsha384-x25519-ecp256").value();
  CHECK(proposal.encryption == std::vector{AeadAlgorithm::aes256_gcm, AeadAlgorithm::aes128_gcm});
  CHECK(proposal.prf == std::vector{PrfAlgorithm::hmac_sha2_384});
  CHECK(proposal.key_exchange == std::vector{KeyExchangeMethod::curve25519, KeyExchangeMethod::ecp_256});
  CHECK(to_string(proposal) == "aes256gcm16-aes128gcm16-prfsha384-x25519-ecp256");
  CHECK(to_string(esp_policy({"chacha20poly1305"})[0]) == "chacha20poly1305-noesn");
  CHECK(to_string(esp_policy({"aes128gcm16-esn-noesn-modp2048-none"})[0]) == "aes128gcm16-modp2048-none-esn-noesn");
}

TEST_CASE("a wrong keyword is named along with what would do", "[ike][proposal]") {
  CHECK(parse_ike_proposal("aes128gcm16-sha256-x25519").error().message.find("write prfsha256") != std::string::npos);
  CHECK(parse_ike_proposal("aes128gcm16-x25519").error().message.find("names no PRF") != std::string::npos);
  CHECK(parse_ike_proposal("aes128gcm16-prfsha256-esn-x25519").error().message.find("\"esn\"") != std::string::npos);
  CHECK(parse_esp_proposal("3des").error().message.find("\"3des\"") != std::string::npos);
  CHECK(parse_esp_proposal("").error().message.find("unknown keyword") != std::string::npos);
  CHECK(parse_esp_proposal("aes128gcm16-").error().message.find("unknown keyword") != std::string::npos);
  CHECK(parse_esp_proposal(std::string(4000, 'x')).error().message.size() < 200);
  CHECK(parse_esp_proposal("a\x1b[2J").error().message.find('\x1b') == std::string::npos);
}

TEST_CASE("the responder's own order decides", "[ike][proposal][rfc7296-2.7]") {
  const auto offered =
      offer(ike_policy({"aes128gcm16-prfsha256-ecp256", "aes256gcm16-aes128gcm16-prfsha256-prfsha512-x25519"}));
  auto chosen =
      choose_ike(ike_policy({"aes128gcm16-prfsha512-x25519", "aes128gcm16-prfsha256-ecp256"}), offered, false);
  REQUIRE(chosen.has_value());
  CHECK(chosen->number == 2);
  CHECK(chosen->suite ==
        IkeSuite{AeadAlgorithm::aes128_gcm, PrfAlgorithm::hmac_sha2_512, KeyExchangeMethod::curve25519});
  CHECK(chosen->answer.number == 2);
  CHECK(chosen->answer.transforms.size() == 3);
  CHECK(accept_ike(offered, std::array{chosen->answer})->suite == chosen->suite);
  CHECK_FALSE(choose_ike(ike_policy({"chacha20poly1305-prfsha256-x25519"}), offered, false).has_value());
  // The parts of a suite come out of one proposal, not out of several.
  CHECK_FALSE(choose_ike(ike_policy({"aes256gcm16-prfsha256-ecp256"}), offered, false).has_value());
}

TEST_CASE("an IKE SA is rekeyed with SPIs in the proposals, and made without", "[ike][proposal][rfc7296-3.3.1]") {
  const auto policy = default_ike_proposals();
  CHECK_FALSE(choose_ike(policy, offer(policy), true).has_value());
  CHECK_FALSE(choose_ike(policy, offer(policy, IkeSpi{77}), false).has_value());
  CHECK_FALSE(choose_ike(policy, offer(policy, IkeSpi{0}), true).has_value());
  CHECK(choose_ike(policy, offer(policy, IkeSpi{77}), true)->spi == IkeSpi{77});
}

TEST_CASE("an unknown transform is passed over, an unknown transform type is not", "[ike][proposal][rfc7296-3.3.6]") {
  const auto policy = ike_policy({"aes128gcm16-prfsha256-x25519"});
  auto offered = offer(policy);
  offered[0].transforms.push_back({TransformType::key_exchange, 36, std::nullopt, true});
  offered[0].transforms.push_back({TransformType::encryption, 20, 512, true});
  CHECK(choose_ike(policy, offered, false).has_value());
  offered[0].transforms.push_back({TransformType::additional_key_exchange_1, 36, std::nullopt, true});
  CHECK_FALSE(choose_ike(policy, offered, false).has_value());
}

TEST_CASE("AES-GCM without its key length, or with another attribute, is not usable",
          "[ike][proposal][rfc7296-3.3.5]") {
  const auto policy = ike_policy({"aes128gcm16-prfsha256-x25519"});
  auto offered = offer(policy);
  offered[0].transforms[0].key_bits.reset();
  CHECK_FALSE(choose_ike(policy, offered, false).has_value());
  offered[0].transforms[0].key_bits = 128;
  offered[0].transforms[0].usable = false;
  CHECK_FALSE(choose_ike(policy, offered, false).has_value());
}

TEST_CASE("with an AEAD, integrity is absent or NONE", "[ike][proposal][rfc5282-8]") {
  const auto policy = ike_policy({"aes128gcm16-prfsha256-x25519"});
  auto offered = offer(policy);
  offered[0].transforms.push_back({TransformType::integrity, 12, std::nullopt, true});
  CHECK_FALSE(choose_ike(policy, offered, false).has_value());
  offered[0].transforms.push_back({TransformType::integrity, 0, std::nullopt, true});
  const auto chosen = choose_ike(policy, offered, false);
  REQUIRE(chosen.has_value());
  CHECK(chosen->answer.transforms.back() == Transform{TransformType::integrity, 0, std::nullopt, true});
  CHECK(accept_ike(offered, std::array{chosen->answer}).has_value());
}

TEST_CASE("the initiator takes only what it offered", "[ike][proposal][rfc7296-2.7]") {
  const auto offered = offer(ike_policy({"aes256gcm16-prfsha256-x25519-ecp256"}));
  const auto good = choose_ike(default_ike_proposals(), offered, false)->answer;
  CHECK(accept_ike(offered, std::array{good}).has_value());
  CHECK_FALSE(accept_ike(offered, {}).has_value());
  CHECK_FALSE(accept_ike(offered, std::array{good, good}).has_value());
  auto bad = good;
  bad.number = 2;
  CHECK_FALSE(accept_ike(offered, std::array{bad}).has_value());
  bad = good;
  bad.transforms[0].key_bits = 128;
  CHECK_FALSE(accept_ike(offered, std::array{bad}).has_value());
  bad = good;
  bad.transforms.push_back({TransformType::key_exchange, 19, std::nullopt, true});  // two of one type
  CHECK_FALSE(accept_ike(offered, std::array{bad}).has_value());
  bad = good;
  bad.transforms.pop_back();
  CHECK_FALSE(accept_ike(offered, std::array{bad}).has_value());
  bad = good;
  bad.transforms[1].id = 7;
  CHECK_FALSE(accept_ike(offered, std::array{bad}).has_value());
  bad = good;
  bad.spi = Bytes(8, 1);
  CHECK_FALSE(accept_ike(offered, std::array{bad}).has_value());
  bad = good;
  bad.protocol = ProtocolId::esp;
  CHECK_FALSE(accept_ike(offered, std::array{bad}).has_value());
}

TEST_CASE("ESN is negotiated by preference", "[ike][proposal][esp]") {
  const auto offered = offer(esp_policy({"aes128gcm16-noesn-esn"}), kSpi, kWithoutKe);
  CHECK(choose_esp(esp_policy({"aes128gcm16-esn-noesn"}), offered, kWithoutKe)->suite.esn);
  CHECK_FALSE(choose_esp(esp_policy({"aes128gcm16-noesn-esn"}), offered, kWithoutKe)->suite.esn);
  const auto strongswan = offer(esp_policy({"aes128gcm16"}), kSpi, kWithoutKe);
  CHECK_FALSE(choose_esp(default_esp_proposals(), strongswan, kWithoutKe)->suite.esn);
  CHECK_FALSE(choose_esp(esp_policy({"aes128gcm16-esn"}), strongswan, kWithoutKe).has_value());
  CHECK(choose_esp(default_esp_proposals(), strongswan, kWithoutKe)->spi == kSpi);
}

TEST_CASE("PFS does not count in IKE_AUTH", "[ike][proposal][rfc7296-1.2]") {
  const auto policy = esp_policy({"aes128gcm16-x25519", "aes128gcm16-ecp256", "aes256gcm16-x25519"});
  const auto offered = offer(policy, kSpi, kWithoutKe);
  CHECK(offered.size() == 2);  // two are the same without key exchange
  CHECK(choose_esp(policy, offered, kWithoutKe)->suite.key_exchange == std::nullopt);
  CHECK(offer(policy, kSpi, kWithKe).size() == 3);
  // A peer that offers methods in IKE_AUTH all the same is understood.
  CHECK(choose_esp(policy, offer(policy, kSpi, kWithKe), kWithoutKe)->answer.transforms.size() == 2);
}

TEST_CASE("PFS is as both want it in CREATE_CHILD_SA", "[ike][proposal][rfc7296-1.3]") {
  const auto pfs = esp_policy({"aes128gcm16-x25519"});
  const auto either = esp_policy({"aes128gcm16-x25519-none"});
  const auto without = esp_policy({"aes128gcm16"});
  const auto chosen = [](const auto& policy, const auto& offering) {
    const auto offered = offer(offering, kSpi, kWithKe);
    const auto choice = choose_esp(policy, offered, kWithKe);
    if (!choice) return std::string{"no"};
    auto answer = choice->answer;
    answer.spi = Bytes{0, 0, 2, 0};
    CHECK(accept_esp(offered, std::array{answer})->suite == choice->suite);
    return std::string{choice->suite.key_exchange ? "pfs" : "none"};
  };
  CHECK(chosen(pfs, pfs) == "pfs");
  CHECK(chosen(pfs, either) == "pfs");
  CHECK(chosen(either, pfs) == "pfs");
  CHECK(chosen(either, either) == "pfs");
  CHECK(chosen(either, without) == "none");
  CHECK(chosen(without, either) == "none");
  CHECK(chosen(without, without) == "none");
  CHECK(chosen(pfs, without) == "no");
  CHECK(chosen(without, pfs) == "no");
}

TEST_CASE("an answer may not drop PFS that was required", "[ike][proposal]") {
  const auto offered = offer(esp_policy({"aes128gcm16-x25519"}), kSpi, kWithKe);
  auto answer = choose_esp(esp_policy({"aes128gcm16-x25519"}), offered, kWithKe)->answer;
  answer.spi = Bytes{0, 0, 2, 0};
  REQUIRE(accept_esp(offered, std::array{answer}).has_value());
  answer.transforms.pop_back();
  CHECK_FALSE(accept_esp(offered, std::array{answer}).has_value());
}

TEST_CASE("reserved and misshapen SPIs are not taken", "[ike][proposal][rfc4303-2.1]") {
  const auto policy = esp_policy({"aes128gcm16"});
  CHECK_FALSE(choose_esp(policy, offer(policy, Spi{255}, kWithKe), kWithKe).has_value());
  CHECK(choose_esp(policy, offer(policy, Spi{256}, kWithKe), kWithKe).has_value());
  const auto offered = offer(policy, kSpi, kWithKe);
  auto answer = choose_esp(policy, offered, kWithKe)->answer;
  answer.spi = Bytes{0, 0, 0, 255};
  CHECK_FALSE(accept_esp(offered, std::array{answer}).has_value());
}

TEST_CASE("INVALID_KE_PAYLOAD may only name what was offered", "[ike][proposal][rfc7296-1.2]") {
  const auto offered = offer(ike_policy({"aes128gcm16-prfsha256-x25519-ecp384"}));
  CHECK(offers_key_exchange(offered, KeyExchangeId::ecp_384));
  CHECK_FALSE(offers_key_exchange(offered, KeyExchangeId::ecp_256));
  CHECK(first_key_exchange(ike_policy({"aes128gcm16-prfsha256-x25519-ecp384"})) == KeyExchangeMethod::curve25519);
  CHECK_FALSE(first_key_exchange(esp_policy({"aes128gcm16"})).has_value());
  CHECK(supported_key_exchange(KeyExchangeId::modp_2048) == KeyExchangeMethod::modp_2048);
  CHECK_FALSE(supported_key_exchange(KeyExchangeId::modp_1024).has_value());
}

TEST_CASE("default proposals meet each other and every single suite", "[ike][proposal]") {
  for (const auto* text : {"aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha384-ecp384",
                           "chacha20poly1305-prfsha512-modp2048", "aes128gcm16-prfsha256-ecp256"}) {
    const auto chosen = choose_ike(default_ike_proposals(), offer(ike_policy({text})), false);
    REQUIRE(chosen.has_value());
    CHECK(to_string(chosen->suite) == text);
  }
  CHECK(choose_esp(default_esp_proposals(), offer(default_esp_proposals(), kSpi, kWithKe), kWithKe)->suite.esn);
}
