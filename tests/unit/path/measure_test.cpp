#include <catch2/catch.hpp>

#include "common/path/follower.h"
#include "common/path/history.h"
#include "common/path/measure.h"

using namespace switchback;
using namespace switchback::path;
using namespace std::chrono_literals;

namespace {
constexpr Instant kT0{std::chrono::hours{1}};
}

TEST_CASE("the first sample sets srtt and half of it as variation, later ones are smoothed", "[path][rfc6298]") {
  RttEstimator rtt;
  CHECK(rtt.patience() == 1s);
  rtt.sample(100ms);
  CHECK(rtt.srtt() == Duration{100ms});
  CHECK(rtt.variation() == 50ms);
  CHECK(rtt.patience() == 300ms);
  rtt.sample(180ms);
  CHECK(rtt.srtt() == Duration{110ms});  // 7/8 * 100 + 1/8 * 180
  CHECK(rtt.variation() == 57500us);     // 3/4 * 50 + 1/4 * 80, with the old srtt
  CHECK(rtt.minimum() == 100ms);
  rtt.sample(-1ms);
  CHECK(rtt.srtt() == Duration{110ms});
}

TEST_CASE("loss is what was sent and not received within the window", "[path]") {
  LossMeter meter;
  CHECK_FALSE(meter.ratio().has_value());
  meter.totals(1000, 1000, kT0);
  CHECK_FALSE(meter.ratio().has_value());
  meter.totals(1100, 1090, kT0 + 1s);
  CHECK(meter.sent() == 100);
  CHECK(*meter.ratio() == Approx(0.1));
  for (int i = 2; i <= 8; ++i) {
    meter.totals(1000 + 100 * static_cast<std::uint64_t>(i), 990 + 100 * static_cast<std::uint64_t>(i), kT0 + i * 1s);
  }
  CHECK(*meter.ratio() == Approx(0));  // the loss is older than the window
  CHECK(meter.sent() >= 500);
}

TEST_CASE("packets that overtake the count are no negative loss, and totals that fall begin anew", "[path]") {
  LossMeter meter;
  meter.totals(10, 10, kT0);
  meter.totals(20, 25, kT0 + 1s);
  CHECK(meter.lost() == 0);
  meter.totals(5, 5, kT0 + 2s);
  CHECK_FALSE(meter.ratio().has_value());
}

TEST_CASE("many reports within a short time neither overflow nor shorten the window", "[path]") {
  LossMeter meter;
  for (std::uint64_t i = 0; i <= 10'000; ++i) meter.totals(i * 2, i, kT0 + i * 1ms);
  CHECK(*meter.ratio() == Approx(0.5));
  CHECK(meter.sent() > 8'000);
  CHECK(meter.sent() < 11'000);
}

TEST_CASE("goodput is the slope of the last second", "[path]") {
  GoodputMeter meter;
  CHECK(meter.octets_per_second() == 0);
  for (std::uint64_t i = 0; i <= 30; ++i) meter.total(i * 1'000, kT0 + i * 100ms);
  CHECK(meter.octets_per_second() == Approx(10'000));
  for (std::uint64_t i = 31; i <= 60; ++i) meter.total(30'000, kT0 + i * 100ms);
  CHECK(meter.octets_per_second() == 0);
}

TEST_CASE("history keeps the last good candidate of 64 networks and survives its file", "[path]") {
  History history;
  history.worked(NetworkId{0}, {TransportKind::tls, IpFamily::v4});
  CHECK(history.size() == 0);
  for (std::uint64_t i = 1; i <= 70; ++i) history.worked(NetworkId{i}, {TransportKind::ctcp, IpFamily::v6});
  history.worked(NetworkId{7}, {TransportKind::udp, IpFamily::v4});
  CHECK(history.size() == History::kMaxNetworks);
  CHECK_FALSE(history.last_good(NetworkId{6}).has_value());
  CHECK(history.last_good(NetworkId{7}) == Candidate{TransportKind::udp, IpFamily::v4});
  const auto again = History::parse(history.render());
  CHECK(again.render() == history.render());
  CHECK(again.size() == History::kMaxNetworks);
}

TEST_CASE("lines of a damaged history are passed over", "[path]") {
  const auto history = History::parse(
      "0000000000000001 udp v4\n\n1 udp v4\n000000000000000g udp v4\n0000000000000002 carrier-pigeon v4\n"
      "0000000000000003 tls v5\n0000000000000004 tls v6 more\n-000000000000005 tls v6\n0000000000000006 tls v6");
  CHECK(history.size() == 2);
  CHECK(history.last_good(NetworkId{1}) == Candidate{TransportKind::udp, IpFamily::v4});
  CHECK(history.last_good(NetworkId{6}) == Candidate{TransportKind::tls, IpFamily::v6});
}

TEST_CASE("a follower holds to the newest decision, in whatever order claims come", "[path]") {
  const PathId a{1}, b{2};
  Follower follower;
  CHECK(follower.handle_claim(a, {1, Role::in_use}));
  CHECK_FALSE(follower.handle_claim(a, {1, Role::in_use}));
  CHECK(follower.handle_claim(b, {2, Role::twin}));  // the twin's claim may come first
  CHECK(follower.in_use() == a);
  CHECK(follower.twin() == b);
  CHECK_FALSE(follower.handle_claim(a, {2, Role::in_use}));
  CHECK(follower.handle_claim(b, {3, Role::in_use}));
  CHECK(follower.in_use() == b);
  CHECK_FALSE(follower.twin().has_value());
  CHECK_FALSE(follower.handle_claim(a, {2, Role::in_use}));  // late
  CHECK(follower.in_use() == b);
  follower.handle_closed(a);
  CHECK(follower.in_use() == b);
  follower.handle_closed(b);
  CHECK_FALSE(follower.in_use().has_value());
  CHECK(follower.decision() == 3);
}
