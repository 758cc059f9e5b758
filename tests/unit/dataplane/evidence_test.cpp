// What the packet thread tells transports of the packets that it opened.
#include <catch2/catch.hpp>

#include "tests/unit/dataplane/fake_wire.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::testing;
using namespace switchback::transports;

namespace {

constexpr std::uint8_t kInterface = 3;

AddressPair path_from(const char* address) {
  return {*Endpoint::parse("198.51.100.1:4500"), {*IpAddress::parse(address), 4000}, kUdpTransport};
}

/// A headend, and ESP packets that its client has sealed.
struct Arriving {
  Arriving() : client{options(false)}, headend{options(true)} {
    wire.client[kUdpTransport].peer = nullptr;
    client.plane->install(StaticChild{}.make({path.remote, path.local, kUdpTransport}));
    headend.plane->install(StaticChild{}.mirrored().make(path));
    client.plane->start();
    headend.plane->start();
  }
  EndOptions options(bool is_headend) const {
    EndOptions made;
    made.registry = &wire.registry;
    made.headend = is_headend;
    return made;
  }
  /// @param joined  packet::Arrival's
  std::vector<FakePort::Frame> sealed(std::size_t count, std::uint8_t joined, const AddressPair& by) {
    const auto before = wire.client[kUdpTransport].sent().size();
    for (std::size_t i = 0; i < count; ++i) {
      PacketSpec spec;
      spec.source = "10.9.0.1";
      spec.destination = "10.9.0.2";
      spec.payload = counting(100, 0);
      client.route(make_udp(spec));
    }
    REQUIRE(until([&] { return wire.client[kUdpTransport].sent().size() == before + count; }));
    auto all = wire.client[kUdpTransport].sent();
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(before));
    for (auto& frame : all) {
      frame.path = by;
      frame.arrival = {kInterface, joined};
    }
    return all;
  }
  void arrive(const std::vector<FakePort::Frame>& frames) {
    auto& port = wire.headend[kUdpTransport];
    port.arrive_together(frames);
    const auto seen = [&] {
      const auto counts = headend.plane->counters();
      return counts.inner_received + counts.esp_forged + counts.esp_malformed + counts.unknown_spi;
    };
    arrived += frames.size();
    REQUIRE(until([&] { return seen() == arrived; }));
    headend.plane->settle();
  }
  [[nodiscard]] std::vector<ArrivalEvidence> evidence() const { return wire.headend[kUdpTransport].evidence(); }

  FakeWire wire;
  const AddressPair path = path_from("192.0.2.1"), stranger = path_from("203.0.113.9");
  End client, headend;
  std::size_t arrived = 0;
};

void spoil(FakePort::Frame& frame) { frame.octets.back() ^= 1U; }
void lose_spi(FakePort::Frame& frame) { frame.octets[1] ^= 0x40U; }

}  // namespace

TEST_CASE("a transport hears how many packets of each joined message were authentic, and of single ones together",
          "[dataplane][offload]") {
  Arriving arriving;
  auto first = arriving.sealed(5, 1, arriving.path);
  spoil(first[1]);
  lose_spi(first[4]);
  const auto second = arriving.sealed(2, 2, arriving.path);
  auto single = arriving.sealed(3, 0, arriving.path);
  spoil(single[2]);
  first.insert(first.end(), second.begin(), second.end());
  first.insert(first.end(), single.begin(), single.end());
  arriving.arrive(first);
  const auto evidence = arriving.evidence();
  REQUIRE(evidence.size() == 3);
  CHECK(evidence[0].interface == kInterface);
  CHECK(evidence[0].joined);
  CHECK(evidence[0].authentic == 3);
  CHECK(evidence[0].failed == 2);
  CHECK(evidence[0].flow == evidence[1].flow);
  CHECK(evidence[1].authentic == 2);
  CHECK(evidence[1].failed == 0);
  CHECK_FALSE(evidence[2].joined);
  CHECK(evidence[2].authentic == 2);
  CHECK(evidence[2].failed == 1);
}

TEST_CASE("a joined message without anything authentic counts if it came by the path in use", "[dataplane][offload]") {
  Arriving arriving;
  auto cut_wrongly = arriving.sealed(4, 1, arriving.path);
  spoil(cut_wrongly[0]);
  for (std::size_t i = 1; i < 4; ++i) lose_spi(cut_wrongly[i]);
  arriving.arrive(cut_wrongly);
  REQUIRE(arriving.evidence().size() == 1);
  CHECK(arriving.evidence()[0].failed == 4);
  CHECK(arriving.evidence()[0].authentic == 0);
}

TEST_CASE("what strangers send is no evidence, whatever SPI they guess and however it is joined",
          "[dataplane][offload]") {
  Arriving arriving;
  arriving.arrive(arriving.sealed(2, 0, arriving.path));
  const auto before = arriving.evidence().size();
  for (const auto joined : {std::uint8_t{0}, std::uint8_t{1}}) {
    auto forged = arriving.sealed(6, joined, arriving.stranger);
    for (auto& frame : forged) spoil(frame);
    lose_spi(forged[5]);
    arriving.arrive(forged);
  }
  CHECK(arriving.evidence().size() == before);
}
