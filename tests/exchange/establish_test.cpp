// IKE_SA_INIT and IKE_AUTH between two sessions: what they agree on, and each way in which they do not.
#include <catch2/catch.hpp>

#include "common/ike/message.h"
#include "common/ike/payload_notify.h"
#include "common/ike/responder_gate.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

std::vector<ike::IkeProposal> ike_proposals(std::string_view text) { return {ike::parse_ike_proposal(text).value()}; }
std::vector<ike::EspProposal> esp_proposals(std::string_view text) { return {ike::parse_esp_proposal(text).value()}; }

Bytes plain_answer(const Bytes& request, ike::NotifyType type, ByteView data = {}) {
  auto header = ike::parse_header(request).value();
  header.response = true;
  header.from_initiator = false;
  ike::ChainBuilder chain;
  ike::add_notify(chain, type, data);
  return ike::build_message(header, chain);
}

}  // namespace

TEST_CASE("two sessions with a pre-shared key agree on a tunnel in two round trips", "[ike][rfc7296]") {
  auto config = PairConfig::with_psk();
  config.client.keylog = true;
  SessionPair pair{std::move(config)};
  pair.record = true;
  // HDR, SAi1, KEi, Ni  -->
  //                        <--  HDR, SAr1, KEr, Nr
  // HDR, SK {IDi, AUTH, CP, SAi2, TSi, TSr}  -->
  //                        <--  HDR, SK {IDr, AUTH, CP, SAr2, TSi, TSr}
  REQUIRE(pair.establish());
  CHECK(pair.recorded.size() == 4);
  CHECK(pair.clock.now() - VirtualClock::kStart == 80ms);
  CHECK(pair.disagreement().empty());
  CHECK(pair.client.established->peer.to_string() == "vpn.example.org");
  CHECK(pair.headend.established->peer.to_string() == "alice");
  CHECK(pair.client.established->network.addresses ==
        std::vector{*IpPrefix::parse("10.99.0.2/32"), *IpPrefix::parse("fd00:99::2/128")});
  CHECK(pair.client.established->network.dns == std::vector{*IpAddress::parse("10.99.0.1")});

  SECTION("after IKE_SA_INIT it speaks to the NAT-T port, since each side claims to be behind a NAT") {
    CHECK(pair.recorded[0].path.remote.port == 500);
    CHECK(pair.recorded[2].path.remote.port == 4500);
    CHECK(pair.client.session->path() == AddressPair{SessionPair::kClient, SessionPair::kHeadendNatT});
    CHECK(pair.headend.session->path() == AddressPair{SessionPair::kHeadendNatT, SessionPair::kClient});
    CHECK(pair.client.established->peer_behind_nat);
    CHECK_FALSE(pair.client.established->local_behind_nat);
  }
  SECTION("the client's selectors are narrowed to its addresses") {
    const auto& child = pair.client.installed.begin()->second;
    CHECK(child.local == ike::TrafficSelectors{packet::from_host(*IpAddress::parse("10.99.0.2")),
                                               packet::from_host(*IpAddress::parse("fd00:99::2"))});
    CHECK(child.remote.size() == 2);
    CHECK(child.esn);
  }
  SECTION("the key log names the IKE SA; the end that was not asked keeps silent") {
    REQUIRE(pair.client.keylog.size() == 1);
    CHECK(pair.client.keylog[0].initiator == pair.headend.session->initiator_spi());
    CHECK(pair.headend.keylog.empty());
  }
}

TEST_CASE("certificates of each key type prove both ends", "[ike][rfc7427]") {
  const auto type = GENERATE(crypto::KeyType::ecdsa_p256, crypto::KeyType::ecdsa_p384, crypto::KeyType::ed25519,
                             crypto::KeyType::rsa);
  CAPTURE(crypto::to_string(type));
  SessionPair pair{PairConfig::with_certificates(type)};
  pair.record = true;
  REQUIRE(pair.establish());
  CHECK(pair.headend.asked->certificate_sha256.size() == 32);
  CHECK(pair.disagreement().empty());
  // RFC 7383: no datagram needs more than 1280 octets of IP.
  for (const auto& datagram : pair.recorded) CHECK(datagram.octets.size() <= 1280 - 20 - 8 - 4);
}

TEST_CASE("a peer without fragmentation gets whole messages", "[ike][rfc7383]") {
  auto config = PairConfig::with_certificates(crypto::KeyType::rsa);
  config.headend.fragmentation = false;
  SessionPair pair{std::move(config)};
  pair.record = true;
  REQUIRE(pair.establish());
  CHECK_FALSE(pair.client.established->fragmentation);
  CHECK(pair.recorded.size() == 4);
}

TEST_CASE("each end proves itself in its own way", "[ike][rfc7296]") {
  auto config = PairConfig::with_certificates();
  auto psk = PairConfig::with_psk();
  config.client.credentials = psk.client.credentials;
  config.headend.peer_keys = std::move(psk.headend.peer_keys);
  SECTION("the headend by certificate, the client by pre-shared key") { config.headend.answer_in_kind = false; }
  SECTION("a headend with a certificate answers a key in kind") { config.client.accept_certificates = false; }
  SessionPair pair{std::move(config)};
  CHECK(pair.establish());
}

TEST_CASE("a wrong pre-shared key is told apart on neither end and ends both", "[ike][rfc7296]") {
  auto config = PairConfig::with_psk();
  SECTION("wrong key") { config.headend.peer_keys[0].key = Secret{as_bytes("another")}; }
  SECTION("unknown identity") { config.client.local_identity = crypto::IkeIdentity::parse("mallory").value(); }
  SECTION("no keys are accepted") { config.headend.accept_pre_shared_keys = false; }
  SessionPair pair{std::move(config)};
  // HDR, SK {IDi, AUTH, …}  -->
  //                        <--  HDR, SK {N(AUTHENTICATION_FAILED)}
  REQUIRE_FALSE(pair.establish());
  CHECK(pair.client.closed->reason == ike::CloseReason::authentication_failed);
  CHECK(pair.client.closed->detail == "the peer answered AUTHENTICATION_FAILED");
  CHECK(pair.headend.closed->reason == ike::CloseReason::authentication_failed);
  CHECK(pair.client.installed.empty());
  CHECK(pair.client.ike_spis.empty());
}

TEST_CASE("a client that distrusts the headend says so and installs nothing", "[ike][rfc7296]") {
  auto config = PairConfig::with_certificates();
  SECTION("certificate of another authority") { config.client.trust = PairConfig::with_certificates().client.trust; }
  SECTION("another name than expected") {
    config.client.remote_identity = crypto::IkeIdentity::parse("other.example.org").value();
  }
  SessionPair pair{std::move(config)};
  pair.start();
  // HDR, SK {N(AUTHENTICATION_FAILED)}  -->   as a request, RFC 7296 §2.21.2
  pair.run_until([&] { return pair.client.closed && pair.headend.closed; }, 20s);
  REQUIRE(pair.client.closed);
  REQUIRE(pair.headend.closed);
  CHECK(pair.client.closed->reason == ike::CloseReason::authentication_failed);
  CHECK(pair.headend.closed->reason == ike::CloseReason::authentication_failed);
  CHECK(pair.client.installs == 0);
  CHECK(pair.headend.installed.empty());
}

TEST_CASE("the headend's shell has the last word", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  SECTION("a refused user gets AUTHENTICATION_FAILED") {
    pair.authorize = [](const auto&) { return ike::Authorization{}; };
    REQUIRE_FALSE(pair.establish());
    CHECK(pair.client.closed->reason == ike::CloseReason::authentication_failed);
  }
  SECTION("a shell that never answers refuses in the end") {
    pair.authorize = [](const auto&) { return std::nullopt; };
    REQUIRE_FALSE(pair.establish());
    CHECK(pair.headend.closed->reason == ike::CloseReason::authentication_failed);
    CHECK(pair.client.closed->reason == ike::CloseReason::authentication_failed);
  }
  SECTION("without an address the IKE SA lives and the Child SA does not") {
    pair.authorize = [](const auto&) {
      ike::Authorization answer;
      answer.granted = answer.address_failure = true;
      return answer;
    };
    pair.start();
    pair.run_for(1s);
    CHECK(pair.both_established());
    CHECK(pair.client.child_failures == std::vector{ike::NotifyType::internal_address_failure});
    CHECK(pair.headend.child_failures == std::vector{ike::NotifyType::internal_address_failure});
    CHECK(pair.client.installs == 0);
    CHECK(pair.disagreement().empty());
  }
  SECTION("an answer that comes late is still sent, and repeated requests do not hurry it") {
    pair.authorize = [](const auto&) { return std::nullopt; };
    pair.start();
    pair.run_for(4s);
    CHECK(pair.headend.session->state() == ike::SessionState::authorizing);
    ike::Authorization answer;
    answer.granted = true;
    answer.network.addresses = {*IpPrefix::parse("10.99.0.9/32")};
    pair.headend.session->handle_authorization(std::move(answer), pair.clock.now());
    pair.flush();
    pair.run_for(1s);
    CHECK(pair.both_established());
    CHECK(pair.disagreement().empty());
  }
}

TEST_CASE("a Child SA that cannot be agreed on leaves the IKE SA up", "[ike][rfc7296]") {
  auto config = PairConfig::with_psk();
  auto expected = ike::NotifyType::no_proposal_chosen;
  SECTION("no common ESP suite") {
    config.client.esp_proposals = esp_proposals("aes128gcm16-noesn");
    config.headend.esp_proposals = esp_proposals("aes256gcm16-noesn");
  }
  SECTION("no common selectors") {
    config.client.remote_selectors = {packet::from_prefix(*IpPrefix::parse("192.168.0.0/16"))};
    config.headend.local_selectors = {packet::from_prefix(*IpPrefix::parse("10.0.0.0/8"))};
    expected = ike::NotifyType::ts_unacceptable;
  }
  SessionPair pair{std::move(config)};
  pair.start();
  pair.run_for(1s);
  CHECK(pair.both_established());
  CHECK(pair.client.child_failures == std::vector{expected});
  CHECK(pair.disagreement().empty());
}

TEST_CASE("no common suite for the IKE SA is reported, though not before waiting for a better answer", "[ike]") {
  auto config = PairConfig::with_psk();
  config.client.ike_proposals = ike_proposals("aes128gcm16-prfsha256-x25519");
  config.headend.ike_proposals = ike_proposals("aes256gcm16-prfsha384-ecp384");
  SessionPair pair{std::move(config)};
  // HDR, SAi1, KEi, Ni  -->
  //                        <--  HDR, N(NO_PROPOSAL_CHOSEN)   unprotected: RFC 7296 §2.21.1
  pair.start();
  pair.run_for(100ms);
  CHECK_FALSE(pair.client.closed);
  pair.run_for(20s);
  REQUIRE(pair.client.closed);
  CHECK(pair.client.closed->reason == ike::CloseReason::no_proposal_chosen);
}

TEST_CASE("a forged refusal does not keep a client from connecting", "[ike][rfc7296]") {
  const auto type = GENERATE(ike::NotifyType::no_proposal_chosen, ike::NotifyType::invalid_syntax,
                             ike::NotifyType::authentication_failed);
  SessionPair pair{PairConfig::with_psk()};
  pair.record = true;
  pair.start();
  pair.client.session->handle_message(plain_answer(pair.recorded[0].octets, type),
                                      {SessionPair::kClient, SessionPair::kHeadendIke}, pair.clock.now(),
                                      pair.clock.wall());
  CHECK(pair.run_until([&] { return pair.both_established(); }, 5s));
}

TEST_CASE("INVALID_KE_PAYLOAD is followed to a group that was offered, and to no other", "[ike][rfc7296]") {
  auto config = PairConfig::with_psk();
  config.client.ike_proposals = ike_proposals("aes128gcm16-prfsha256-x25519-ecp256");
  config.headend.ike_proposals = ike_proposals("aes128gcm16-prfsha256-ecp256");
  SessionPair pair{std::move(config)};
  pair.record = true;
  pair.start();
  SECTION("the headend wants ecp256") {
    // The shell makes a session for the first request; it ends with INVALID_KE_PAYLOAD, and the next request is new.
    // HDR, SAi1, KEi(x25519), Ni  -->
    //                        <--  HDR, N(INVALID_KE_PAYLOAD, ecp256)
    pair.run_until([&] { return pair.headend.closed.has_value(); }, 1s);
    pair.headend = End{};
    // HDR, SAi1, KEi(ecp256), Ni  -->
    CHECK(pair.run_until([&] { return pair.both_established(); }, 5s));
    CHECK(pair.client.established->suite.find("ecp256") != std::string::npos);
  }
  SECTION("a forger wants modp2048, which was not offered") {
    const std::array<std::uint8_t, 2> modp2048{0, 14};
    const auto sent = pair.recorded.size();
    pair.client.session->handle_message(
        plain_answer(pair.recorded[0].octets, ike::NotifyType::invalid_ke_payload, modp2048),
        {SessionPair::kClient, SessionPair::kHeadendIke}, pair.clock.now(), pair.clock.wall());
    pair.flush();
    CHECK(pair.recorded.size() == sent);
  }
}

TEST_CASE("a crowded headend asks for a cookie, and the client returns it", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  pair.record = true;
  ike::GateLimits limits;
  limits.answer_burst = 0;  // others used it up: cookies have an allowance of their own
  ike::ResponderGate gate{limits, pair.random, pair.clock.now()};
  const AddressPair at_headend{SessionPair::kHeadendIke, SessionPair::kClient};
  const ike::GateLoad crowd{500, 0};
  pair.network.filter([](const Datagram&) { return false; });
  pair.start();
  const auto first = pair.recorded.back().octets;
  // HDR(A,0), SAi1, KEi, Ni  -->
  //                        <--  HDR(A,0), N(COOKIE)
  auto decision = gate.decide(first, at_headend, crowd, pair.clock.now());
  REQUIRE(decision.verdict == ike::GateVerdict::reply);
  pair.network.filter({});
  pair.client.session->handle_message(decision.reply, {SessionPair::kClient, SessionPair::kHeadendIke},
                                      pair.clock.now(), pair.clock.wall());
  pair.flush();
  // HDR(A,0), N(COOKIE), SAi1, KEi, Ni  -->
  const auto second = pair.recorded.back().octets;
  REQUIRE(second.size() > first.size());
  CHECK(gate.decide(second, at_headend, crowd, pair.clock.now()).verdict == ike::GateVerdict::create);
  // From elsewhere the same cookie is worth nothing.
  const AddressPair elsewhere{SessionPair::kHeadendIke, {IpAddress::v4(0x01020304), 1}};
  CHECK(gate.decide(second, elsewhere, crowd, pair.clock.now()).verdict == ike::GateVerdict::reply);
  CHECK(pair.run_until([&] { return pair.both_established(); }, 5s));
}

TEST_CASE("the gate answers strangers sparingly and keeps nothing", "[ike][rfc7296]") {
  SeededRandom random{1};
  VirtualClock clock;
  ike::GateLimits limits;
  limits.answers_per_second = 1;
  limits.answer_burst = 2;
  limits.lost_answers_per_second = 1;
  limits.lost_answer_burst = 2;
  ike::ResponderGate gate{limits, random, clock.now()};
  const AddressPair path{SessionPair::kHeadendNatT, SessionPair::kClient};
  ike::Header header;
  header.initiator_spi = IkeSpi{1};
  header.responder_spi = IkeSpi{2};
  header.exchange = ike::ExchangeType::informational;
  header.from_initiator = true;
  ike::ChainBuilder sealed;
  sealed.add(ike::PayloadType::encrypted, Bytes(8 + 1 + 16));  // as short as a message of an SA can be
  const auto stranger = ike::build_message(header, sealed);
  SECTION("ESP for an unknown SPI is answered by nothing longer than itself") {
    CHECK_FALSE(gate.unknown_esp(Spi{0x4001}, 43, clock.now()));
    const auto hint = gate.unknown_esp(Spi{0x4001}, 44, clock.now());
    REQUIRE(hint);
    CHECK(hint->size() + 4 == 44);  // the non-ESP marker goes in front
  }
  SECTION("an unknown SPI gets INVALID_IKE_SPI, as long as the budget lasts") {
    const auto decision = gate.decide(stranger, path, {}, clock.now());
    REQUIRE(decision.verdict == ike::GateVerdict::reply);
    const auto answer = ike::parse_message(decision.reply).value();
    CHECK(ike::find_notify(answer.payloads, ike::NotifyType::invalid_ike_spi));
    CHECK(answer.header.response);
    CHECK(gate.decide(stranger, path, {}, clock.now()).verdict == ike::GateVerdict::reply);
    CHECK(gate.decide(stranger, path, {}, clock.now()).verdict == ike::GateVerdict::drop);
  }
  SECTION("nothing longer than what asked for it is sent") {
    auto octets = ike::build_message(header, ike::ChainBuilder{});
    CHECK(gate.decide(octets, path, {}, clock.now()).verdict == ike::GateVerdict::drop);
    octets[17] = 0x30;
    CHECK(gate.decide(octets, path, {}, clock.now()).verdict == ike::GateVerdict::drop);
  }
  SECTION("responses are never answered") {
    header.response = true;
    CHECK(gate.decide(ike::build_message(header, ike::ChainBuilder{}), path, {}, clock.now()).verdict ==
          ike::GateVerdict::drop);
  }
  SECTION("a higher version gets INVALID_MAJOR_VERSION, a lower one nothing") {
    auto octets = stranger;
    octets[17] = 0x30;
    const auto decision = gate.decide(octets, path, {}, clock.now());
    REQUIRE(decision.verdict == ike::GateVerdict::reply);
    CHECK(
        ike::find_notify(ike::parse_message(decision.reply).value().payloads, ike::NotifyType::invalid_major_version));
    octets[17] = 0x10;
    CHECK(gate.decide(octets, path, {}, clock.now()).verdict == ike::GateVerdict::drop);
  }
}

TEST_CASE("a client may ask for no Child SA, if the headend knows RFC 6023", "[ike][rfc6023]") {
  auto config = PairConfig::with_psk();
  config.client.childless = true;
  SessionPair pair{std::move(config)};
  pair.start();
  pair.run_for(1s);
  REQUIRE(pair.both_established());
  CHECK(pair.client.installs == 0);
  CHECK(pair.disagreement().empty());
  // HDR, SK {SA, Ni, TSi, TSr}  -->   CREATE_CHILD_SA, later
  pair.client.session->create_child(pair.clock.now());
  pair.flush();
  pair.run_for(1s);
  CHECK(pair.client.installs == 1);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("nobody answering is a time-out, and a half-open peer is forgotten", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  SECTION("no headend") {
    pair.network.conditions().loss = 1;
    pair.start();
    pair.run_for(60s);
    REQUIRE(pair.client.closed);
    CHECK(pair.client.closed->reason == ike::CloseReason::timeout);
    CHECK(pair.client.ike_spis.empty());
  }
  SECTION("the client vanishes after IKE_SA_INIT") {
    pair.start();
    pair.run_until([&] { return pair.headend.session != nullptr; }, 1s);
    pair.network.drop_all();
    pair.network.conditions().loss = 1;
    pair.run_for(40s);
    REQUIRE(pair.headend.closed);
    CHECK(pair.headend.closed->reason == ike::CloseReason::expired);
  }
}
