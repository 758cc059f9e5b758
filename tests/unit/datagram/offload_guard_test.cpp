#include "transports/datagram/offload_guard.h"

#include <catch2/catch.hpp>
#include <functional>

#include "tests/support/seeded_random.h"

using namespace switchback;
using namespace std::chrono_literals;
using State = transports::datagram::OffloadGuard::State;
using transports::datagram::OffloadGuard;

namespace {

/// Messages of up to 40 packets that come joined while the offload is on, and packets one by one while it is off.
struct Traffic {
  /// How likely a packet fails, joined or not, at this moment.
  using Failing = std::function<double(bool joined, std::uint8_t flow)>;

  explicit Traffic(std::uint64_t seed = 1) : random{seed} {}

  /// 10 messages, or as many packets as they would be, each 5 ms.
  void run(Duration length, const Failing& failing, std::uint8_t flows = 1) {
    const auto end = now + length;
    for (; now < end; now += 5ms) {
      note(guard.handle_deadline(now));
      for (int message = 0; message < 10; ++message) {
        const auto flow = static_cast<std::uint8_t>(random.below(flows));
        const auto packets = 2 + random.below(39);
        const bool joined = !guard.is_off();
        std::uint32_t failed = 0;
        for (std::uint64_t i = 0; i < packets; ++i) failed += random.chance(failing(joined, flow)) ? 1U : 0U;
        note(guard.handle_packets(joined, flow, static_cast<std::uint32_t>(packets) - failed, failed, now));
      }
    }
  }
  void note(bool changed) {
    if (!changed) return;
    if (guard.is_off()) ++times_off;
    if (guard.state() == State::quarantined) ++quarantines;
  }

  test::SeededRandom random;
  OffloadGuard guard;
  Instant now{1h};
  int times_off = 0, quarantines = 0;
};

/// A second of failures, and the first packet behind it.
bool make_suspicious(OffloadGuard& guard, Instant now) {
  return !guard.handle_packets(true, 1, 10, 50, now - OffloadGuard::kWindow) &&
         guard.handle_packets(true, 1, 1, 0, now);
}

double lying(bool joined, std::uint8_t /*flow*/) { return joined ? 0.4 : 0.0; }
double well(bool /*joined*/, std::uint8_t /*flow*/) { return 0.0; }

}  // namespace

TEST_CASE("an offload that spoils what it joins is quarantined within seconds, and tried again after ten minutes",
          "[offload]") {
  Traffic traffic;
  traffic.run(10s, well);
  CHECK(traffic.guard.state() == State::in_use);
  CHECK(traffic.guard.reason().empty());
  traffic.run(3s, lying);
  CHECK(traffic.guard.state() == State::quarantined);
  CHECK(traffic.guard.is_off());
  CHECK(traffic.guard.reason().find("without the offload") != std::string::npos);
  REQUIRE(traffic.guard.next_deadline());
  CHECK(*traffic.guard.next_deadline() - *traffic.guard.since() == 10min);

  // The interface's driver was updated meanwhile.
  traffic.now += 9min;
  traffic.run(2min, well);
  CHECK(traffic.guard.state() == State::in_use);
  CHECK(traffic.quarantines == 1);
}

TEST_CASE("one packet spoilt in each joined message is enough", "[offload]") {
  OffloadGuard guard;
  Instant now{1h};
  for (int i = 0; i < 1000 && guard.state() != State::quarantined; ++i, now += 5ms) {
    const bool joined = !guard.is_off();
    (void)guard.handle_packets(joined, 1, joined ? 44 : 45, joined ? 1 : 0, now);
  }
  CHECK(guard.state() == State::quarantined);
}

TEST_CASE("an offload that goes on lying is left alone for twice as long each time, up to eight hours", "[offload]") {
  Traffic traffic;
  for (auto expected = Duration{10min}; expected < 8h; expected *= 2) {
    traffic.run(3s, lying);
    REQUIRE(traffic.guard.state() == State::quarantined);
    CHECK(*traffic.guard.next_deadline() - *traffic.guard.since() == expected);
    traffic.now = *traffic.guard.next_deadline();
  }
  traffic.run(3s, lying);
  CHECK(*traffic.guard.next_deadline() - *traffic.guard.since() == 8h);
}

TEST_CASE("packets that fail with the offload and without it acquit it, and it is heard of less and less",
          "[offload]") {
  for (const auto rate : {0.03, 0.12, 0.3, 0.9}) {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      Traffic traffic{seed};
      traffic.run(2min, [&](bool, std::uint8_t) { return rate; });
      CHECK(traffic.quarantines == 0);
      CHECK(traffic.times_off <= 3);
      CHECK(traffic.times_off >= 1);
    }
  }
}

TEST_CASE("a few failures here and there are no reason to look at an offload", "[offload]") {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Traffic traffic{seed};
    traffic.run(1min, [](bool, std::uint8_t) { return 0.01; });
    CHECK(traffic.times_off == 0);
  }
}

TEST_CASE("failures that stop by themselves do not come back with the offload and acquit it", "[offload]") {
  Traffic traffic;
  traffic.run(1min, [&](bool, std::uint8_t) { return traffic.now < Instant{1h + 1s} ? 0.5 : 0.0; });
  CHECK(traffic.times_off == 1);
  CHECK(traffic.quarantines == 0);
  CHECK(traffic.guard.state() == State::in_use);
}

TEST_CASE("one peer among several that sends rubbish in bursts costs the others nothing", "[offload]") {
  const auto one_lies = [](bool joined, std::uint8_t flow) { return joined && flow == 3 ? 1.0 : 0.0; };
  Traffic among{1};
  among.run(1min, one_lies, 5);
  CHECK(among.times_off == 0);
  // What the offload does, it does to most.
  Traffic all{1};
  all.run(3s, lying, 5);
  CHECK(all.guard.state() == State::quarantined);
}

TEST_CASE("an experiment without traffic ends undecided, and says so", "[offload]") {
  Traffic traffic;
  REQUIRE(make_suspicious(traffic.guard, traffic.now));
  CHECK(traffic.guard.state() == State::trial);
  CHECK_FALSE(traffic.guard.handle_deadline(traffic.now + 29s));
  // Late ones that had been joined before it was off say nothing.
  CHECK_FALSE(traffic.guard.handle_packets(true, 1, 0, 5000, traffic.now + 29s));
  CHECK(traffic.guard.handle_deadline(traffic.now + 30s));
  CHECK(traffic.guard.state() == State::in_use);
  CHECK(traffic.guard.reason().find("too little traffic") != std::string::npos);
}

TEST_CASE("traffic that becomes thin during an experiment is enough for a verdict if nothing fails", "[offload]") {
  OffloadGuard guard;
  const Instant start{1h};
  REQUIRE(make_suspicious(guard, start));
  CHECK_FALSE(guard.handle_packets(false, 1, 60, 0, start + 10s));
  CHECK(guard.handle_deadline(start + 30s));
  CHECK(guard.state() == State::recheck);
  CHECK_FALSE(guard.is_off());
  CHECK(guard.handle_packets(true, 1, 10, 50, start + 31s));
  CHECK(guard.state() == State::quarantined);
}
