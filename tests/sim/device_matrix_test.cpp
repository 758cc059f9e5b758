// Classic and resilient cTCP through every device of switchback-middlebox, at four loss rates, in virtual time; and
// resilient cTCP under more load, on three lengths of path, with loss on both sides of the device. The outcomes are
// snapshots in tests/sim/snapshots (snapshot.h). Two tests are run by hand, for figures:
// "[.hour]" (an hour in each cell) and "[.deaths]" (how long classic cTCP lives, ten seeds).
#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "tests/sim/classic_sim.h"
#include "tests/sim/middlebox_device.h"
#include "tests/sim/snapshot.h"
#include "tools/middlebox/rules.h"

using namespace switchback;
using namespace switchback::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr double kLosses[] = {0, 0.01, 0.03, 0.05};
constexpr seconds kTime{30};

std::unique_ptr<MiddleboxDevice> device_of(const middlebox::DeviceProfile& profile, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  return std::make_unique<MiddleboxDevice>(profile.make(random));
}

struct Cell {
  std::string text;
  bool alive = false;
  Duration lived{};            // until nothing came in one direction any more
  Duration longest_silence{};  // of the worse direction; resilient only
};

struct Load {
  Duration time = kTime, interval = milliseconds{5}, delay = milliseconds{20};
  bool both = false;  // loss into the device from either end, instead of on the client's side
};

Cell resilient(const middlebox::DeviceProfile& profile, double loss, std::uint64_t seed, Load load = {}) {
  CtcpSim sim{seed,
              {.delay = load.delay, .loss = load.both ? 0 : loss, .loss_before = load.both ? loss : 0},
              device_of(profile, seed)};
  sim.run(load.time, load.interval);
  Cell cell;
  cell.longest_silence = std::max(sim.headend.longest_silence, sim.client.longest_silence);
  const auto end = sim.clock.now() - seconds{4};
  cell.alive = sim.headend.last_delivery > end && sim.client.last_delivery > end;
  std::uint64_t sent = 0, resent = 0;
  for (const auto* one : {&sim.client, &sim.headend}) {
    if (!one->engine || one->engine->sender() == nullptr) continue;
    sent += one->engine->sender()->counters().sent;
    resent += one->engine->sender()->counters().resent;
  }
  const auto added = [&](double quantile) {
    return CtcpSim::milliseconds_at(sim.headend, quantile) -
           std::chrono::duration<double, std::milli>(load.delay).count();
  };
  char text[160];
  std::snprintf(text, sizeof text, "%s %3.0f/%3.0f p50 %3.0f p99 %4.0f re-sent %4.1f%%", cell.alive ? "lives" : "DEAD ",
                sim.share_at_headend() * 100, sim.share_at_client() * 100, added(0.5), added(0.99),
                sent == 0 ? 0.0 : 100.0 * static_cast<double>(resent) / static_cast<double>(sent));
  cell.text = text;
  return cell;
}

Cell classic(const middlebox::DeviceProfile& profile, double loss, std::uint64_t seed) {
  ClassicSim sim{seed, {.loss = loss}, device_of(profile, seed)};
  const auto start = sim.clock.now();
  sim.run(kTime);
  Cell cell;
  const auto last = std::min(sim.headend.last_delivery, sim.client.last_delivery);
  cell.lived = std::max(last - start, Duration{});
  cell.alive = last > start + kTime - seconds{2};
  char text[160];
  if (cell.alive) {
    std::snprintf(text, sizeof text, "lives %3.0f/%3.0f", sim.share_at_headend() * 100, sim.share_at_client() * 100);
  } else {
    std::snprintf(text, sizeof text, "dead after %4.1f s", std::chrono::duration<double>(cell.lived).count());
  }
  cell.text = text;
  return cell;
}

}  // namespace

TEST_CASE("every device lets resilient cTCP live, and the outcome is as it was", "[ctcp][sim][matrix]") {
  std::ostringstream table;
  table << "# device, loss: resilient (share at headend/client in %, what latency comes on top of the path's 20 ms, in "
           "ms), classic\n";
  for (const auto& profile : middlebox::device_profiles()) {
    for (const double loss : kLosses) {
      const auto now = resilient(profile, loss, 1);
      const auto then = classic(profile, loss, 1);
      char line[400];
      std::snprintf(line, sizeof line, "%-15s %3.0f %%  %-56s  classic %s\n", std::string{profile.name}.c_str(),
                    loss * 100, now.text.c_str(), then.text.c_str());
      table << line;
      INFO(line);
      CHECK(now.alive);
    }
  }
  compare_with_snapshot("device_matrix.txt", table.str());
}

// Loss in front of the device for what either end sends: then both directions have holes at once, and the device holds
// or discards with the segments also the ACKs on them.
TEST_CASE("holes in both directions at once stop no flow, and the outcome is as it was", "[ctcp][sim][matrix]") {
  std::ostringstream table;
  table << "# device, one way, at 3 % into the device from either end, 555 frames of 600 octets per second each way: "
           "share "
           "at headend/client in %, what latency comes on top, in ms\n";
  for (const auto& profile : middlebox::device_profiles()) {
    for (const auto delay : {milliseconds{1}, milliseconds{5}, milliseconds{20}}) {
      const auto cell =
          resilient(profile, 0.03, 1,
                    {.time = seconds{10}, .interval = std::chrono::microseconds{1800}, .delay = delay, .both = true});
      char line[200];
      std::snprintf(line, sizeof line, "%-15s %2d ms  %s  longest silence %4.0f ms\n",
                    std::string{profile.name}.c_str(), static_cast<int>(delay.count()), cell.text.c_str(),
                    std::chrono::duration<double, std::milli>(cell.longest_silence).count());
      table << line;
      INFO(line);
      CHECK(cell.alive);
      CHECK(cell.longest_silence < seconds{1});
    }
  }
  compare_with_snapshot("device_matrix_both_ways.txt", table.str());
}

TEST_CASE("the first lost segment alone decides over classic cTCP", "[ctcp][sim][matrix]") {
  // Where something insists on the hole, one is enough; connection tracking forgives a classic pair until its window
  // is used up.
  for (const auto* name : {"inspect", "ips", "ips-rst", "ips-hold", "proxy", "discard"}) {
    INFO(name);
    const auto* profile = middlebox::find_profile(name);
    CHECK_FALSE(classic(*profile, 0.01, 2).alive);
    CHECK(classic(*profile, 0, 2).alive == (std::string_view{name} != "proxy"));
  }
}

// SB_DEVICE: one device alone, so that several can run side by side.
TEST_CASE("an hour in each cell: resilient cTCP is never silent for long", "[.hour]") {
  const char* only = std::getenv("SB_DEVICE");
  for (const auto& profile : middlebox::device_profiles()) {
    if (only != nullptr && profile.name != only) continue;
    for (const double loss : kLosses) {
      const auto cell = resilient(profile, loss, 1, {.time = std::chrono::hours{1}});
      std::printf("%-15s %3.0f %%  %s  longest silence %4.0f ms\n", std::string{profile.name}.c_str(), loss * 100,
                  cell.text.c_str(), std::chrono::duration<double, std::milli>(cell.longest_silence).count());
      std::fflush(stdout);
      CHECK(cell.alive);
      CHECK(cell.longest_silence < seconds{2});
    }
  }
}

TEST_CASE("how long classic cTCP lives behind each device", "[.deaths]") {
  for (const auto& profile : middlebox::device_profiles()) {
    for (const double loss : kLosses) {
      std::vector<double> lived;
      for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        const auto cell = classic(profile, loss, seed);
        if (!cell.alive) lived.push_back(std::chrono::duration<double>(cell.lived).count());
      }
      std::sort(lived.begin(), lived.end());
      std::printf("%-15s %3.0f %%  dead in %2zu of 10", std::string{profile.name}.c_str(), loss * 100, lived.size());
      if (!lived.empty()) {
        std::printf(", after %.2f to %.2f s, median %.2f s", lived.front(), lived.back(), lived[lived.size() / 2]);
      }
      std::printf("\n");
    }
  }
}
