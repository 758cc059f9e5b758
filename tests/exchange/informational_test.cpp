// INFORMATIONAL, the windows, and what becomes of messages that are lost, late or repeated.
#include <catch2/catch.hpp>

#include "common/ike/message.h"
#include "common/ike/payload_notify.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

bool is_response(const Datagram& datagram) { return ike::parse_header(datagram.octets).value().response; }

std::size_t sent_by_client(const SessionPair& pair) {
  std::size_t count = 0;
  for (const auto& d : pair.recorded) count += d.path.local.address == SessionPair::kClient.address ? 1U : 0U;
  return count;
}

}  // namespace

TEST_CASE("every message of the set-up may be lost once", "[ike][rfc7296]") {
  const auto victim = GENERATE(0U, 1U, 2U, 3U);
  SessionPair pair{PairConfig::with_psk()};
  unsigned seen = 0;
  pair.network.filter([&](const Datagram&) { return seen++ != victim; });
  CHECK(pair.establish());
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a lost answer is repeated from the cache, octet for octet, and nothing is done twice", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  pair.record = true;
  bool drop = true;
  pair.network.filter([&](const Datagram& d) { return !(is_response(d) && std::exchange(drop, false)); });
  // HDR, SK {N(REKEY_SA), …}  -->
  //                      x <--  HDR, SK {SA, Nr, TSi, TSr}
  // HDR, SK {N(REKEY_SA), …}  -->   the same octets
  //                        <--  HDR, SK {SA, Nr, TSi, TSr}   the same octets
  pair.client.session->rekey_child(pair.client.installed.begin()->first, pair.clock.now());
  pair.flush();
  pair.run_for(10s);
  REQUIRE(pair.recorded.size() >= 4);
  CHECK(pair.recorded[0].octets == pair.recorded[2].octets);
  CHECK(pair.recorded[1].octets == pair.recorded[3].octets);
  CHECK(pair.headend.installs == 2);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("old messages that come again change nothing", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_certificates()};
  pair.record = true;
  REQUIRE(pair.establish());
  pair.client.session->rekey_child(pair.client.installed.begin()->first, pair.clock.now());
  pair.flush();
  pair.run_for(10s);
  const auto before = pair.headend.installs + pair.client.installs;
  const auto recorded = pair.recorded;
  for (const auto& datagram : recorded) pair.network.send(datagram, pair.clock.now());
  pair.run_for(5s);
  CHECK(pair.headend.installs + pair.client.installs == before);
  CHECK_FALSE(pair.client.closed);
  CHECK_FALSE(pair.headend.closed);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("one's own messages reflected are not taken for the peer's", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  pair.record = true;
  REQUIRE(pair.establish());
  pair.client.session->rekey_ike(pair.clock.now());
  pair.flush();
  for (const auto& datagram : pair.recorded) {
    auto& end = datagram.path.local.address == SessionPair::kClient.address ? pair.client : pair.headend;
    end.session->handle_message(datagram.octets, datagram.path, pair.clock.now(), pair.clock.wall());
  }
  pair.flush();
  pair.run_for(15s);
  CHECK(pair.disagreement().empty());
  CHECK_FALSE(pair.client.closed);
}

TEST_CASE("a quiet peer is asked whether it lives, a talkative one is not", "[ike][rfc7296]") {
  auto config = PairConfig::with_psk();
  config.headend.timers.liveness_idle = Duration::zero();
  SessionPair pair{std::move(config)};
  REQUIRE(pair.establish());
  pair.record = true;
  SECTION("silence") {
    // HDR, SK {}  -->
    //                        <--  HDR, SK {}
    pair.run_for(31s);
    CHECK(pair.recorded.size() == 2);
  }
  SECTION("traffic") {
    for (int i = 0; i < 60; ++i) {
      pair.send_esp(pair.headend);
      pair.run_for(1s);
    }
    CHECK(pair.recorded.empty());
  }
  SECTION("no answer, growing waits, and then the session ends") {
    pair.network.conditions().loss = 1;
    pair.run_for(5min);
    REQUIRE(pair.client.closed);
    CHECK(pair.client.closed->reason == ike::CloseReason::timeout);
    CHECK(sent_by_client(pair) == 7);
    CHECK(pair.client.installed.empty());
  }
}

TEST_CASE("close() deletes the IKE SA on both ends", "[ike][rfc7296]") {
  const bool by_client = GENERATE(true, false);
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  auto& closer = by_client ? pair.client : pair.headend;
  auto& other = by_client ? pair.headend : pair.client;
  SECTION("the answer comes") {
    // HDR, SK {D}  -->
    //                        <--  HDR, SK {}
    closer.session->close(pair.clock.now());
    pair.flush();
    pair.run_for(1s);
    REQUIRE(other.closed);
    CHECK(other.closed->reason == ike::CloseReason::peer_deleted);
  }
  SECTION("the answer never comes") {
    pair.network.conditions().loss = 1;
    closer.session->close(pair.clock.now());
    pair.flush();
    pair.run_for(4s);
  }
  SECTION("both close at once") {
    pair.client.session->close(pair.clock.now());
    pair.headend.session->close(pair.clock.now());
    pair.flush();
    pair.run_for(1s);
    REQUIRE(other.closed);
    CHECK(other.closed->reason == ike::CloseReason::requested);
  }
  SECTION("at once, without waiting") {
    closer.session->abandon(pair.clock.now());
    pair.flush();
    REQUIRE(closer.closed);
    pair.run_for(1s);
    CHECK(other.closed);
  }
  REQUIRE(closer.closed);
  CHECK(closer.closed->reason == ike::CloseReason::requested);
  CHECK(closer.installed.empty());
  CHECK(closer.ike_spis.empty());
  CHECK_FALSE(closer.session->next_deadline());
}

TEST_CASE("deleting a Child SA takes both halves and leaves the IKE SA", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  // HDR, SK {D(SPI of ours)}  -->
  //                        <--  HDR, SK {D(SPI of theirs)}
  pair.headend.session->delete_child(pair.headend.installed.begin()->first, pair.clock.now());
  pair.flush();
  pair.run_for(1s);
  CHECK(pair.client.installed.empty());
  CHECK(pair.headend.installed.empty());
  CHECK(pair.disagreement().empty());
}

TEST_CASE("an unprotected INVALID_IKE_SPI makes a session ask, not believe", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  ike::Header header;
  header.initiator_spi = pair.client.session->initiator_spi();
  header.responder_spi = pair.client.session->responder_spi();
  header.exchange = ike::ExchangeType::informational;
  header.response = true;
  ike::ChainBuilder chain;
  ike::add_notify(chain, ike::NotifyType::invalid_ike_spi);
  const auto hint = ike::build_message(header, chain);
  pair.record = true;
  const auto tell = [&] {
    pair.client.session->handle_message(hint, pair.client.session->path(), pair.clock.now(), pair.clock.wall());
    pair.flush();
  };
  SECTION("the peer lives") {
    tell();
    CHECK(pair.recorded.size() == 1);
    pair.run_for(10s);
    CHECK_FALSE(pair.client.closed);
    for (int i = 0; i < 100; ++i) tell();
    pair.run_for(1s);
    CHECK(sent_by_client(pair) <= 4);  // rate-limited
  }
  SECTION("the peer is gone, and that is found out within seconds") {
    pair.network.conditions().loss = 1;
    tell();
    pair.run_for(6s);
    REQUIRE(pair.client.closed);
    CHECK(pair.client.closed->reason == ike::CloseReason::timeout);
  }
}

TEST_CASE("octets that are not authentic change nothing", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  pair.record = true;
  REQUIRE(pair.establish());
  pair.client.session->rekey_child(pair.client.installed.begin()->first, pair.clock.now());
  pair.network.filter([](const Datagram&) { return false; });
  pair.flush();
  const auto request = pair.recorded.back().octets;
  pair.recorded.clear();
  for (std::size_t i = 0; i < request.size(); ++i) {
    auto forged = request;
    forged[i] ^= 0x40U;
    pair.headend.session->handle_message(forged, pair.headend.session->path(), pair.clock.now(), pair.clock.wall());
    pair.flush();
  }
  CHECK(pair.headend.installs == 1);
  CHECK(pair.recorded.empty());
  pair.network.filter({});
  pair.run_for(10s);
  CHECK(pair.headend.installs == 2);
  CHECK(pair.disagreement().empty());
}
