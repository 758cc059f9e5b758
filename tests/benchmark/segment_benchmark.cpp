// Cutting what one read of the TUN gives: a TCP super-packet of 64 KiB, a run of UDP datagrams, a single packet.
#include "common/packet/offload.h"
#include "tests/benchmark/manual_time.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using namespace switchback::testing;

namespace {

VirtioNetHeader gso(bool v6, bool tcp, std::uint16_t size) {
  VirtioNetHeader header;
  header.flags = kVirtioNeedsCsum;
  header.gso_type = tcp ? (v6 ? kVirtioGsoTcpV6 : kVirtioGsoTcpV4) : kVirtioGsoUdpL4;
  header.gso_size = size;
  header.csum_start = v6 ? 40 : 20;
  header.csum_offset = tcp ? 16 : 6;
  return header;
}

Bytes inner(bool v6, bool tcp, std::size_t payload) {
  PacketSpec spec;
  if (v6) spec.source = "2001:db8::1", spec.destination = "2001:db8::2";
  spec.payload = counting(payload);
  if (!tcp) return make_udp(spec);
  spec.options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};  // timestamps, as Linux sends them
  return make_tcp(spec);
}

void cut(benchmark::State& state, const VirtioNetHeader& header, const Bytes& packet) {
  PacketPool pool{16};
  PacketCarver carver{pool};
  std::vector<Packet> out;
  for ([[maybe_unused]] auto _ : state) {
    if (segment(header, packet, carver, out) != SegmentVerdict::ok) state.SkipWithError("not cut");
    state.counters["pieces"] = static_cast<double>(out.size());
    out.clear();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(packet.size()));
}

void segment_tcp(benchmark::State& state) {
  const bool v6 = state.range(0) == 6;
  cut(state, gso(v6, true, 1348), inner(v6, true, 48 * 1348));
}
void segment_udp(benchmark::State& state) {
  const auto size = static_cast<std::uint16_t>(state.range(0));
  cut(state, gso(false, false, size), inner(false, false, std::size_t{64000} / size * size));
}
void segment_single(benchmark::State& state) {
  cut(state, {}, inner(false, false, static_cast<std::size_t>(state.range(0)) - 28));
}

BENCHMARK(segment_tcp)->ArgName("ip")->Arg(4)->Arg(6);
BENCHMARK(segment_udp)->ArgName("payload")->Arg(1372)->Arg(1200);
BENCHMARK(segment_single)->ArgName("octets")->Arg(64)->Arg(1400);

}  // namespace
