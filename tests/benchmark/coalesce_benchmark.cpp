// Putting packets together again for one write to the TUN: one flow, several interleaved, and what cannot be merged.
#include "common/packet/offload.h"
#include "tests/benchmark/manual_time.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using namespace switchback::testing;

namespace {

constexpr std::size_t kPackets = 128;

void run(benchmark::State& state, const std::vector<Bytes>& packets) {
  PacketPool pool{kPackets};
  Coalescer coalescer{{}};
  std::vector<Packet> batch;
  std::size_t octets = 0;
  for (const auto& packet : packets) octets += packet.size();
  for ([[maybe_unused]] auto _ : state) {
    batch.clear();  // the coalescer changes headers, so each round begins with fresh ones
    for (const auto& packet : packets) batch.push_back(pooled(pool, packet));
    timed(state, [&] { state.counters["writes"] = static_cast<double>(coalescer.run(batch).size()); });
  }
  count_packets(state, packets.size(), octets / packets.size());
}

/// @param range  flows that take turns
void coalesce_tcp(benchmark::State& state) {
  const auto flows = static_cast<std::size_t>(state.range(0));
  std::vector<Bytes> packets;
  for (std::size_t i = 0; i < kPackets; ++i) {
    PacketSpec spec;
    spec.source_port = static_cast<std::uint16_t>(1000 + i % flows);
    spec.options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
    spec.seq += static_cast<std::uint32_t>(i / flows * 1348);
    spec.id = static_cast<std::uint16_t>(i / flows);
    spec.payload = counting(1348);
    packets.push_back(make_tcp(spec));
  }
  run(state, packets);
}

void coalesce_udp(benchmark::State& state) {
  std::vector<Bytes> packets;
  for (std::size_t i = 0; i < kPackets; ++i) {
    PacketSpec spec;
    spec.id = static_cast<std::uint16_t>(i);
    spec.payload = counting(static_cast<std::size_t>(state.range(0)));
    packets.push_back(make_udp(spec));
  }
  run(state, packets);
}

/// Acknowledgements without data: nothing to merge, but to be looked at.
void coalesce_acks(benchmark::State& state) {
  std::vector<Bytes> packets;
  for (std::size_t i = 0; i < kPackets; ++i) {
    PacketSpec spec;
    spec.ack += static_cast<std::uint32_t>(i * 2696);
    packets.push_back(make_tcp(spec));
  }
  run(state, packets);
}

BENCHMARK(coalesce_tcp)->ArgName("flows")->Arg(1)->Arg(4)->Arg(32)->UseManualTime();
BENCHMARK(coalesce_udp)->ArgName("payload")->Arg(36)->Arg(1372)->UseManualTime();
BENCHMARK(coalesce_acks)->UseManualTime();

}  // namespace
