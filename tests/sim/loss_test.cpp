// Pairs of sessions on bad networks, many seeds: they come up or say that they cannot, and never disagree for good.
#include <catch2/catch.hpp>

#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

PairConfig quick_timers() {
  auto config = PairConfig::with_psk();
  for (auto* end : {&config.client, &config.headend}) {
    end->timers.liveness_idle = 10s;
    end->timers.stale_sa = 15s;
    end->timers.rekey_retry = 3s;
  }
  return config;
}

LinkConditions bad(double loss) { return {20ms, 60ms, loss, loss / 3}; }

/// At most `limit` for both ends to agree while the network is whole again, or to have closed. Says what stays wrong.
std::string disagreement_after(SessionPair& pair, Duration limit) {
  pair.network.conditions() = LinkConditions{};
  const bool agreed =
      pair.run_until([&] { return (pair.quiet() && pair.disagreement().empty()) || pair.both_closed(); }, limit);
  if (agreed) return {};
  return pair.quiet() ? pair.disagreement() : "never quiet; " + pair.disagreement();
}

}  // namespace

TEST_CASE("on networks of 0 to 30 % loss every session comes up, or both ends report why not", "[ike][sim]") {
  unsigned up = 0, runs = 0;
  for (std::uint64_t seed = 1; seed <= 1200; ++seed) {
    const double loss = static_cast<double>(seed % 7) * 0.05;
    INFO("seed " << seed << " loss " << loss);
    SessionPair pair{quick_timers(), seed, bad(loss)};
    const bool established = pair.establish(120s);
    ++runs;
    up += established ? 1 : 0;
    REQUIRE((established || pair.client.closed));
    // A headend that is left with half a session, or a session whose client never heard of it, finds out by itself.
    REQUIRE(disagreement_after(pair, 10min) == "");
  }
  CHECK(up * 100 >= runs * 98);
}

TEST_CASE("rekeys, deletes and new Child SAs from both ends on a bad network leave both agreeing", "[ike][sim]") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const double loss = static_cast<double>(seed % 5) * 0.06;
    INFO("seed " << seed << " loss " << loss);
    SessionPair pair{quick_timers(), seed};
    REQUIRE(pair.establish());
    pair.network.conditions() = bad(loss);
    for (int i = 0; i < 25 && !pair.client.closed && !pair.headend.closed; ++i) {
      auto& end = pair.random.chance(0.5) ? pair.client : pair.headend;
      const auto now = pair.clock.now();
      switch (pair.random.below(8)) {
        case 0:
        case 1: end.session->rekey_ike(now); break;
        case 2:
        case 3:
        case 4:
          if (!end.installed.empty()) end.session->rekey_child(end.installed.rbegin()->first, now);
          break;
        case 5: end.session->create_child(now); break;
        case 6:
          if (end.installed.size() > 1) end.session->delete_child(end.installed.begin()->first, now);
          break;
        default:
          pair.client.session->rekey_ike(now);
          pair.headend.session->rekey_ike(now);
          for (auto* both : {&pair.client, &pair.headend}) {
            for (const auto& [inbound, child] : both->installed) both->session->rekey_child(inbound, now);
          }
      }
      pair.flush();
      pair.send_esp(pair.client);
      pair.send_esp(pair.headend);
      pair.run_for(Duration{static_cast<Duration::rep>(pair.random.below(3'000'000'000))});
    }
    REQUIRE(disagreement_after(pair, 30min) == "");
    // Loss alone must not end a session: sixteen repetitions would have to be lost in a row.
    if (loss < 0.1) REQUIRE_FALSE(pair.client.closed);
  }
}

TEST_CASE("clients that move and NATs that forget, on a bad network: the headend follows", "[ike][sim]") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    INFO("seed " << seed);
    auto config = quick_timers();
    config.client.mobike = seed % 3 != 0;
    SessionPair pair{std::move(config), seed};
    const bool nat = seed % 2 == 0;
    if (nat) pair.network.add_nat(SessionPair::kClient.address, *IpAddress::parse("198.51.100.7"));
    REQUIRE(pair.establish());
    pair.network.conditions() = bad(0.1);
    for (std::uint16_t i = 0; i < 6; ++i) {
      if (nat) {
        pair.network.rebind();
      } else {
        const AddressPair moved{{SessionPair::kClient.address, static_cast<std::uint16_t>(41000 + i)},
                                SessionPair::kHeadendNatT};
        pair.client.session->handle_path_change(moved, pair.clock.now());
        pair.flush();
      }
      for (int k = 0; k < 40; ++k) {
        pair.send_esp(pair.client);
        pair.run_for(100ms);
      }
    }
    pair.network.conditions() = LinkConditions{};
    for (int k = 0; k < 300 && !pair.client.closed; ++k) {
      pair.send_esp(pair.client);
      pair.run_for(100ms);
    }
    REQUIRE(pair.both_established());
    const auto before = pair.client.esp_received;
    pair.send_esp(pair.headend);
    pair.run_for(1s);
    CHECK(pair.client.esp_received == before + 1);
    REQUIRE(disagreement_after(pair, 10min) == "");
  }
}
