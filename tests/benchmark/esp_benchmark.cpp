// ESP on batches with the backend that is chosen here: header, padding, sequence number, window, selectors and cipher.
#include <cstring>

#include "tests/benchmark/manual_time.h"
#include "tests/unit/esp/sa_pair.h"

using namespace switchback;
using namespace switchback::testing;

namespace {

constexpr std::size_t kPackets = 64;

Bytes inner(std::size_t size) {
  PacketSpec spec;
  spec.payload = counting(size - 28);
  return make_udp(spec);
}

void esp_seal(benchmark::State& state) {
  SaPair pair;
  const auto packet = inner(static_cast<std::size_t>(state.range(0)));
  std::vector<packet::Packet> batch;
  for ([[maybe_unused]] auto _ : state) {
    batch.clear();
    for (std::size_t i = 0; i < kPackets; ++i) batch.push_back(pooled(pair.pool, packet));
    timed(state, [&] { benchmark::DoNotOptimize(esp::seal(pair.out, batch)); });
  }
  count_packets(state, kPackets, packet.size());
}

void esp_open(benchmark::State& state) {
  SaPair pair;
  const auto packet = inner(static_cast<std::size_t>(state.range(0)));
  std::vector<packet::Packet> batch;
  std::vector<esp::Verdict> verdicts(kPackets);
  for ([[maybe_unused]] auto _ : state) {
    batch.clear();
    for (std::size_t i = 0; i < kPackets; ++i) batch.push_back(pooled(pair.pool, packet));
    (void)esp::seal(pair.out, batch);
    timed(state, [&] { esp::open(pair.in, batch, verdicts); });
    if (verdicts.back() != esp::Verdict::opened) state.SkipWithError("what was sealed does not open");
  }
  count_packets(state, kPackets, packet.size());
}

BENCHMARK(esp_seal)->Arg(64)->Arg(256)->Arg(576)->Arg(1400)->Arg(8900)->UseManualTime();
BENCHMARK(esp_open)->Arg(64)->Arg(256)->Arg(576)->Arg(1400)->Arg(8900)->UseManualTime();

}  // namespace
