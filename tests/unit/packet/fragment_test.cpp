#include <catch2/catch.hpp>

#include "common/packet/fragment.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using switchback::testing::counting;
using switchback::testing::ip_checksum_right;
using switchback::testing::make_udp;
using switchback::testing::PacketSpec;

namespace {

struct Fragments {
  PacketPool pool{4};
  PacketCarver carver{pool};
  std::vector<Packet> out;
  FragmentVerdict cut(ByteView packet, std::size_t mtu) {
    return fragment_v4(packet, parse_ip(packet).value(), mtu, carver, out);
  }
};

std::size_t offset_of(ByteView fragment) { return (load_be<std::uint16_t>(&fragment[6]) & 0x1FFFU) * std::size_t{8}; }
bool more(ByteView fragment) { return (fragment[6] & 0x20U) != 0; }

/// The payload as a receiver puts it together.
Bytes joined(const std::vector<Packet>& fragments) {
  Bytes all;
  for (const auto& fragment : fragments) {
    const auto data = fragment.data();
    CHECK(offset_of(data) == all.size());
    append(all, data.subspan((data[0] & 0x0FU) * std::size_t{4}));
  }
  return all;
}

/// A header of 32 octets: record route, which only the first fragment has, and a source route, which all have.
Bytes with_options(const Bytes& packet) {
  const Bytes options{7, 3, 4, 0x83, 7, 4, 10, 0, 0, 9, 1, 0};
  Bytes longer(packet.begin(), packet.begin() + 20);
  append(longer, options);
  append(longer, ByteView{packet}.subspan(20));
  longer[0] = 0x48;
  store_be(&longer[2], static_cast<std::uint16_t>(longer.size()));
  store_be(&longer[10], std::uint16_t{0});
  store_be(&longer[10], testing::reference_checksum(ByteView{longer}.first(32)));
  return longer;
}

}  // namespace

TEST_CASE("fragments of any MTU carry the whole payload, in multiples of eight", "[packet][rfc791]") {
  PacketSpec spec;
  spec.id = 0xBEEF;
  spec.payload = counting(1300);
  const auto packet = make_udp(spec);
  for (std::size_t mtu = 28; mtu < packet.size(); mtu += 37) {
    Fragments fragments;
    REQUIRE(fragments.cut(packet, mtu) == FragmentVerdict::ok);
    REQUIRE(fragments.out.size() > 1);
    for (std::size_t i = 0; i < fragments.out.size(); ++i) {
      const auto data = ByteView{fragments.out[i].data()};
      CHECK(data.size() <= mtu);
      CHECK(load_be<std::uint16_t>(&data[2]) == data.size());
      CHECK(load_be<std::uint16_t>(&data[4]) == 0xBEEF);
      CHECK(ip_checksum_right(to_bytes(data)));
      CHECK(more(data) == (i + 1 < fragments.out.size()));
      CHECK(fragments.out[i].headroom() >= kSendHeadroom);
      CHECK(fragments.out[i].tailroom() >= kSendTailroom);
    }
    CHECK(joined(fragments.out) == Bytes(packet.begin() + 20, packet.end()));
  }
}

TEST_CASE("a fragment is cut further: offsets go on, and only what was last is last", "[packet][rfc791]") {
  PacketSpec spec;
  spec.payload = counting(800);
  for (const bool last : {false, true}) {
    auto packet = make_udp(spec);
    store_be(&packet[6], static_cast<std::uint16_t>(100U | (last ? 0U : 0x2000U)));
    Fragments fragments;
    REQUIRE(fragments.cut(packet, 576) == FragmentVerdict::ok);
    REQUIRE(fragments.out.size() == 2);
    CHECK(offset_of(fragments.out[0].data()) == 800);
    CHECK(more(fragments.out[0].data()));
    CHECK(offset_of(fragments.out[1].data()) == 800 + 552);
    CHECK(more(fragments.out[1].data()) != last);
  }
}

TEST_CASE("options without the copied flag stay in the first fragment", "[packet][rfc791]") {
  PacketSpec spec;
  spec.payload = counting(900);
  const auto packet = with_options(make_udp(spec));
  Fragments fragments;
  REQUIRE(fragments.cut(packet, 500) == FragmentVerdict::ok);
  REQUIRE(fragments.out.size() == 2);
  const auto first = to_bytes(fragments.out[0].data());
  CHECK(first[0] == 0x48);
  CHECK(Bytes(first.begin() + 20, first.begin() + 32) == Bytes(packet.begin() + 20, packet.begin() + 32));
  const auto second = to_bytes(fragments.out[1].data());
  CHECK(second[0] == 0x47);
  CHECK(Bytes(second.begin() + 20, second.begin() + 28) == Bytes{0x83, 7, 4, 10, 0, 0, 9, 0});
  Bytes payload(first.begin() + 32, first.end());
  append(payload, ByteView{second}.subspan(28));
  CHECK(payload == Bytes(packet.begin() + 32, packet.end()));
}

TEST_CASE("options that make no sense end the copying without harm", "[packet][rfc791][hostile]") {
  PacketSpec spec;
  spec.payload = counting(900);
  for (const Bytes& bad : {Bytes{0x83, 0, 0, 0}, Bytes{0x83, 1, 0, 0}, Bytes{0x83, 200, 0, 0}, Bytes{1, 1, 1, 0x83}}) {
    auto packet = with_options(make_udp(spec));
    std::copy(bad.begin(), bad.end(), packet.begin() + 20);
    Fragments fragments;
    REQUIRE(fragments.cut(packet, 500) == FragmentVerdict::ok);
    for (const auto& fragment : fragments.out) CHECK(parse_ip(fragment.data()));
  }
}

TEST_CASE("what must not or cannot be cut is refused, and nothing is left of what memory does not last for",
          "[packet][rfc791]") {
  PacketSpec spec;
  spec.payload = counting(900);
  Fragments fragments;
  CHECK(fragments.cut(make_udp(spec), 27) == FragmentVerdict::unsupported);
  spec.dont_fragment = true;
  CHECK(fragments.cut(make_udp(spec), 500) == FragmentVerdict::unsupported);
  spec = {};
  spec.source = "2001:db8::1", spec.destination = "2001:db8::2";
  spec.payload = counting(900);
  CHECK(fragments.cut(make_udp(spec), 500) == FragmentVerdict::unsupported);
  CHECK(fragments.out.empty());

  PacketPool empty{1};
  const auto taken = empty.allocate(0);
  PacketCarver carver{empty};
  spec = {};
  spec.payload = counting(900);
  const auto packet = make_udp(spec);
  CHECK(fragment_v4(packet, parse_ip(packet).value(), 500, carver, fragments.out) == FragmentVerdict::exhausted);
  CHECK(fragments.out.empty());
}
