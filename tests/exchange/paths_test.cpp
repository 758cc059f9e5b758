// Several paths: waiting before IKE_AUTH, and moving a session from one transport to another.
#include <catch2/catch.hpp>

#include "common/ike/fragment.h"
#include "common/ike/message.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

constexpr std::uint8_t kUdp = 0, kCtcp = 2;
const Endpoint kHeadendStream{IpAddress::v4(0xC0000201), 443};
const AddressPair kStream{{IpAddress::v4(0x0A000002), 50000}, kHeadendStream, kCtcp};

AddressPair seen_from_headend(const AddressPair& path) { return {path.remote, path.local, path.transport}; }

PairConfig waiting() {
  auto config = PairConfig::with_psk();
  config.client.wait_before_auth = true;
  return config;
}

}  // namespace

TEST_CASE("a client that waits says what IKE_SA_INIT told, and asks nothing until it is told to go on", "[ike]") {
  SessionPair pair{waiting()};
  pair.start();
  pair.run_for(10s);
  REQUIRE(pair.client.init_answered);
  CHECK(pair.client.session->state() == ike::SessionState::waiting);
  CHECK(pair.client.init_answered->path == AddressPair{SessionPair::kClient, SessionPair::kHeadendNatT});
  CHECK_FALSE(pair.client.init_answered->local_behind_nat);
  CHECK_FALSE(pair.headend.asked);
  CHECK(pair.quiet());

  pair.client.session->handle_proceed(pair.clock.now(), pair.clock.wall());
  pair.flush();
  REQUIRE(pair.run_until([&] { return pair.both_established(); }, 1s));
  pair.client.session->handle_proceed(pair.clock.now(), pair.clock.wall());  // a second time means nothing
  pair.flush();
  pair.run_for(1s);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a waiting client knows that a NAT stands before it", "[ike][rfc7296-2.23]") {
  SessionPair pair{waiting()};
  pair.network.add_nat(SessionPair::kClient.address, IpAddress::v4(0xC6336401));
  pair.start();
  pair.run_for(1s);
  REQUIRE(pair.client.init_answered);
  CHECK(pair.client.init_answered->local_behind_nat);
}

TEST_CASE("waiting has an end, and costs the peer nothing", "[ike]") {
  SessionPair pair{waiting()};
  SECTION("nobody says go") {
    pair.start();
    pair.run_for(31s);
    REQUIRE(pair.client.closed);
    CHECK(pair.client.closed->reason == ike::CloseReason::expired);
    CHECK(pair.both_closed());
  }
  SECTION("another path was chosen") {
    pair.record = true;
    pair.start();
    pair.run_for(1s);
    const auto sent = pair.recorded.size();
    pair.client.session->abandon(pair.clock.now());
    pair.flush();
    REQUIRE(pair.client.closed);
    CHECK(pair.recorded.size() == sent);
  }
  CHECK(pair.client.ike_spis.empty());
}

TEST_CASE("a waiting client may go on by another path than it began on", "[ike]") {
  SessionPair pair{waiting()};
  pair.start();
  pair.run_for(1s);
  pair.client.session->handle_path_change(kStream, pair.clock.now());
  pair.client.session->handle_proceed(pair.clock.now(), pair.clock.wall());
  pair.flush();
  REQUIRE(pair.run_until([&] { return pair.both_established(); }, 1s));
  CHECK(pair.headend.session->path() == seen_from_headend(kStream));
  CHECK(pair.headend.asked->path.transport == kCtcp);
}

TEST_CASE("on a stream nothing floats to another port", "[ike][rfc9329]") {
  auto config = PairConfig::with_psk();
  config.client.nat_t_port = 0;
  SessionPair pair{std::move(config)};
  pair.network.add_nat(SessionPair::kClient.address, IpAddress::v4(0xC6336401));
  pair.record = true;
  pair.client.session->start(kStream, pair.clock.now(), pair.clock.wall());
  pair.flush();
  REQUIRE(pair.run_until([&] { return pair.both_established(); }, 5s));
  pair.run_for(60s);  // liveness checks among others
  CHECK(pair.client.established->local_behind_nat);
  CHECK(pair.client.session->path() == kStream);
  CHECK(pair.client.esp_path == kStream);
  CHECK(pair.headend.session->path().transport == kCtcp);
  for (const auto& datagram : pair.recorded) {
    CHECK(datagram.path.transport == kCtcp);
    CHECK((datagram.path.remote == kHeadendStream || datagram.path.local == kHeadendStream));
  }
  CHECK(pair.disagreement().empty());
}

TEST_CASE("a session moves between transports, and back", "[ike][rfc4555]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  const auto first = pair.client.session->path();
  for (const auto& path : {kStream, first}) {
    pair.client.session->handle_path_change(path, pair.clock.now());
    pair.flush();
    pair.run_for(1s);
    CHECK(pair.headend.session->path() == seen_from_headend(path));
    REQUIRE_FALSE(pair.headend.moves.empty());
    CHECK(pair.headend.moves.back().to == seen_from_headend(path));
    CHECK_FALSE(pair.headend.moves.back().rebound);
  }
  CHECK(pair.headend.moves.size() == 2);
  CHECK(pair.disagreement().empty());
}

TEST_CASE("what is outstanding goes out on the new transport at once", "[ike][rfc4555]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  SECTION("the old one is dead") {
    pair.network.filter([](const Datagram& d) { return d.path.transport != kUdp; });
    pair.client.session->rekey_child(pair.client.installed.begin()->first, pair.clock.now());
    pair.flush();
    pair.run_for(100ms);
  }
  SECTION("the answer is on its way by the old one") {
    pair.client.session->rekey_child(pair.client.installed.begin()->first, pair.clock.now());
    pair.flush();
    pair.run_for(25ms);  // the request has arrived, the answer has not
  }
  pair.record = true;
  const auto before = pair.clock.now();
  pair.client.session->handle_path_change(kStream, before);
  pair.flush();
  REQUIRE_FALSE(pair.recorded.empty());
  CHECK(pair.recorded.front().path == kStream);
  CHECK(pair.recorded.front().octets.at(18) == static_cast<std::uint8_t>(ike::ExchangeType::create_child_sa));
  pair.run_for(2s);
  CHECK(pair.client.installs == 2);
  CHECK(pair.headend.installs == 2);
  CHECK(pair.headend.session->path() == seen_from_headend(kStream));
  CHECK(pair.disagreement().empty());
}

TEST_CASE("IKE_AUTH that goes out again on another path ends with both ends on that path", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  pair.start();
  REQUIRE(pair.run_until([&] { return pair.client.session->state() == ike::SessionState::auth_sent; }, 1s));
  SECTION("the first copy is lost") { pair.network.drop_all(); }
  SECTION("the first copy arrives, its answer does not") {
    pair.network.filter([](const Datagram& d) { return d.path.transport != kUdp || d.path.remote.port == 4500; });
  }
  SECTION("both copies arrive") {}
  pair.client.session->handle_path_change(kStream, pair.clock.now());
  pair.flush();
  REQUIRE(pair.run_until([&] { return pair.both_established(); }, 5s));
  pair.run_for(2s);
  CHECK(pair.headend.session->path() == seen_from_headend(kStream));
  CHECK(pair.disagreement().empty());
}

TEST_CASE("requests are answered by the path that they came by", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  pair.run_for(1s);
  pair.record = true;
  pair.network.filter([](const Datagram&) { return false; });
  pair.client.session->handle_hint(pair.clock.now());
  pair.flush();
  REQUIRE(pair.recorded.size() == 1);
  const auto request = pair.recorded.front().octets;
  for (const auto& path : {kStream, AddressPair{SessionPair::kClient, SessionPair::kHeadendNatT}, kStream}) {
    const auto sent = pair.recorded.size();
    pair.headend.session->handle_message(request, seen_from_headend(path), pair.clock.now(), pair.clock.wall());
    pair.flush();
    REQUIRE(pair.recorded.size() == sent + 1);
    CHECK(pair.recorded.back().path == seen_from_headend(path));
  }
}

TEST_CASE("packets on paths beside the one in use lead the headend nowhere", "[ike][rfc7296-2.23]") {
  SessionPair pair{PairConfig::with_psk()};  // which pretends to be behind a NAT: rebinding is followed
  REQUIRE(pair.establish());
  pair.run_for(1s);
  const auto path = pair.headend.session->path();
  auto elsewhere = path;
  SECTION("another transport") { elsewhere = seen_from_headend(kStream); }
  SECTION("another port of the headend") { elsewhere.local.port = 4501; }
  SECTION("the other family") {
    elsewhere = {{*IpAddress::parse("2001:db8::1"), 4500}, {*IpAddress::parse("2001:db8::2"), 40000}};
  }
  pair.headend.session->handle_esp_from(elsewhere, pair.clock.now());
  pair.flush();
  CHECK(pair.network.idle());
  pair.run_for(5s);
  CHECK(pair.headend.session->path() == path);
  CHECK(pair.headend.moves.empty());
}

TEST_CASE("a stream that was connected anew is followed, once it answers", "[ike][rfc9329]") {
  auto config = PairConfig::with_psk();
  config.client.nat_t_port = 0;
  config.client.force_udp_encapsulation = false;
  SessionPair pair{std::move(config)};
  pair.client.session->start(kStream, pair.clock.now(), pair.clock.wall());
  pair.flush();
  REQUIRE(pair.run_until([&] { return pair.both_established(); }, 5s));
  CHECK_FALSE(pair.headend.established->peer_behind_nat);
  auto again = kStream;
  again.local.port = 50001;
  pair.headend.session->handle_esp_from(seen_from_headend(again), pair.clock.now());
  pair.flush();
  pair.run_for(2s);
  CHECK(pair.headend.session->path() == seen_from_headend(again));
}

TEST_CASE("a client that is back before the headend has checked where it went is not followed there", "[ike]") {
  SessionPair pair{PairConfig::with_psk()};
  REQUIRE(pair.establish());
  pair.run_for(1s);
  const auto home = pair.client.session->path();
  for (const auto wait : {0ms, 5ms, 21ms, 30ms, 41ms, 50ms, 61ms}) {
    pair.client.session->handle_path_change(kStream, pair.clock.now());
    pair.flush();
    pair.run_for(wait);
    pair.client.session->handle_path_change(home, pair.clock.now());
    pair.flush();
    pair.run_for(10s);
    INFO(wait.count());
    CHECK(pair.client.session->path() == home);
    CHECK(pair.headend.session->path() == seen_from_headend(home));
    CHECK_FALSE(pair.headend.closed);
  }
}

TEST_CASE("what a stranger may have reassembled is bounded closer than what a proven peer may", "[ike][rfc7383]") {
  const auto put_together = [](std::size_t limit, std::size_t octets) {
    ike::Reassembler reassembler;
    reassembler.limit(limit);
    ike::Header header;
    header.message_id = MessageId{1};
    const Bytes part(1024);
    const auto total = static_cast<std::uint16_t>(octets / part.size());
    bool complete = false;
    std::size_t most = 0;
    for (std::uint16_t number = 1; number <= total; ++number) {
      complete = reassembler.add(header, {number, total}, ike::PayloadType::notify, part).has_value();
      most = std::max(most, reassembler.octets());
    }
    CHECK(most <= limit);
    return complete;
  };
  CHECK(put_together(ike::kMaxUnprovenOctets, 31 * 1024));
  CHECK_FALSE(put_together(ike::kMaxUnprovenOctets, 33 * 1024));
  CHECK(put_together(ike::kMaxMessageOctets, 60 * 1024));
}

TEST_CASE("a long IKE_AUTH of a stranger does not make the headend hold more than 32 KiB", "[ike][rfc7383]") {
  for (const std::size_t octets : {20'000U, 40'000U}) {
    auto config = PairConfig::with_psk();
    config.client.auth_notifies.push_back({42780, Bytes(octets)});
    SessionPair pair{std::move(config)};
    CHECK(pair.establish(40s) == (octets < ike::kMaxUnprovenOctets));
  }
}
