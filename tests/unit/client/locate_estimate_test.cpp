#include "client/locate_estimate.h"

#include <catch2/catch.hpp>

#include "tests/unit/client/locate_world.h"

using namespace switchback;
using namespace switchback::client::locate;
using namespace switchback::testing;
using namespace std::chrono_literals;

namespace {

SimWay plain(std::size_t routers) {
  SimWay way;
  way.routers.resize(routers);
  way.out.assign(routers + 1, 0);
  way.back.assign(routers + 1, 0);
  return way;
}

/// The link from the i-th router (0: the sender) to the next.
Stretch link(std::size_t i) { return {i, i + 1}; }

bool blames(const Findings& findings, const Stretch& where) {
  return findings.lossy && findings.places.size() == 1 && findings.places[0].where == where &&
         findings.places[0].certainty != Certainty::unknown;
}
bool within(const Stretch& inner, const Stretch& outer) { return outer.from <= inner.from && inner.to <= outer.to; }

}  // namespace

TEST_CASE("a way without loss has none named, only its bound", "[locate]") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    const auto seen = simulate(plain(4), 45, seed);
    const auto findings = find_loss(seen.out, seen.back);
    CHECK_FALSE(findings.lossy);
    CHECK(findings.places.empty());
    CHECK(findings.interval.low == 0);
    CHECK(findings.interval.high < 0.001);
    CHECK(precise(findings, seen.out.whole));
  }
}

TEST_CASE("loss on any one link is found there, and its share lies in the interval", "[locate]") {
  int wrong = 0, named = 0, sure = 0, held = 0, runs = 0;
  for (const double loss : {0.005, 0.02, 0.05}) {
    for (std::size_t at = 0; at <= 4; ++at) {
      for (unsigned seed = 1; seed <= 6; ++seed) {
        CAPTURE(loss, at, seed);
        auto way = plain(4);
        way.out[at] = loss;
        const auto seen = simulate(way, 60, seed);
        const auto findings = find_loss(seen.out, seen.back);
        ++runs;
        REQUIRE(findings.lossy);
        REQUIRE(findings.places.size() == 1);
        const auto& place = findings.places[0];
        CHECK(within(link(at), place.where));
        if (place.certainty != Certainty::unknown) ++named;
        if (place.certainty == Certainty::sure) ++sure;
        if (place.certainty != Certainty::unknown && place.where != link(at)) ++wrong;
        if (place.interval.contains(loss)) ++held;
      }
    }
  }
  CAPTURE(runs, named, sure, held);
  CHECK(wrong == 0);
  CHECK(named >= runs * 9 / 10);
  CHECK(sure >= runs * 2 / 3);
  CHECK(held >= runs * 9 / 10);
}

TEST_CASE("loss on the way back is not blamed on the way there", "[locate]") {
  for (std::size_t at = 0; at <= 4; ++at) {
    for (unsigned seed = 1; seed <= 4; ++seed) {
      CAPTURE(at, seed);
      auto way = plain(4);
      way.back[at] = 0.05;  // answers of all routers beyond get lost there, too
      const auto seen = simulate(way, 45, seed);
      CHECK_FALSE(find_loss(seen.out, seen.back).lossy);
    }
  }
}

TEST_CASE("loss both ways on different links is told apart by how much it is", "[locate]") {
  int right = 0;
  for (unsigned seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    auto way = plain(5);
    way.out[1] = 0.02;
    way.back[3] = 0.06;
    const auto seen = simulate(way, 60, seed);
    const auto findings = find_loss(seen.out, seen.back);
    REQUIRE(findings.lossy);
    if (blames(findings, link(1))) ++right;
    if (findings.places.size() == 1) CHECK(within(link(1), findings.places[0].where));
  }
  CHECK(right >= 8);
}

TEST_CASE("equal loss both ways on different links cannot be told apart, and nobody pretends", "[locate]") {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    auto way = plain(5);
    way.out[1] = 0.03;
    way.back[3] = 0.03;
    const auto seen = simulate(way, 45, seed);
    const auto findings = find_loss(seen.out, seen.back);
    REQUIRE(findings.lossy);
    REQUIRE(findings.places.size() == 1);
    CHECK(findings.places[0].certainty != Certainty::sure);
    CHECK(within(link(1), findings.places[0].where));
  }
}

TEST_CASE("a router that limits its answers is asked more slowly and not blamed", "[locate]") {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    for (const double loss : {0.0, 0.02}) {
      CAPTURE(seed, loss);
      auto way = plain(4);
      way.routers[1].answers_per_second = 1;  // Linux as it comes
      way.out[3] = loss;
      const auto seen = simulate(way, 60, seed);
      const auto& limited = seen.out.hops[1];
      CHECK(limited.kind == HopKind::limited);
      REQUIRE(limited.answers_per_second);
      CHECK(*limited.answers_per_second == Approx(1.0).margin(0.6));
      CHECK(limited.share() > 0.85);
      for (const auto i : {0U, 2U, 3U}) CHECK(seen.out.hops[i].kind == HopKind::open);
      const auto findings = find_loss(seen.out, seen.back);
      CHECK(findings.lossy == (loss > 0));
      if (loss > 0) CHECK(blames(findings, link(3)));
    }
  }
}

TEST_CASE("where every router limits its answers, heavy loss is found and light loss bounded to a range", "[locate]") {
  for (unsigned seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    auto way = plain(4);
    for (auto& router : way.routers) router.answers_per_second = 1;
    way.out[1] = 0.2;
    auto seen = simulate(way, 90, seed);
    auto findings = find_loss(seen.out, seen.back);
    for (const auto& hop : seen.out.hops) CHECK(hop.kind == HopKind::limited);
    REQUIRE(findings.places.size() == 1);
    CHECK(within(link(1), findings.places[0].where));
    way.out[1] = 0.005;
    seen = simulate(way, 60, seed);
    findings = find_loss(seen.out, seen.back);
    REQUIRE(findings.lossy);
    REQUIRE(findings.places.size() == 1);
    CHECK(findings.places[0].certainty != Certainty::sure);
  }
}

TEST_CASE("a router that leaves out some answers at random is not blamed", "[locate]") {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    for (const double leaves_out : {0.02, 0.3, 0.7}) {
      CAPTURE(seed, leaves_out);
      auto way = plain(4);
      way.routers[2].leaves_out = leaves_out;
      auto seen = simulate(way, 60, seed);
      CHECK_FALSE(find_loss(seen.out, seen.back).lossy);
      way.out[0] = 0.02;
      seen = simulate(way, 60, seed);
      CHECK(blames(find_loss(seen.out, seen.back), link(0)));
    }
  }
}

TEST_CASE("silent routers widen the stretch, no more", "[locate]") {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    auto way = plain(5);
    way.routers[1].silent = true;
    way.out[1] = 0.03;
    auto seen = simulate(way, 60, seed);
    CHECK(seen.out.hops[1].kind == HopKind::silent);
    CHECK(blames(find_loss(seen.out, seen.back), Stretch{1, 3}));
    for (auto& router : way.routers) router.silent = true;
    seen = simulate(way, 20, seed);
    const auto findings = find_loss(seen.out, seen.back);
    REQUIRE(findings.places.size() == 1);
    CHECK(findings.places[0].where == Stretch{0, 6});
  }
}

TEST_CASE("answers that come another way and get lost there do not mislead", "[locate]") {
  for (unsigned seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    auto way = plain(4);
    way.answers_back = {0, 0.04, 0, 0};  // only this router's answers
    way.out[3] = 0.02;
    const auto seen = simulate(way, 60, seed);
    CHECK(blames(find_loss(seen.out, seen.back), link(3)));
  }
}

TEST_CASE("two links that share the loss are both found where there is enough of it", "[locate]") {
  int right = 0;
  for (unsigned seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    auto way = plain(5);
    way.out[1] = 0.05;
    way.out[4] = 0.08;
    const auto seen = simulate(way, 60, seed);
    const auto findings = find_loss(seen.out, seen.back);
    REQUIRE(findings.lossy);
    if (findings.places.size() != 2) continue;
    if (findings.places[0].where == link(1) && findings.places[1].where == link(4) &&
        findings.places[0].interval.contains(0.05) && findings.places[1].interval.contains(0.08)) {
      ++right;
    }
  }
  CHECK(right >= 8);
}

TEST_CASE("bursts widen the interval, so that it still holds the truth", "[locate]") {
  int held = 0, place = 0;
  for (unsigned seed = 1; seed <= 20; ++seed) {
    auto way = plain(4);
    way.out[2] = 0.02;
    way.burst = 6;
    const auto seen = simulate(way, 60, seed);
    const auto findings = find_loss(seen.out, seen.back);
    // The model's own share: 6 packets of the flow for each that begins a burst, near enough.
    if (findings.interval.contains(0.02)) ++held;
    if (findings.places.size() == 1 && within(link(2), findings.places[0].where)) ++place;
  }
  CHECK(held >= 14);
  CHECK(place >= 18);
}

TEST_CASE("without routers there is nothing to name but the whole way", "[locate]") {
  Evidence evidence;
  evidence.whole = {4000, 80, 1};
  auto findings = find_loss(evidence, {4000, 0, 1});
  REQUIRE(findings.places.size() == 1);
  CHECK(findings.places[0].where == Stretch{0, 1});
  CHECK(findings.places[0].certainty == Certainty::unknown);
  evidence.complete = true;  // the ends are neighbours
  findings = find_loss(evidence, {4000, 0, 1});
  CHECK(findings.places[0].certainty == Certainty::sure);
  CHECK_FALSE(find_loss({}, {}).lossy);
  evidence.whole = {4000, 2, 1};
  CHECK_FALSE(find_loss(evidence, {4000, 0, 1}).lossy);
}
