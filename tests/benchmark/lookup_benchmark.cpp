// Which SA: inbound by SPI, as the packet thread keeps them, and outbound by the inner destination.
#include <benchmark/benchmark.h>

#include <map>
#include <memory>
#include <random>
#include <unordered_map>

#include "tests/unit/dataplane/ends.h"
#include "tests/unit/packet/builders.h"
#include "transports/dataplane/outbound_table.h"

using namespace switchback;
using namespace switchback::testing;
using namespace switchback::transports;

namespace {

constexpr std::size_t kProbes = 4096;  // so many packets, of random clients, take turns

/// Of the size of a Child, so that the cache sees what it would see; Children themselves would fill memory with keys.
struct Stand {
  Spi spi;
  std::array<std::uint8_t, 4096> rest{};
};

/// Worker::find(Spi): the same map, and a look at what it found.
void sa_by_spi(benchmark::State& state) {
  std::mt19937 random{1};
  std::unordered_map<Spi, std::unique_ptr<Stand>> children;
  std::vector<Spi> spis;
  for (int i = 0; i < state.range(0); ++i) {
    const Spi spi{static_cast<std::uint32_t>(random())};
    spis.push_back(spi);
    children[spi] = std::make_unique<Stand>();
    children[spi]->spi = spi;
  }
  std::vector<Spi> probes(kProbes);
  for (auto& probe : probes) probe = spis[random() % spis.size()];
  std::size_t at = 0;
  for ([[maybe_unused]] auto _ : state) {
    const auto found = children.find(probes[at]);
    benchmark::DoNotOptimize(found->second->spi.value);
    at = (at + 1) % kProbes;
  }
  state.SetItemsProcessed(state.iterations());
}

IpAddress client(std::uint32_t number) { return IpAddress::v4(0x0A630000U + number); }

/// A headend's table: one host for each client. Children take long to make, so each size is made once and kept.
struct HeadendTable {
  std::vector<std::unique_ptr<Child>> children;
  OutboundTable table;
  std::vector<Bytes> packets;  // to random clients

  explicit HeadendTable(std::uint32_t clients) {
    for (std::uint32_t i = 0; i < clients; ++i) {
      StaticChild fixed;
      fixed.local = {"0.0.0.0/0"};
      fixed.remote = {client(i).to_string() + "/32"};
      children.push_back(std::make_unique<Child>(fixed.make({})));
      table.add(*children.back());
    }
    std::mt19937 random{1};
    for (std::size_t i = 0; i < kProbes; ++i) {
      PacketSpec spec;
      spec.destination = client(static_cast<std::uint32_t>(random()) % clients).to_string();
      packets.push_back(make_udp(spec));
    }
  }
  [[nodiscard]] static const HeadendTable& of(std::uint32_t clients) {
    static std::map<std::uint32_t, HeadendTable> made;
    return made.try_emplace(clients, clients).first->second;
  }
};

void outbound_by_host(benchmark::State& state) {
  const auto& headend = HeadendTable::of(static_cast<std::uint32_t>(state.range(0)));
  std::size_t at = 0;
  for ([[maybe_unused]] auto _ : state) {
    const auto& packet = headend.packets[at];
    benchmark::DoNotOptimize(headend.table.find(packet, *packet::parse_ip(packet)));
    at = (at + 1) % kProbes;
  }
  state.SetItemsProcessed(state.iterations());
}

/// A client's table: a few networks.
void outbound_by_range(benchmark::State& state) {
  StaticChild fixed;
  fixed.local = {"0.0.0.0/0"};
  fixed.remote = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.51.100.0/24"};
  Child child{fixed.make({})};
  OutboundTable table;
  table.add(child);
  PacketSpec spec;
  spec.destination = "192.168.3.4";
  const auto packet = make_udp(spec);
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(table.find(packet, *packet::parse_ip(packet)));
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(sa_by_spi)->ArgName("sas")->Arg(1)->Arg(1000)->Arg(10000);
BENCHMARK(outbound_by_host)->ArgName("clients")->Arg(1)->Arg(1000)->Arg(10000);
BENCHMARK(outbound_by_range);

}  // namespace
