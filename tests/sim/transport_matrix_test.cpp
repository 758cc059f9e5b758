// The other transports through every device of switchback-middlebox, at four loss rates, and all of them through
// networks that block, throttle, reset or rebind; in virtual time, on whole packets, through the middlebox itself. The
// outcomes are snapshots in tests/sim/snapshots (snapshot.h); cTCP behind the devices is in device_matrix_test.cpp.
#include <catch2/catch.hpp>
#include <cstdio>
#include <sstream>

#include "tests/sim/box_sim.h"
#include "tests/sim/snapshot.h"

using namespace switchback;
using namespace switchback::test;
using std::chrono::seconds;

namespace {

constexpr double kLosses[] = {0, 0.01, 0.03, 0.05};
constexpr seconds kTime{5};

double in_ms(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

std::string describe(const BoxSim& sim) {
  char text[160];
  if (!sim.lives()) {
    std::snprintf(text, sizeof text, "dead after %4.1f s", in_ms(sim.lived()) / 1000);
  } else {
    std::snprintf(text, sizeof text, "lives %3.0f/%3.0f p50 %3.0f p99 %4.0f re-sent %4.1f%%",
                  sim.share_at_headend() * 100, sim.share_at_client() * 100, in_ms(sim.added_at(0.5)),
                  in_ms(sim.added_at(0.99)), sim.resent_share() * 100);
  }
  return text;
}

middlebox::BoxRules rules_of(std::string_view profile) {
  middlebox::BoxRules rules;
  REQUIRE(middlebox::add_profile(rules, profile));
  return rules;
}

}  // namespace

TEST_CASE("datagrams and streams through every device, and the outcome is as it was", "[sim][matrix]") {
  std::ostringstream table;
  table << "# device, loss: transport (share at headend/client in %, what latency comes on top of the path's 20 ms, in "
           "ms)\n";
  for (const auto& profile : middlebox::device_profiles()) {
    // These drop every re-send of what they have seen: what is lost behind them never comes, and a stream waits for
    // ever.
    const bool swallows = profile.name == "normalizer" || profile.name == "paranoid";
    // These have a small TCP of their own, without SACK, whose losses an ordered stream waits for.
    const bool slow = profile.name.starts_with("proxy");
    for (const double loss : kLosses) {
      for (const auto carrier : {Carrier::udp, Carrier::esp, Carrier::tcp, Carrier::tls}) {
        BoxSim sim{carrier, rules_of(profile.name), loss};
        sim.run(kTime);
        char line[240];
        std::snprintf(line, sizeof line, "%-15s %3.0f %%  %-4s %s\n", std::string{profile.name}.c_str(), loss * 100,
                      std::string{to_string(carrier)}.c_str(), describe(sim).c_str());
        table << line;
        INFO(line);
        const auto share = std::min(sim.share_at_headend(), sim.share_at_client());
        if (carrier == Carrier::udp || carrier == Carrier::esp) {
          // Who follows TCP streams has nothing to say about others.
          CHECK(sim.lives());
          CHECK(share > 1 - loss - 0.02);
          CHECK(sim.added_at(0.99) == Duration{0});
        } else {
          CHECK(sim.lives() == !(swallows && loss > 0));
          if (sim.lives() && !slow) CHECK(share > 0.99);
        }
      }
    }
  }
  compare_with_snapshot("transport_matrix.txt", table.str());
}

TEST_CASE("all transports through networks that do more than lose packets, and the outcome is as it was",
          "[sim][matrix]") {
  std::ostringstream table;
  table << "# what the network does, at 1 %: transport (share at headend/client in %, what latency comes on top of the "
           "path's 20 ms, in ms)\n";
  std::vector<std::string> networks;
  for (const auto& profile : middlebox::network_profiles()) networks.emplace_back(profile.name);
  for (const auto* more : {"block-icmp:udp", "block-syn:tcp", "throttle=500k:udp", "rst=300:tcp", "rst-block=300:tcp",
                           "nat=192.0.2.77", "nat=192.0.2.77/at=4s"}) {
    networks.emplace_back(more);
  }
  for (const auto& network : networks) {
    for (const auto carrier : {Carrier::udp, Carrier::esp, Carrier::ctcp, Carrier::tcp, Carrier::tls}) {
      BoxSim sim{carrier, rules_of(network), 0.01};
      sim.run(kTime);
      char line[240];
      std::snprintf(line, sizeof line, "%-20s %-4s %s\n", network.c_str(), std::string{to_string(carrier)}.c_str(),
                    describe(sim).c_str());
      table << line;
    }
  }
  compare_with_snapshot("network_matrix.txt", table.str());
}
