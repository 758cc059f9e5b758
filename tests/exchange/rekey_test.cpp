// CREATE_CHILD_SA: successors of Child SAs and IKE SAs, from either side and from both at once.
#include <catch2/catch.hpp>

#include "common/ike/message.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

End& end_of(SessionPair& pair, bool client) { return client ? pair.client : pair.headend; }

Spi child_of(const End& end) { return end.installed.begin()->first; }

/// Runs with both ends sending an ESP packet every 50 ms, so that SAs see their first packets.
void run_with_traffic(SessionPair& pair, Duration time) {
  const auto until = pair.clock.now() + time;
  while (pair.clock.now() < until) {
    pair.send_esp(pair.client);
    pair.send_esp(pair.headend);
    pair.run_for(50ms);
  }
}

unsigned lost(const SessionPair& pair) { return pair.client.esp_unknown + pair.headend.esp_unknown; }

PairConfig with_pfs(std::string_view proposal) {
  auto config = PairConfig::with_psk();
  config.client.esp_proposals = {ike::parse_esp_proposal(proposal).value()};
  config.headend.esp_proposals = {ike::parse_esp_proposal(proposal).value()};
  return config;
}

}  // namespace

TEST_CASE("a Child SA is rekeyed from either side without a lost packet", "[ike][rfc7296]") {
  const bool by_client = GENERATE(true, false);
  const auto* proposal = GENERATE("aes128gcm16-esn", "aes256gcm16-noesn-x25519", "chacha20poly1305-noesn-ecp256");
  CAPTURE(by_client, proposal);
  SessionPair pair{with_pfs(proposal)};
  REQUIRE(pair.establish());
  run_with_traffic(pair, 1s);
  auto& initiator = end_of(pair, by_client);
  auto& responder = end_of(pair, !by_client);
  const auto old = child_of(initiator);
  const auto old_key = initiator.installed.at(old).inbound_key;

  // HDR, SK {N(REKEY_SA), SA, Ni, [KEi,] TSi, TSr}  -->
  //                        <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr}
  // HDR, SK {D}  -->
  //                        <--  HDR, SK {D}
  initiator.session->rekey_child(old, pair.clock.now());
  pair.flush();
  pair.run_for(21ms);
  CHECK(responder.installed.size() == 2);
  CHECK(responder.sending_on == old);  // until the first packet on the new one
  run_with_traffic(pair, 1s);
  CHECK(responder.sending_on != old);
  CHECK(initiator.installed.size() == 2);  // the old inbound side lingers
  run_with_traffic(pair, 10s);
  CHECK(initiator.installed.size() == 1);
  CHECK(responder.installed.size() == 1);
  CHECK(initiator.installed.count(old) == 0);
  CHECK(initiator.installed.begin()->second.inbound_key != old_key);
  CHECK(pair.disagreement().empty());
  CHECK(lost(pair) == 0);
}

TEST_CASE("without traffic the responder of a rekey switches when the old SA is deleted", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  pair.client.session->rekey_child(child_of(pair.client), pair.clock.now());
  pair.flush();
  pair.run_for(10s);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("both ends rekey the same Child SA at once: one successor remains", "[ike][rfc7296]") {
  const auto seed = GENERATE(range(1, 9));
  const bool traffic = GENERATE(true, false);
  CAPTURE(seed, traffic);
  SessionPair pair{PairConfig::with_psk(), static_cast<std::uint64_t>(seed)};
  REQUIRE(pair.establish());
  // HDR, SK {N(REKEY_SA), SA, Ni1, TSi, TSr}  -->
  //                        <--  HDR, SK {N(REKEY_SA), SA, Ni2, TSi, TSr}
  // HDR, SK {SA, Nr2, TSi, TSr}  -->
  //                        <--  HDR, SK {SA, Nr1, TSi, TSr}
  // RFC 7296 §2.8.1: the initiator of the one with the lowest nonce deletes it; the other's deletes the old one.
  pair.client.session->rekey_child(child_of(pair.client), pair.clock.now());
  pair.headend.session->rekey_child(child_of(pair.headend), pair.clock.now());
  pair.flush();
  if (traffic) {
    run_with_traffic(pair, 10s);
  } else {
    pair.run_for(10s);
  }
  CHECK(pair.client.installed.size() == 1);
  CHECK(pair.disagreement().empty());
  CHECK(lost(pair) == 0);
}

TEST_CASE("a rekey request that arrives after its twin was finished is refused, and all is well", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  // The headend's request is lost at first; the client's rekey completes meanwhile. RFC 7296 §2.8.1, last part.
  bool dropping = true;
  pair.network.filter([&](const Datagram& d) {
    const auto header = ike::parse_header(d.octets);
    const bool request_of_headend = header && !header->response && !header->from_initiator &&
                                    header->exchange == ike::ExchangeType::create_child_sa;
    return !(dropping && request_of_headend);
  });
  pair.headend.session->rekey_child(child_of(pair.headend), pair.clock.now());
  pair.client.session->rekey_child(child_of(pair.client), pair.clock.now());
  pair.flush();
  pair.run_for(300ms);
  dropping = false;
  pair.run_for(20s);
  CHECK(pair.client.installed.size() == 1);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("the IKE SA is rekeyed from either side and keeps its Child SAs", "[ike][rfc7296]") {
  const bool by_client = GENERATE(true, false);
  CAPTURE(by_client);
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  const auto before = pair.client.session->initiator_spi();
  const auto child = child_of(pair.client);
  // HDR, SK {SA, Ni, KEi}  -->
  //                        <--  HDR, SK {SA, Nr, KEr}
  // HDR, SK {D}  -->
  //                        <--  HDR, SK {}
  end_of(pair, by_client).session->rekey_ike(pair.clock.now());
  pair.flush();
  run_with_traffic(pair, 15s);
  CHECK(pair.client.session->initiator_spi() != before);
  CHECK(pair.client.ike_rekeys == 1);
  CHECK(pair.headend.ike_rekeys == 1);
  CHECK(pair.client.ike_spis.size() == 1);
  CHECK(pair.headend.ike_spis.size() == 1);
  CHECK(child_of(pair.client) == child);
  CHECK(pair.disagreement().empty());
  CHECK(lost(pair) == 0);

  SECTION("and again, from the other side, and a Child SA on the new one") {
    end_of(pair, !by_client).session->rekey_ike(pair.clock.now());
    pair.flush();
    pair.run_for(15s);
    pair.headend.session->rekey_child(child_of(pair.headend), pair.clock.now());
    pair.flush();
    pair.run_for(15s);
    CHECK(pair.client.ike_rekeys == 2);
    CHECK(pair.disagreement().empty());
  }
}

TEST_CASE("both ends rekey the IKE SA at once: the one with the lowest nonce goes", "[ike][rfc7296]") {
  const auto seed = GENERATE(range(1, 9));
  CAPTURE(seed);
  SessionPair pair{PairConfig::with_psk(), static_cast<std::uint64_t>(seed)};
  REQUIRE(pair.establish());
  pair.client.session->rekey_ike(pair.clock.now());
  pair.headend.session->rekey_ike(pair.clock.now());
  pair.flush();
  run_with_traffic(pair, 60s);
  CHECK(pair.client.ike_rekeys == 1);
  CHECK(pair.headend.ike_rekeys == 1);
  CHECK(pair.client.ike_spis.size() == 1);
  CHECK(pair.headend.ike_spis.size() == 1);
  CHECK(pair.disagreement().empty());
  CHECK(lost(pair) == 0);
}

TEST_CASE("a Child SA rekey that meets an IKE SA rekey waits", "[ike][rfc7296]") {
  const bool child_by_client = GENERATE(true, false);
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  const auto old = child_of(pair.client);
  // HDR, SK {N(REKEY_SA), …}  -->      <--  HDR, SK {SA(IKE), Ni, KEi}
  // Both answer N(TEMPORARY_FAILURE), RFC 7296 §2.25.2, and try again later.
  auto& child_end = end_of(pair, child_by_client);
  child_end.session->rekey_child(child_of(child_end), pair.clock.now());
  end_of(pair, !child_by_client).session->rekey_ike(pair.clock.now());
  pair.flush();
  pair.run_for(300s);
  CHECK(pair.disagreement().empty());
  CHECK(pair.client.installed.count(old) == 0);
  CHECK(pair.client.ike_rekeys >= 1);
}

TEST_CASE("rekeying falls back to a group that the other end wants", "[ike][rfc7296]") {
  auto config = PairConfig::with_psk();
  config.client.esp_proposals = {ike::parse_esp_proposal("aes128gcm16-noesn-x25519-ecp256").value()};
  config.headend.esp_proposals = {ike::parse_esp_proposal("aes128gcm16-noesn-ecp256").value()};
  SessionPair pair{std::move(config)};
  REQUIRE(pair.establish());
  const auto old = child_of(pair.client);
  // HDR, SK {N(REKEY_SA), SA, Ni, KEi(x25519), TSi, TSr}  -->
  //                        <--  HDR, SK {N(INVALID_KE_PAYLOAD, ecp256)}
  // HDR, SK {N(REKEY_SA), SA, Ni, KEi(ecp256), TSi, TSr}  -->
  pair.client.session->rekey_child(old, pair.clock.now());
  pair.flush();
  pair.run_for(10s);
  CHECK(pair.client.installed.count(old) == 0);
  CHECK(pair.client.installed.begin()->second.suite.find("ecp256") != std::string::npos);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("timers rekey by themselves, over and over", "[ike]") {
  auto config = PairConfig::with_psk();
  for (auto* end : {&config.client, &config.headend}) {
    end->timers.child_rekey = 10min;
    end->timers.child_lifetime = 14min;
    end->timers.ike_rekey = 25min;
    end->timers.ike_lifetime = 35min;
  }
  SessionPair pair{std::move(config), 7};
  REQUIRE(pair.establish());
  run_with_traffic(pair, 2h);
  CHECK(pair.client.installs >= 12);
  CHECK(pair.client.ike_rekeys >= 4);
  CHECK(pair.run_until([&] { return pair.quiet() && pair.disagreement().empty(); }, 60s));
  CHECK(lost(pair) == 0);
  CHECK_FALSE(pair.client.closed);
}

TEST_CASE("byte counters rekey a Child SA, and at the hard limit it is gone at once", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  const auto old = child_of(pair.client);
  SECTION("soft") {
    pair.client.session->handle_child_expiring(old, false, pair.clock.now());
    pair.flush();
    pair.run_for(10s);
    CHECK(pair.client.installed.count(old) == 0);
    CHECK(pair.client.installed.size() == 1);
  }
  SECTION("hard") {
    pair.client.session->handle_child_expiring(old, true, pair.clock.now());
    pair.flush();
    CHECK(pair.client.installed.empty());
    pair.run_for(1s);
    CHECK(pair.headend.installed.empty());
  }
  CHECK(pair.disagreement().empty());
}

TEST_CASE("an IKE SA that is not rekeyed in time is closed", "[ike]") {
  auto config = PairConfig::with_psk();
  config.client.timers.ike_rekey = 24h;
  config.client.timers.ike_lifetime = 1h;
  SessionPair pair{std::move(config)};
  REQUIRE(pair.establish());
  pair.run_for(61min);
  REQUIRE(pair.client.closed);
  CHECK(pair.client.closed->reason == ike::CloseReason::expired);
  REQUIRE(pair.headend.closed);
  CHECK(pair.headend.closed->reason == ike::CloseReason::peer_deleted);
}

TEST_CASE("deleting and rekeying the same Child SA at once ends with both agreeing", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  SECTION("one deletes, the other rekeys") {
    pair.client.session->delete_child(child_of(pair.client), pair.clock.now());
    pair.headend.session->rekey_child(child_of(pair.headend), pair.clock.now());
  }
  SECTION("both delete") {
    pair.client.session->delete_child(child_of(pair.client), pair.clock.now());
    pair.headend.session->delete_child(child_of(pair.headend), pair.clock.now());
  }
  pair.flush();
  pair.run_for(60s);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a session refuses Child SAs beyond its bound", "[ike]") {
  auto config = PairConfig::with_psk();
  config.headend.max_children = 3;
  SessionPair pair{std::move(config)};
  REQUIRE(pair.establish());
  for (int i = 0; i < 5; ++i) pair.client.session->create_child(pair.clock.now());
  pair.flush();
  pair.run_for(10s);
  CHECK(pair.headend.installed.size() == 3);
  CHECK(pair.client.child_failures.size() == 3);
  CHECK(pair.client.child_failures.front() == ike::NotifyType::no_additional_sas);
  CHECK(pair.disagreement().empty());
}
