// Clients that move, and NATs that forget them (RFC 4555, RFC 7296 §2.23).
#include <catch2/catch.hpp>

#include "common/ike/message.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

const AddressPair kMoved{{IpAddress::v4(0x0A000103), 40001}, SessionPair::kHeadendNatT};

void run_with_uplink(SessionPair& pair, Duration time) {
  const auto until = pair.clock.now() + time;
  while (pair.clock.now() < until) {
    pair.send_esp(pair.client);
    pair.run_for(100ms);
  }
}

}  // namespace

TEST_CASE("a client that moves takes its session along", "[ike][rfc4555]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  CHECK(pair.client.established->mobike);
  // HDR, SK {N(UPDATE_SA_ADDRESSES), N(NAT_DETECTION_*), N(COOKIE2)}  -->   from the new address
  //                        <--  HDR, SK {N(NAT_DETECTION_*), N(COOKIE2)}
  //                        <--  HDR, SK {N(COOKIE2)}   does it answer there?
  // HDR, SK {N(COOKIE2)}  -->   only now ESP follows
  pair.client.session->handle_path_change(kMoved, pair.clock.now());
  pair.flush();
  CHECK(pair.client.esp_path == kMoved);
  pair.run_for(41ms);
  CHECK(pair.headend.moves.empty());
  pair.run_for(1s);
  REQUIRE(pair.headend.moves.size() == 1);
  CHECK(pair.headend.moves[0].to == AddressPair{kMoved.remote, kMoved.local});
  CHECK_FALSE(pair.headend.moves[0].rebound);
  CHECK(pair.headend.session->path().remote == kMoved.local);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a client moves while a request is outstanding", "[ike][rfc4555]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  pair.network.filter([](const Datagram& d) { return d.path.local != SessionPair::kClient; });  // the old path is dead
  pair.client.session->rekey_child(pair.client.installed.begin()->first, pair.clock.now());
  pair.flush();
  pair.run_for(500ms);
  pair.client.session->handle_path_change(kMoved, pair.clock.now());
  pair.flush();
  pair.run_for(10s);
  CHECK(pair.headend.session->path().remote == kMoved.local);
  CHECK(pair.client.installs == 2);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a client moves twice before the first update is answered", "[ike][rfc4555]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  const AddressPair again{{IpAddress::v4(0x0A000204), 40002}, SessionPair::kHeadendNatT};
  pair.client.session->handle_path_change(kMoved, pair.clock.now());
  pair.flush();
  pair.run_for(10ms);
  pair.client.session->handle_path_change(again, pair.clock.now());
  pair.flush();
  pair.run_for(20s);
  CHECK(pair.headend.session->path().remote == again.local);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("ESP does not move to an address that does not answer", "[ike][rfc4555]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  // The update reaches the headend, but nothing comes back that way: an address that somebody made up.
  pair.network.filter([](const Datagram& d) { return d.path.remote != kMoved.local; });
  pair.client.session->handle_path_change(kMoved, pair.clock.now());
  pair.flush();
  pair.run_for(2s);
  CHECK(pair.headend.moves.empty());
  // The client returns.
  pair.client.session->handle_path_change({SessionPair::kClient, SessionPair::kHeadendNatT}, pair.clock.now());
  pair.flush();
  pair.run_for(20s);
  CHECK(pair.headend.session->path().remote == SessionPair::kClient);
  CHECK_FALSE(pair.headend.closed);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a NAT that forgets is noticed by the next packet, and followed once it answers", "[ike][rfc7296]") {
  auto config = PairConfig::with_psk();
  const bool mobike = GENERATE(true, false);
  config.client.mobike = mobike;
  SessionPair pair{std::move(config)};
  const auto outside = *IpAddress::parse("198.51.100.7");
  pair.network.add_nat(SessionPair::kClient.address, outside);
  REQUIRE(pair.establish());
  CHECK(pair.client.established->local_behind_nat);
  CHECK(pair.headend.session->path().remote.address == outside);
  run_with_uplink(pair, 3s);
  const auto elsewhere = *IpAddress::parse("198.51.100.99");
  SECTION("another port") { pair.network.rebind(); }
  SECTION("another address") { pair.network.rebind(elsewhere); }
  run_with_uplink(pair, 5s);
  REQUIRE(pair.headend.moves.size() == 1);
  CHECK(pair.headend.moves[0].rebound);
  pair.send_esp(pair.headend);
  const auto before = pair.client.esp_received;
  pair.run_for(1s);
  CHECK(pair.client.esp_received == before + 1);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("rebinding is followed at a bounded rate", "[ike][rfc7296]") {
  SessionPair pair{PairConfig::with_psk()};
  pair.network.add_nat(SessionPair::kClient.address, *IpAddress::parse("198.51.100.7"));
  REQUIRE(pair.establish());
  pair.run_for(5s);
  for (int i = 0; i < 100; ++i) {
    pair.network.rebind();
    pair.send_esp(pair.client);
    pair.run_for(100ms);
  }
  CHECK(pair.headend.moves.size() <= 6);
  run_with_uplink(pair, 5s);
  CHECK_FALSE(pair.headend.closed);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a client never follows packets to another headend address", "[ike][rfc4555]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  const auto path = pair.client.session->path();
  pair.client.session->handle_esp_from({path.local, {IpAddress::v4(0x06060606), 4500}}, pair.clock.now());
  pair.flush();
  pair.run_for(5s);
  CHECK(pair.client.session->path() == path);
  CHECK(pair.client.moves.empty());
}
