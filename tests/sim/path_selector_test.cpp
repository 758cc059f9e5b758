// The selector against thousands of seeded worlds: it is never stuck while a path works, never moves more often than
// its bound, comes back to the preferred transport, and is not shaken by loss or jitter.
#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>

#include "tests/sim/path_world.h"

using namespace switchback;
using namespace switchback::path;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

constexpr std::array kAll{TransportKind::udp, TransportKind::esp, TransportKind::ctcp, TransportKind::tls,
                          TransportKind::tcp};
/// Restored while every candidate has just failed: the last step of the outage's backoff, then everything once more.
constexpr Duration kNeverStuckLonger = 20s;

struct Worst {
  Duration stuck{}, back{};
  std::uint32_t moves = 0;
  std::uint64_t moves_all = 0, suspicions = 0;
  std::uint64_t stuck_seed = 0;
};

double seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

/// One fault or repair, drawn from the seed.
void disturb(PathWorld& world) {
  const auto transport = kAll[world.random.below(kAll.size())];
  switch (world.random.below(12)) {
    case 0:
    case 1: world.cut(transport, true, true, false); break;
    case 2: world.cut(transport, true, false, false); break;
    case 3: world.cut(transport, false, true, false); break;
    case 4: world.cut(transport, true, true, true); break;
    case 5: world.lossy(transport, 0.02 + 0.01 * static_cast<double>(world.random.below(60))); break;
    case 6: world.rebind_nat(); break;
    case 7: world.kill_active(); break;
    case 8:  // the path in use, of all
      if (const auto active = world.active_transport()) world.cut(*active, true, true, false);
      break;
    default: {
      auto& link = world.link(transport);
      if (!link.works() || link.loss > 0) world.heal(transport);
      break;
    }
  }
}

void one_run(std::uint64_t seed, Worst& worst) {
  PathWorld world{seed};
  INFO("seed " << seed);
  const auto cut_at_start = world.random.below(1U << kAll.size());
  for (std::size_t i = 0; i < kAll.size(); ++i) {
    if ((cut_at_start >> i & 1U) != 0) world.cut(kAll[i], true, true, world.random.chance(0.3));
  }
  world.start();
  const auto faults = 5 + world.random.below(25);
  for (std::uint64_t i = 0; i < faults && world.broken.empty(); ++i) {
    world.run_for(std::chrono::milliseconds{50 + world.random.below(world.random.chance(0.3) ? 30'000 : 4'000)});
    disturb(world);
  }
  for (const auto transport : kAll) world.heal(transport);
  const auto restored = world.clock.now();
  world.run_for(20s);
  REQUIRE(world.broken == "");
  REQUIRE(world.selector.state() == SelectorState::settled);
  world.traffic = false;
  Duration back{};
  while (world.active_transport() != TransportKind::udp && back < 25min) {
    world.run_for(5s);
    back = world.clock.now() - restored;
  }
  REQUIRE(world.broken == "");
  REQUIRE(world.active_transport() == TransportKind::udp);
  world.traffic = true;
  world.run_for(2s);
  REQUIRE(world.broken == "");
  CHECK(world.clock.now() - world.last_out < 500ms);
  CHECK(world.clock.now() - world.last_in < 500ms);
  REQUIRE(world.longest_stuck < kNeverStuckLonger);
  REQUIRE(world.most_moves <= Timings{}.moves_most);
  if (world.longest_stuck > worst.stuck) worst.stuck_seed = seed;
  worst.stuck = std::max(worst.stuck, world.longest_stuck);
  worst.back = std::max(worst.back, back);
  worst.moves = std::max(worst.moves, world.most_moves);
  worst.moves_all += world.selector.moves();
  worst.suspicions += world.suspicions;
}

void runs(std::uint64_t first, std::uint64_t count) {
  Worst worst;
  for (auto seed = first; seed < first + count; ++seed) one_run(seed, worst);
  std::printf(
      "%llu runs from seed %llu: longest without data while a path worked %.2f s (seed %llu), most moves in 60 s %u, "
      "moves %llu, "
      "suspicions %llu, longest way back to udp %.0f s\n",
      static_cast<unsigned long long>(count), static_cast<unsigned long long>(first), seconds(worst.stuck),
      static_cast<unsigned long long>(worst.stuck_seed), worst.moves, static_cast<unsigned long long>(worst.moves_all),
      static_cast<unsigned long long>(worst.suspicions), seconds(worst.back));
}

}  // namespace

TEST_CASE("one seed", "[.trace]") {
  Worst worst;
  const char* seed = std::getenv("SB_SEED");
  PathWorld::trace = true;
  one_run(seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10), worst);
}

TEST_CASE("random cuts and losses and NAT rebindings never leave the session stuck: seeds 1 to 1000", "[path][sim]") {
  runs(1, 1000);
}
TEST_CASE("random cuts and losses and NAT rebindings never leave the session stuck: seeds 1001 to 2000",
          "[path][sim]") {
  runs(1001, 1000);
}
TEST_CASE("random cuts and losses and NAT rebindings never leave the session stuck: seeds 2001 to 3000",
          "[path][sim]") {
  runs(2001, 1000);
}

TEST_CASE("five per cent of loss and 200 ms of jitter cause no move", "[path][sim]") {
  std::uint64_t suspicions = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    PathWorld world{seed};
    for (const auto transport : kAll) {
      world.link(transport).loss = 0.05;
      world.link(transport).jitter = 200ms;
    }
    world.start();
    world.run_for(5s);
    REQUIRE(world.selector.active().has_value());
    world.run_for(180s);
    world.traffic = false;
    world.run_for(120s);
    REQUIRE(world.broken == "");
    // Moving up is right where a lost first packet gave the start to another transport.
    for (const auto& move : world.moves) CHECK(move.reason == Reason::better_transport);
    suspicions += world.suspicions;
  }
  std::printf(
      "5 %% loss, 200 ms jitter: 200 runs of 305 s, no move but to the preferred transport, %llu suspicions cleared\n",
      static_cast<unsigned long long>(suspicions));
}

TEST_CASE("a silent cut loses less than a second of data on short paths and little more on long ones", "[path][sim]") {
  for (const auto longest : {20U, 60U}) {
    Duration worst{};
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
      INFO("seed " << seed);
      PathWorld world{seed};
      for (const auto transport : kAll)
        world.link(transport).delay = std::chrono::milliseconds{1 + world.random.below(longest)};
      world.start();
      world.run_for(5s + std::chrono::milliseconds{world.random.below(1000)});
      REQUIRE(world.active_transport() == TransportKind::udp);
      world.longest_stuck = {};
      world.cut(TransportKind::udp, seed % 3 != 1, seed % 3 != 2, false);
      world.run_for(5s);
      REQUIRE(world.broken == "");
      CHECK(world.active_transport() != TransportKind::udp);
      CHECK(world.selector.moves() == 1);
      worst = std::max(worst, world.longest_stuck);
    }
    CHECK(worst < (longest == 20 ? 1000ms : 1300ms));
    std::printf("silent cut, one way 1 to %u ms: longest gap %.3f s\n", longest, seconds(worst));
  }
}

TEST_CASE("a cut that says so loses less than 400 ms on long paths and less than 200 ms on short ones", "[path][sim]") {
  for (const auto delay : {2ms, 60ms}) {
    Duration worst{};
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
      INFO("seed " << seed);
      PathWorld world{seed};
      for (const auto transport : kAll) world.link(transport).delay = delay;
      world.start();
      world.run_for(5s + std::chrono::milliseconds{world.random.below(1000)});
      world.longest_stuck = {};
      world.cut(TransportKind::udp, true, true, true);
      world.run_for(5s);
      REQUIRE(world.broken == "");
      CHECK(world.active_transport() == TransportKind::esp);
      worst = std::max(worst, world.longest_stuck);
    }
    CHECK(worst < (delay == 2ms ? 200ms : 400ms));
    std::printf("cut by ICMP, one way %lld ms: longest gap %.3f s\n", static_cast<long long>(delay.count()),
                seconds(worst));
  }
}

TEST_CASE("everything but one transport blocked from the start: the tunnel is up within a second and a half",
          "[path][sim]") {
  for (const auto open : kAll) {
    PathWorld world{11};
    for (const auto transport : kAll) {
      world.link(transport).delay = 1ms;
      if (transport != open) world.cut(transport, true, true, false);
    }
    world.start();
    world.run_for(1500ms);
    INFO(to_string(open));
    CHECK(world.active_transport() == open);
    CHECK(world.clock.now() - world.last_in < 500ms);
  }
}

TEST_CASE("a transport that works only now and then does not make the session flap", "[path][sim]") {
  PathWorld world{5};
  world.start();
  world.run_for(5s);
  for (int round = 0; round < 60; ++round) {  // udp up for 40 s, dead for 20 s, for an hour
    world.cut(TransportKind::udp, true, true, false);
    world.run_for(20s);
    world.heal(TransportKind::udp);
    world.run_for(40s);
  }
  REQUIRE(world.broken == "");
  // Left alone for 0.5, 1, 2, 4, 8, 16, 16 … minutes after each stall: at most one round trip for each of these.
  CHECK(world.selector.moves() <= 18);
  CHECK(world.longest_stuck < 1s);
  std::printf("udp dead a third of the time for an hour: %llu moves, longest gap %.3f s\n",
              static_cast<unsigned long long>(world.selector.moves()), seconds(world.longest_stuck));
}

TEST_CASE("where all fail in turn the bound on moves holds and data goes on", "[path][sim]") {
  PathWorld world{6};
  world.start();
  world.run_for(5s);
  for (int round = 0; round < 120; ++round) {
    const auto active = world.active_transport();
    for (const auto transport : kAll) {
      if (transport != active) world.heal(transport);
    }
    if (active) world.cut(*active, true, true, false);
    world.run_for(3s);
  }
  REQUIRE(world.broken == "");
  CHECK(world.most_moves <= Timings{}.moves_most);
  CHECK(world.most_moves >= Timings{}.moves_most / 2);  // the test is about something
  CHECK(world.longest_stuck < 8s);
  std::printf("the path in use cut every 3 s: most moves in 60 s %u, longest gap %.2f s\n", world.most_moves,
              seconds(world.longest_stuck));
}
