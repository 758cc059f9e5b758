// The resilient engine over bad paths and through models of devices, in virtual time. Seeds are in the assertions.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>

#include "tests/sim/ctcp_sim.h"
#include "transports/stream/framing.h"

using namespace switchback;
using namespace switchback::test;
using namespace switchback::transports::ctcp;
namespace stream = switchback::transports::stream;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

/// Set SB_SIM_VERBOSE to see the figures of every run.
void report(const char* what, const CtcpSim& sim) {
  if (std::getenv("SB_SIM_VERBOSE") == nullptr) return;
  const auto& sent = sim.client.engine->sender()->counters();
  std::printf(
      "%-34s server %5.1f %% client %5.1f %% | p50 %4.0f p95 %4.0f p99 %4.0f ms | silence %4.0f ms | "
      "resent %llu of %llu, rewinds %llu, refused by device %u, proxy %d/%d, discarding %d\n",
      what, sim.share_at_headend() * 100, sim.share_at_client() * 100, CtcpSim::milliseconds_at(sim.headend, 0.5),
      CtcpSim::milliseconds_at(sim.headend, 0.95), CtcpSim::milliseconds_at(sim.headend, 0.99),
      std::chrono::duration<double, std::milli>(std::max(sim.headend.longest_silence, sim.client.longest_silence))
          .count(),
      static_cast<unsigned long long>(sent.resent), static_cast<unsigned long long>(sent.sent),
      static_cast<unsigned long long>(sent.rewinds), sim.device->refused, sim.client.engine->signals().proxy_proven,
      sim.headend.engine->signals().proxy_proven, sim.client.engine->sender()->discarding());
}

void require_alive(const CtcpSim& sim, Duration silence = seconds{1}) {
  REQUIRE(sim.client.engine->state() == EngineState::established);
  REQUIRE(sim.headend.engine);
  REQUIRE(sim.headend.engine->state() == EngineState::established);
  CHECK(sim.headend.longest_silence < silence);
  CHECK(sim.client.longest_silence < silence);
  CHECK(sim.clock.now() - sim.headend.last_delivery < seconds{4});
  CHECK(sim.clock.now() - sim.client.last_delivery < seconds{4});
}

}  // namespace

TEST_CASE("without loss every frame arrives once and at once", "[ctcp][sim]") {
  CtcpSim sim{1, {}, std::make_unique<Device>()};
  sim.run(seconds{10});
  report("plain 0 %", sim);
  require_alive(sim);
  CHECK(sim.share_at_headend() == 1.0);
  CHECK(sim.share_at_client() == 1.0);
  CHECK(sim.client.engine->sender()->counters().resent == 0);
  CHECK(CtcpSim::milliseconds_at(sim.headend, 0.99) < 21);
  CHECK_FALSE(sim.client.engine->signals().proxy_proven);
  CHECK_FALSE(sim.headend.engine->signals().proxy_proven);
}

TEST_CASE("lost segments are repaired while the others do not wait for them", "[ctcp][sim]") {
  for (const double loss : {0.01, 0.03, 0.05}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      CtcpSim sim{seed, {.loss = loss}, std::make_unique<Device>()};
      sim.run(seconds{20});
      report("plain", sim);
      INFO("seed " << seed << " loss " << loss);
      require_alive(sim);
      CHECK(sim.share_at_headend() > 0.995);
      CHECK(sim.share_at_client() > 0.995);
      CHECK(CtcpSim::milliseconds_at(sim.headend, 0.5) < 21);
      CHECK(sim.headend.corrupt + sim.client.corrupt == 0);
    }
  }
}

TEST_CASE("reordering and duplication lose nothing", "[ctcp][sim]") {
  CtcpSim sim{7, {.jitter = milliseconds{30}, .loss = 0.02, .duplication = 0.05}, std::make_unique<Device>()};
  sim.run(seconds{20});
  report("jitter 30 ms, 2 %, dup 5 %", sim);
  require_alive(sim);
  CHECK(sim.share_at_headend() > 0.99);
  CHECK(sim.share_at_client() > 0.99);
  CHECK(sim.headend.corrupt + sim.client.corrupt == 0);
}

TEST_CASE("a strict window tracker finds nothing invalid", "[ctcp][sim]") {
  for (const double loss : {0.0, 0.01, 0.05}) {
    CtcpSim sim{3, {.loss = loss, .loss_behind = loss / 2}, std::make_unique<StrictWindow>()};
    sim.run(seconds{20});
    report("strict", sim);
    INFO("loss " << loss);
    require_alive(sim);
    CHECK(sim.share_at_headend() > 0.99);
    CHECK(sim.share_at_client() > 0.99);
    CHECK(sim.device->refused == 0);
  }
}

TEST_CASE("a proxy that cuts segments elsewhere is recognised and survived", "[ctcp][sim]") {
  for (const double loss : {0.0, 0.01, 0.03}) {
    for (const std::size_t cut : {std::size_t{700}, std::size_t{1448}}) {
      CtcpSim sim{5,
                  {.loss = loss, .loss_behind = loss},
                  std::make_unique<Proxy>(CtcpSim::kClientPort, CtcpSim::kHeadendPort, cut)};
      sim.run(seconds{20});
      report("proxy", sim);
      INFO("loss " << loss << " cut " << cut);
      require_alive(sim, seconds{2});
      CHECK(sim.client.engine->signals().proxy_proven);
      CHECK(sim.headend.engine->signals().proxy_proven);
      CHECK(sim.share_at_headend() > (loss == 0 ? 0.999 : 0.95));
      CHECK(sim.share_at_client() > (loss == 0 ? 0.999 : 0.95));
      CHECK(sim.client.engine->sender()->counters().rewinds == 0);
    }
  }
}

TEST_CASE("an inspector with a queue of three makes the sender go back and keeps the median delay", "[ctcp][sim]") {
  for (const bool duplicate_acks : {true, false}) {
    for (const double loss : {0.0, 0.01, 0.03}) {
      CtcpSim sim{9, {.loss = loss}, std::make_unique<ShortQueue>(3, duplicate_acks)};
      sim.run(seconds{20});
      report(duplicate_acks ? "short queue, dup ACKs" : "short queue, silent", sim);
      INFO("loss " << loss << " duplicate ACKs " << duplicate_acks);
      require_alive(sim, seconds{2});
      CHECK(sim.share_at_headend() > (loss == 0 ? 0.999 : loss < 0.02 ? 0.98 : 0.95));
      CHECK(sim.share_at_client() > 0.99);
      if (loss > 0) CHECK(sim.client.engine->sender()->counters().go_backs > 0);
      CHECK(sim.client.engine->sender()->counters().resent <= sim.client.engine->sender()->counters().sent);
      CHECK(CtcpSim::milliseconds_at(sim.headend, 0.5) < 40);
    }
  }
}

TEST_CASE("at 3000 frames a second losses neither starve nor stop the flow", "[ctcp][sim]") {
  CtcpSim sim{11, {.loss = 0.01}, std::make_unique<Device>()};
  // Until the first ACK the peer's window is the SYN's 64 kB, which never scales.
  sim.run(milliseconds{200});
  sim.run(seconds{5}, std::chrono::microseconds{333});
  report("plain 1 %, 3000 pps", sim);
  require_alive(sim, seconds{4});  // the pause between the two
  CHECK(sim.share_at_headend() > 0.99);
  CHECK(sim.client.engine->sender()->counters().resent * 10 < sim.client.engine->sender()->counters().sent);
}

TEST_CASE("an ordinary TCP and the reliable engine carry a whole stream both ways at 3 % loss", "[ctcp][sim]") {
  VirtualClock clock;
  SeededRandom random{21};
  EngineConfig config;
  config.local_port = 40000;
  config.remote_port = 10000;
  config.reliable = true;
  auto engine = TcpEngine::connect(config, random, clock.now());
  ReferenceTcp peer{10000, 40000, true, 0xFFFFFFF0, 1000};
  stream::StreamParser parser{true};
  std::multimap<Instant, std::pair<bool, Wire>> flying;  // true: to the engine
  std::uint32_t sent = 0, at_peer = 0, written = 0, at_engine = 0;
  constexpr std::uint32_t kFrames = 3000;
  const auto frame = [](std::uint32_t number) {
    Bytes octets(100 + number % 1200);
    for (std::size_t i = 0; i < octets.size(); ++i) octets[i] = static_cast<std::uint8_t>(number + i);
    store_be(octets.data(), number + 1);
    return octets;
  };
  const auto launch = [&](bool to_engine, Wire wire) {
    if (!random.chance(0.03)) flying.emplace(clock.now() + milliseconds{10}, std::pair{to_engine, std::move(wire)});
  };
  const auto drain = [&] {
    while (const auto out = engine.poll_segment(clock.now())) launch(false, {out->header, to_bytes(out->payload)});
    for (auto& wire : peer.poll(clock.now())) launch(true, std::move(wire));
  };
  const auto limit = clock.now() + seconds{300};
  while ((at_peer < kFrames || at_engine < kFrames) && clock.now() < limit) {
    while (sent < kFrames && engine.send_frame(stream::Content::esp, frame(sent)) == SendVerdict::taken &&
           ++sent % 16 != 0) {
    }
    if (peer.established() && peer.backlog() < 100000 && written < kFrames) {
      Bytes octets;
      stream::append_frame(stream::Content::esp, frame(written++), octets);
      peer.write(octets);
    }
    drain();
    auto next = earliest(engine.next_deadline(), peer.next_deadline());
    if (!flying.empty()) next = earliest(next, flying.begin()->first);
    clock.advance_to(std::min(*next, clock.now() + milliseconds{2}));
    while (!flying.empty() && flying.begin()->first <= clock.now()) {
      const auto [to_engine, wire] = flying.begin()->second;
      flying.erase(flying.begin());
      if (!to_engine) {
        peer.handle(wire, clock.now());
        continue;
      }
      engine.handle_segment(wire.view(), clock.now());
      while (const auto got = engine.poll_frame()) {
        REQUIRE(same_bytes(got->payload, frame(at_engine)));
        ++at_engine;
      }
    }
    const auto octets = peer.read();
    parser.give(octets);
    for (;;) {
      const auto got = parser.next().value();
      if (!got) break;
      REQUIRE(same_bytes(got->payload, frame(at_peer)));
      ++at_peer;
    }
    if (const auto due = engine.next_deadline(); due && *due <= clock.now()) engine.handle_deadline(clock.now());
  }
  CHECK(at_peer == kFrames);
  CHECK(at_engine == kFrames);
}
