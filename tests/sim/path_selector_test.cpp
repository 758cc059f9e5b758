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
/// Restored just after the last sign of life of an attempt, which then takes its 3 s to be given up, and more faults
/// meanwhile.
constexpr Duration kNeverStuckLonger = 7s;

struct Worst {
  Duration stuck{}, back{};
  std::uint32_t moves = 0;
  std::uint64_t moves_all = 0, suspicions = 0;
  std::uint64_t stuck_seed = 0;
};

double seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

/// 1 to 60 s.
std::uint64_t world_wait(std::uint64_t seed) { return 1000 + SeededRandom{seed}.below(59'000); }

/// One fault or repair, drawn from the seed.
void disturb(PathWorld& world, bool requests) {
  const auto transport = kAll[world.random.below(kAll.size())];
  switch (world.random.below(16)) {
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
    case 9:
      if (world.random.chance(0.5)) {
        world.change_network(true, true);
      } else {
        const bool v4 = world.random.chance(0.7);
        world.change_network(v4, !v4 || world.random.chance(0.5));
      }
      break;
    case 10:
      world.cut(transport, true, true, world.random.chance(0.3),
                world.random.chance(0.5) ? IpFamily::v6 : IpFamily::v4);
      break;
    case 11: {
      std::vector<TransportKind> kinds;
      for (const auto kind : kAll) {
        if (world.random.chance(0.8)) kinds.push_back(kind);
      }
      world.offer(kinds);
      break;
    }
    case 12:
      if (requests) world.selector.handle_request(transport, world.clock.now());
      break;
    default: {
      auto& link = world.link(transport);
      if (!link.works() || link.loss > 0) world.heal(transport);
      break;
    }
  }
}

void one_run(std::uint64_t seed, Worst& worst) {
  INFO("seed " << seed);
  PathWorld world{seed, seed % 2 == 0 ? PathWorld::dual_config() : PathWorld::default_config()};
  const auto cut_at_start = world.random.below(1U << kAll.size());
  for (std::size_t i = 0; i < kAll.size(); ++i) {
    if ((cut_at_start >> i & 1U) != 0) world.cut(kAll[i], true, true, world.random.chance(0.3));
  }
  world.start();
  const auto faults = 5 + world.random.below(25);
  for (std::uint64_t i = 0; i < faults && world.broken.empty(); ++i) {
    world.run_for(std::chrono::milliseconds{50 + world.random.below(world.random.chance(0.3) ? 30'000 : 4'000)});
    disturb(world, seed % 3 == 0);
  }
  for (const auto transport : kAll) world.heal(transport);
  world.change_network(true, true);
  world.offer({kAll.begin(), kAll.end()});
  if (seed % 3 == 0) world.selector.handle_request(TransportKind::udp, world.clock.now());
  const auto restored = world.clock.now();
  world.run_for(20s);
  REQUIRE(world.broken == "");
  if (world.selector.state() == SelectorState::doubting) {  // data goes by the twin until the bound allows a move
    REQUIRE(world.selector.twin().has_value());
    world.run_for(45s);
  }
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

/// Of each of the three tests that share the thousands. Sanitizers look at how it is done and not at what is decided.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 200;
#else
constexpr std::uint64_t kSeeds = 1000;
#endif

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

TEST_CASE("one seed", "[.trace]") {  // SB_SEED; says all that happens
  Worst worst;
  const char* seed = std::getenv("SB_SEED");
  PathWorld::trace = true;
  one_run(seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10), worst);
}

TEST_CASE("many seeds", "[.many]") {  // SB_SEED: the first; SB_SEEDS: how many
  const char* first = std::getenv("SB_SEED");
  const char* count = std::getenv("SB_SEEDS");
  runs(first == nullptr ? 1 : std::strtoull(first, nullptr, 10),
       count == nullptr ? 10'000 : std::strtoull(count, nullptr, 10));
}

TEST_CASE("random cuts and losses and NAT rebindings never leave the session stuck: seeds from 1", "[path][sim]") {
  runs(1, kSeeds);
}
TEST_CASE("random cuts and losses and NAT rebindings never leave the session stuck: seeds from 1001", "[path][sim]") {
  runs(1001, kSeeds);
}
TEST_CASE("random cuts and losses and NAT rebindings never leave the session stuck: seeds from 2001", "[path][sim]") {
  runs(2001, kSeeds);
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

namespace {

/// What a healthy path may be like.
struct Weather {
  const char* name;
  double loss = 0, burst = 1;
  Duration delay = 20ms, jitter{};
  bool swells = false;  // a queue that fills for ten seconds and empties for ten, to half a second and back
  bool traffic = true;
};
constexpr std::array kWeathers{Weather{"clean"},
                               Weather{.name = "1 %", .loss = 0.01},
                               Weather{.name = "3 %", .loss = 0.03},
                               Weather{.name = "5 %", .loss = 0.05},
                               Weather{.name = "5 %, 200 ms jitter", .loss = 0.05, .jitter = 200ms},
                               Weather{.name = "1 % in bursts of 2", .loss = 0.01, .burst = 2},
                               Weather{.name = "3 % in bursts of 2", .loss = 0.03, .burst = 2},
                               Weather{.name = "swelling queue", .loss = 0.01, .swells = true},
                               Weather{.name = "satellite, 1 %", .loss = 0.01, .delay = 300ms},
                               Weather{.name = "idle user, 5 %", .loss = 0.05, .jitter = 200ms, .traffic = false}};

struct Alarms {
  std::uint64_t suspicions = 0, moves = 0;
};

/// A path of `transport` in use that works, in that weather; the others are as good.
Alarms alarms(TransportKind transport, const Weather& weather, std::uint64_t seed, Duration time) {
  auto config = PathWorld::default_config();
  std::stable_partition(config.candidates.begin(), config.candidates.end(),
                        [&](const Candidate& candidate) { return candidate.transport == transport; });
  PathWorld world{seed, config};
  for (const auto each : kAll) world.link(each).delay = weather.delay;
  world.start();
  world.run_for(5s);
  for (const auto each : kAll) {
    auto& link = world.link(each);
    link.loss = weather.loss;
    link.burst = weather.burst;
    link.jitter = weather.jitter;
  }
  REQUIRE(world.active_transport() == transport);
  const auto moves = world.selector.moves();
  world.suspicions = 0;
  world.traffic = weather.traffic;
  const auto end = world.clock.now() + time;
  for (int second = 0; world.clock.now() < end; ++second) {
    const auto depth = second % 20 < 10 ? second % 10 : 10 - second % 10;
    if (weather.swells) world.link(transport).delay = weather.delay + depth * 50ms;
    world.run_for(1s);
  }
  REQUIRE(world.broken == "");
  return {world.suspicions, world.selector.moves() - moves};
}

}  // namespace

TEST_CASE("no weather makes a path that works be left", "[path][sim]") {
  for (const auto transport : kAll) {
    for (const auto& weather : kWeathers) {
      INFO(to_string(transport) << ", " << weather.name);
      CHECK(alarms(transport, weather, 1, 5min).moves == 0);
    }
  }
}

TEST_CASE("false alarms per hour", "[.alarms]") {  // SB_HOURS: of each cell
  const char* given = std::getenv("SB_HOURS");
  const unsigned hours = given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : 10U;
  for (const auto& weather : kWeathers) {
    std::printf("%-20s", weather.name);
    for (const auto transport : kAll) {
      Alarms all;
      for (unsigned seed = 1; seed <= hours; ++seed) {
        const auto one = alarms(transport, weather, seed, 1h);
        all.suspicions += one.suspicions;
        all.moves += one.moves;
      }
      std::printf("  %s %.1f suspected, %.2f moved", std::string{to_string(transport)}.c_str(),
                  static_cast<double>(all.suspicions) / hours, static_cast<double>(all.moves) / hours);
      CHECK(all.moves == 0);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
}

TEST_CASE("a silent cut loses less than 0.8 s of data", "[path][sim]") {
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
    CHECK(worst < (longest == 20 ? 750ms : 800ms));
    std::printf("silent cut, one way 1 to %u ms: longest gap %.3f s\n", longest, seconds(worst));
  }
}

TEST_CASE("a cut that says so loses less than 200 ms of data", "[path][sim]") {
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
    CHECK(worst < (delay == 2ms ? 100ms : 200ms));
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

TEST_CASE("a connection that the system closes is left for datagrams at once, and for another connection soon",
          "[path][sim]") {
  for (const bool datagrams : {true, false}) {
    Duration worst{};
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
      INFO("seed " << seed);
      PathWorld world{seed};
      for (const auto transport : kAll) world.link(transport).delay = 20ms;
      for (const auto transport : {TransportKind::udp, TransportKind::esp, TransportKind::ctcp}) {
        world.cut(transport, true, true, false);
      }
      world.start();
      world.run_for(5s + std::chrono::milliseconds{world.random.below(1000)});
      REQUIRE(world.active_transport() == TransportKind::tls);
      if (datagrams) world.heal(TransportKind::esp);
      world.longest_stuck = {};
      world.cut(TransportKind::tls, true, true, true);
      world.kill_active();
      world.run_for(3s);
      REQUIRE(world.broken == "");
      CHECK(world.active_transport() != TransportKind::tls);
      worst = std::max(worst, world.longest_stuck);
    }
    CHECK(worst < (datagrams ? 200ms : 400ms));
    std::printf("connection closed, one way 20 ms, %s: longest gap %.3f s\n",
                datagrams ? "esp works" : "only tcp works", seconds(worst));
  }
}

TEST_CASE("what was blocked and works again is used again within 40 s while there is traffic", "[path][sim]") {
  Duration worst_blocked{}, worst_stalled{}, worst_outage{};
  const auto back = [](PathWorld& world) {
    const auto begun = world.clock.now();
    const auto there = [&] {
      return world.active_transport() == TransportKind::udp && world.selector.state() == SelectorState::settled;
    };
    while (!there() && world.clock.now() - begun < 10min) world.run_for(500ms);
    REQUIRE(world.broken == "");
    return world.clock.now() - begun;
  };
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    INFO("seed " << seed);
    const auto wait = std::chrono::milliseconds{world_wait(seed)};
    {  // blocked from the start, for up to half an hour
      PathWorld world{seed, PathWorld::dual_config()};
      for (const auto transport : {TransportKind::udp, TransportKind::esp}) world.cut(transport, true, true, false);
      world.start();
      world.run_for(wait * 30);
      for (const auto transport : kAll) world.heal(transport);
      worst_blocked = std::max(worst_blocked, back(world));
    }
    {  // stalled, then restored
      PathWorld world{seed, PathWorld::dual_config()};
      world.start();
      world.run_for(5s);
      world.cut(TransportKind::udp, true, true, false);
      world.run_for(wait);
      world.heal(TransportKind::udp);
      worst_stalled = std::max(worst_stalled, back(world));
    }
    {  // nothing worked for a minute
      PathWorld world{seed, PathWorld::dual_config()};
      world.start();
      world.run_for(5s);
      for (const auto transport : kAll) world.cut(transport, true, true, seed % 2 == 0);
      world.run_for(wait);
      for (const auto transport : kAll) world.heal(transport);
      worst_outage = std::max(worst_outage, back(world));
    }
  }
  CHECK(worst_blocked <= 40s);
  CHECK(worst_stalled <= 45s);
  CHECK(worst_outage <= 30s);
  std::printf("back on udp after: blocked %.1f s, stalled %.1f s, outage %.1f s\n", seconds(worst_blocked),
              seconds(worst_stalled), seconds(worst_outage));
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
