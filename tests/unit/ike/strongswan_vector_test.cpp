// Everything that is derived, opened and parsed, against a session that strongSwan had with itself.
#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <string>

#include "common/ike/keys.h"
#include "common/ike/nat_detection.h"
#include "common/ike/payload_auth.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "common/ike/payload_ts.h"
#include "common/ike/sk_payload.h"
#include "tests/unit/ike/wire_test.h"

using namespace switchback;
using namespace switchback::ike;
using switchback::ike::test::hex;

namespace {

class Vectors {
 public:
  Vectors() {
    std::ifstream file{SB_SOURCE_DIR "/tests/vectors/ike/strongswan_session.txt"};
    for (std::string line; std::getline(file, line);) {
      const auto equals = line.find(" = ");
      if (line.empty() || line.front() == '#' || equals == std::string::npos) continue;
      values_[line.substr(0, equals)] = hex(line.substr(equals + 3));
    }
  }
  [[nodiscard]] const Bytes& operator[](const std::string& key) const { return values_.at(key); }
  [[nodiscard]] Secret secret(const std::string& key) const { return Secret{values_.at(key)}; }
  [[nodiscard]] IkeSpi spi(const std::string& key) const {
    return IkeSpi{load_be<std::uint64_t>(values_.at(key).data())};
  }

 private:
  std::map<std::string, Bytes> values_;
};

const IkeSuite kSuite{crypto::AeadAlgorithm::aes128_gcm, crypto::PrfAlgorithm::hmac_sha2_256,
                      crypto::KeyExchangeMethod::curve25519};

IkeKeys first_keys(const Vectors& v) {
  const Nonces nonces{v["ni"], v["nr"]};
  const auto seed = skeyseed(kSuite.prf, nonces, v.secret("shared"));
  return derive_ike_keys(kSuite, seed, nonces, v.spi("spi_i"), v.spi("spi_r"));
}

OpenedMessage open_one(SkOpener& opener, ByteView message) {
  return opener.open(message).value().value();  // throws, and so fails the test, if not a whole message
}

ByteView body(const OpenedMessage& message, PayloadType type) {
  const auto* payload = message.payloads.find(type);
  REQUIRE(payload != nullptr);
  return payload->body;
}

std::vector<Proposal> offered(const OpenedMessage& message) {
  return parse_sa(body(message, PayloadType::security_association)).value();
}

}  // namespace

TEST_CASE("the keys of an IKE SA are strongSwan's", "[ike][vectors][rfc7296-2.14]") {
  const Vectors v;
  const Nonces nonces{v["ni"], v["nr"]};
  CHECK(skeyseed(kSuite.prf, nonces, v.secret("shared")).equals(v["skeyseed"]));
  const auto keys = first_keys(v);
  CHECK(keys.sk_d.equals(v["sk_d"]));
  CHECK(keys.sk_ei.key_and_salt.equals(v["sk_ei"]));
  CHECK(keys.sk_er.key_and_salt.equals(v["sk_er"]));
  CHECK(keys.sk_pi.equals(v["sk_pi"]));
  CHECK(keys.sk_pr.equals(v["sk_pr"]));
}

TEST_CASE("the keys of a Child SA are strongSwan's, with and without PFS", "[ike][vectors][rfc7296-2.17]") {
  const Vectors v;
  const auto keys = first_keys(v);
  const auto plain = derive_child_keys(keys, crypto::AeadAlgorithm::aes256_gcm, nullptr, {v["ni"], v["nr"]});
  CHECK(plain.initiator.key_and_salt.equals(v["child_initiator"]));
  CHECK(plain.responder.key_and_salt.equals(v["child_responder"]));
  const auto shared = v.secret("rekeyed_child_shared");
  const auto pfs = derive_child_keys(keys, crypto::AeadAlgorithm::aes256_gcm, &shared,
                                     {v["rekeyed_child_ni"], v["rekeyed_child_nr"]});
  CHECK(pfs.initiator.key_and_salt.equals(v["rekeyed_child_initiator"]));
  CHECK(pfs.responder.key_and_salt.equals(v["rekeyed_child_responder"]));
}

TEST_CASE("strongSwan's IKE_SA_INIT is read, and its choice is one of its offer", "[ike][vectors]") {
  const Vectors v;
  const auto request = parse_message(v["init_request"]).value();
  const auto response = parse_message(v["init_response"]).value();
  CHECK(same_bytes(request.payloads.find(PayloadType::nonce)->body, v["ni"]));
  const auto ke = parse_key_exchange(request.payloads.find(PayloadType::key_exchange)->body).value();
  CHECK(ke.method == KeyExchangeId::curve25519);
  CHECK(ke.public_value.size() == 32);
  const auto offer = parse_sa(request.payloads.find(PayloadType::security_association)->body).value();
  const auto answer = parse_sa(response.payloads.find(PayloadType::security_association)->body).value();
  CHECK(accept_ike(offer, answer)->suite == kSuite);
  CHECK(choose_ike(default_ike_proposals(), offer, false)->suite == kSuite);
  CHECK(choose_ike(default_ike_proposals(), offer, false)->answer == answer.at(0));
  CHECK(find_notify(request.payloads, NotifyType::ikev2_fragmentation_supported).has_value());
  const auto hashes = signature_hashes(*find_notify(request.payloads, NotifyType::signature_hash_algorithms));
  CHECK(std::find(hashes.begin(), hashes.end(), SignatureHash::sha2_256) != hashes.end());
  // kernel-libipsec forges its source hash to make the peer encapsulate; the destination is the truth.
  const AddressPair path{Endpoint::parse("10.1.0.2:500").value(), Endpoint::parse("10.1.0.1:500").value()};
  const auto nat = detect_nat(request.header, request.payloads, path);
  CHECK(nat.supported);
  CHECK(nat.remote_behind);
  CHECK_FALSE(nat.local_behind);
}

TEST_CASE("strongSwan's fragments come together", "[ike][vectors][rfc7383]") {
  const Vectors v;
  const auto keys = first_keys(v);
  SkOpener from_initiator{keys.sk_ei};
  CHECK(peek_fragment(v["auth_request_1"]) == FragmentHeader{1, 2});
  CHECK_FALSE(from_initiator.open(v["auth_request_2"]).value().has_value());
  const auto request = open_one(from_initiator, v["auth_request_1"]);
  CHECK(as_text(parse_id(body(request, PayloadType::id_initiator)).value().data) == "alice");
  CHECK(find_notify(request.payloads, NotifyType::initial_contact).has_value());
  CHECK(find_notify(request.payloads, NotifyType::mobike_supported).has_value());
  CHECK(parse_auth(body(request, PayloadType::authentication)).value().method == AuthenticationMethod::shared_key);
  const auto selectors = parse_traffic_selectors(body(request, PayloadType::ts_initiator)).value();
  CHECK(selectors.selectors.front() == packet::from_prefix(IpPrefix::parse("10.2.0.1/32").value()));

  SkOpener from_responder{keys.sk_er};
  const auto response = open_one(from_responder, v["auth_response"]);
  const auto accepted = accept_esp(offered(request), offered(response));
  REQUIRE(accepted.has_value());
  CHECK(accepted->suite == EspSuite{crypto::AeadAlgorithm::aes256_gcm, false, std::nullopt});
}

TEST_CASE("strongSwan's PSK AUTH follows from our SK_pi and identity body", "[ike][vectors][rfc7296-2.15]") {
  const Vectors v;
  const auto keys = first_keys(v);
  SkOpener opener{keys.sk_ei};
  REQUIRE_FALSE(opener.open(v["auth_request_1"]).value().has_value());
  const auto request = open_one(opener, v["auth_request_2"]);
  const auto padded = crypto::prf(keys.prf, as_bytes("switchback test vector"), {as_bytes("Key Pad for IKEv2")});
  const auto id = crypto::prf(keys.prf, keys.sk_pi.view(), {body(request, PayloadType::id_initiator)});
  const auto auth = crypto::prf(keys.prf, padded.view(), {v["init_request"], v["nr"], id.view()});
  CHECK(auth.equals(parse_auth(body(request, PayloadType::authentication)).value().data));
}

TEST_CASE("strongSwan's rekey of a Child SA with PFS is read", "[ike][vectors][rfc7296-1.3.3]") {
  const Vectors v;
  const auto keys = first_keys(v);
  SkOpener from_initiator{keys.sk_ei};
  SkOpener from_responder{keys.sk_er};
  REQUIRE_FALSE(from_initiator.open(v["child_request_1"]).value().has_value());
  REQUIRE_FALSE(from_responder.open(v["child_response_1"]).value().has_value());
  const auto request = open_one(from_initiator, v["child_request_2"]);
  const auto response = open_one(from_responder, v["child_response_2"]);
  CHECK(find_notify(request.payloads, NotifyType::rekey_sa)->esp_spi().value != 0);
  CHECK(same_bytes(body(request, PayloadType::nonce), v["rekeyed_child_ni"]));
  CHECK(same_bytes(body(response, PayloadType::nonce), v["rekeyed_child_nr"]));
  const EspSuite expected{crypto::AeadAlgorithm::aes256_gcm, false, crypto::KeyExchangeMethod::ecp_256};
  CHECK(accept_esp(offered(request), offered(response))->suite == expected);
  CHECK(choose_esp(default_esp_proposals(), offered(request), ChildKeyExchange::negotiated)->suite == expected);
  const auto deletion = open_one(from_initiator, v["delete_child_request"]);
  CHECK(parse_delete(body(deletion, PayloadType::delete_sa)).value().spis ==
        std::vector{find_notify(request.payloads, NotifyType::rekey_sa)->esp_spi()});
}

TEST_CASE("the keys of a rekeyed IKE SA are strongSwan's, and open what it sends", "[ike][vectors][rfc7296-2.18]") {
  const Vectors v;
  const auto old_keys = first_keys(v);
  SkOpener from_initiator{old_keys.sk_ei};
  SkOpener from_responder{old_keys.sk_er};
  const auto request = open_one(from_initiator, v["rekey_request"]);
  const auto response = open_one(from_responder, v["rekey_response"]);
  const auto accepted = accept_ike(offered(request), offered(response));
  REQUIRE(accepted.has_value());
  CHECK(accepted->suite == kSuite);
  const Nonces nonces{body(request, PayloadType::nonce), body(response, PayloadType::nonce)};
  const auto seed = rekey_skeyseed(old_keys, v.secret("rekeyed_shared"), nonces);
  CHECK(seed.equals(v["rekeyed_skeyseed"]));
  const auto keys = derive_ike_keys(accepted->suite, seed, nonces, offered(request)[0].ike_spi(), accepted->spi);
  CHECK(keys.sk_d.equals(v["rekeyed_sk_d"]));
  CHECK(keys.sk_ei.key_and_salt.equals(v["rekeyed_sk_ei"]));
  CHECK(keys.sk_er.key_and_salt.equals(v["rekeyed_sk_er"]));
  CHECK(keys.sk_pi.equals(v["rekeyed_sk_pi"]));
  CHECK(keys.sk_pr.equals(v["rekeyed_sk_pr"]));
  const auto deletion = open_one(from_initiator, v["delete_ike_request"]);
  CHECK(parse_delete(body(deletion, PayloadType::delete_sa)).value().protocol == ProtocolId::ike);
  SkOpener new_initiator{keys.sk_ei};
  SkOpener new_responder{keys.sk_er};
  CHECK_FALSE(open_one(new_initiator, v["informational_request"]).payloads.empty());
  CHECK(open_one(new_responder, v["informational_response"]).payloads.empty());
}
