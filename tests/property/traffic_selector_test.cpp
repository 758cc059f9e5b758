// The algebra of traffic selectors, against membership of single packets.
#include <catch2/catch.hpp>
#include <random>

#include "common/packet/selector_matcher.h"
#include "common/packet/traffic_selector.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using namespace switchback::testing;

namespace {

using Random = std::mt19937;

// A small universe, so that ranges meet often.
IpAddress random_address(Random& random, bool v6) {
  const auto low = static_cast<std::uint8_t>(random() % 32);
  if (!v6) return IpAddress::v4(0x0A000000U + low);
  std::array<std::uint8_t, 16> octets{0x20, 0x01};
  octets[15] = low;
  if (random() % 4 == 0) octets[7] = static_cast<std::uint8_t>(random() % 2);
  return IpAddress::from_bytes(octets);
}

TrafficSelector random_selector(Random& random) {
  const bool v6 = random() % 4 == 0;
  TrafficSelector selector;
  selector.first = random_address(random, v6);
  selector.last = random_address(random, v6);
  if (selector.last < selector.first && random() % 20 != 0) std::swap(selector.first, selector.last);
  if (random() % 2 == 0) selector.ip_protocol = random() % 2 == 0 ? 6 : 17;
  switch (random() % 4) {
    case 0:
      selector.first_port = static_cast<std::uint16_t>(random() % 8);
      selector.last_port = static_cast<std::uint16_t>(selector.first_port + random() % 8);
      break;
    case 1:
      selector.first_port = 65535;
      selector.last_port = 0;
      break;
    default: break;
  }
  return selector;
}

struct Probe {
  IpAddress address;
  std::uint8_t protocol;
  std::optional<std::uint16_t> port;
};
Probe random_probe(Random& random) {
  Probe probe{random_address(random, random() % 4 == 0), static_cast<std::uint8_t>(random() % 2 == 0 ? 6 : 17), {}};
  if (random() % 4 != 0) probe.port = static_cast<std::uint16_t>(random() % 16);
  return probe;
}
bool holds(const TrafficSelector& selector, const Probe& probe) {
  return contains(selector, probe.address, probe.protocol, probe.port);
}
bool holds(const TrafficSelectors& selectors, const Probe& probe) {
  return contains(selectors, probe.address, probe.protocol, probe.port);
}

}  // namespace

TEST_CASE("an intersection holds exactly the packets that both hold", "[property][ts]") {
  Random random{11};
  for (int round = 0; round < 20000; ++round) {
    const auto a = random_selector(random), b = random_selector(random);
    const auto both = intersect(a, b);
    REQUIRE(both == intersect(b, a));
    if (is_valid(a)) REQUIRE(intersect(a, a) == a);
    if (both) {
      REQUIRE(is_valid(*both));
      REQUIRE(covers(a, *both));
      REQUIRE(covers(b, *both));
    }
    for (int i = 0; i < 10; ++i) {
      const auto probe = random_probe(random);
      REQUIRE((both && holds(*both, probe)) == (holds(a, probe) && holds(b, probe)));
    }
  }
}

TEST_CASE("narrowed lists hold exactly what offer and policy hold", "[property][ts]") {
  Random random{12};
  for (int round = 0; round < 3000; ++round) {
    TrafficSelectors offered(random() % 6), policy(random() % 6);
    for (auto& selector : offered) selector = random_selector(random);
    for (auto& selector : policy) selector = random_selector(random);
    const auto narrowed = narrow(offered, policy);
    for (std::size_t i = 0; i < narrowed.size(); ++i) {
      for (std::size_t j = 0; j < narrowed.size(); ++j) REQUIRE((i == j || !covers(narrowed[i], narrowed[j])));
    }
    REQUIRE(narrow(narrowed, policy) == narrowed);  // narrowing again changes nothing
    for (int i = 0; i < 30; ++i) {
      const auto probe = random_probe(random);
      REQUIRE(holds(narrowed, probe) == (holds(offered, probe) && holds(policy, probe)));
    }
  }
}

TEST_CASE("the prefixes of a range tile it", "[property][ts]") {
  Random random{13};
  for (int round = 0; round < 5000; ++round) {
    TrafficSelector selector;
    const bool v6 = random() % 2 == 0;
    std::array<std::uint8_t, 16> a{}, b{};
    const std::size_t size = v6 ? 16 : 4;
    for (std::size_t i = 0; i < size; ++i) {
      a[i] = static_cast<std::uint8_t>(random());
      b[i] = random() % 3 == 0 ? static_cast<std::uint8_t>(random()) : a[i];
    }
    selector.first = IpAddress::from_bytes(ByteView{a}.first(size));
    selector.last = IpAddress::from_bytes(ByteView{b}.first(size));
    if (selector.last < selector.first) std::swap(selector.first, selector.last);
    const auto prefixes = to_prefixes(selector);
    REQUIRE(prefixes.size() <= 2U * selector.first.bits() - 2);
    auto next = selector.first;
    for (const auto& prefix : prefixes) {
      REQUIRE(prefix.first() == next);
      REQUIRE(prefix.address == next);
      next = prefix.last().plus(1);
    }
    REQUIRE(prefixes.back().last() == selector.last);
  }
}

TEST_CASE("the compiled matcher decides like contains()", "[property][ts]") {
  Random random{14};
  for (int round = 0; round < 2000; ++round) {
    TrafficSelectors selectors(random() % 5);
    for (auto& selector : selectors) selector = random_selector(random);
    const SelectorMatcher matcher{selectors};
    for (int i = 0; i < 10; ++i) {
      const bool v6 = random() % 4 == 0;
      PacketSpec spec;
      spec.source = random_address(random, v6).to_string();
      spec.destination = random_address(random, v6).to_string();
      spec.source_port = static_cast<std::uint16_t>(random() % 16);
      spec.destination_port = static_cast<std::uint16_t>(random() % 16);
      const bool tcp = random() % 2 == 0;
      auto packet = tcp ? make_tcp(spec) : make_udp(spec);
      const bool later = !v6 && random() % 4 == 0;
      if (later) packet[7] = 9;
      const auto ip = parse_ip(packet);
      REQUIRE(ip);
      const auto port = [&](std::uint16_t value) { return later ? std::nullopt : std::optional{value}; };
      const std::uint8_t protocol = tcp ? 6 : 17;
      REQUIRE(matcher.matches_source(packet, *ip) ==
              contains(selectors, source_address(packet, *ip), protocol, port(spec.source_port)));
      REQUIRE(matcher.matches_destination(packet, *ip) ==
              contains(selectors, destination_address(packet, *ip), protocol, port(spec.destination_port)));
    }
  }
}
