#include <catch2/catch.hpp>

#include "common/packet/ip.h"
#include "common/packet/offload.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using namespace switchback::testing;

namespace {

struct Fixture {
  PacketPool pool{64};
  PacketCarver carver{pool};
  std::vector<Packet> out;

  SegmentVerdict run(const VirtioNetHeader& header, ByteView packet) { return segment(header, packet, carver, out); }
  ByteView data(std::size_t i) const { return out[i].data(); }
};

PacketSpec big_tcp(bool v6, std::size_t payload) {
  PacketSpec spec;
  if (v6) spec.source = "2001:db8::1", spec.destination = "2001:db8::2";
  spec.options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};  // timestamps, as Linux sends them
  spec.payload = counting(payload);
  spec.seq = 0xFFFFFF00;  // wraps on the way
  spec.id = 0xFFFE;       // wraps too
  return spec;
}

VirtioNetHeader tso(bool v6, std::uint16_t mss) {
  VirtioNetHeader header;
  header.flags = kVirtioNeedsCsum;
  header.gso_type = v6 ? kVirtioGsoTcpV6 : kVirtioGsoTcpV4;
  header.gso_size = mss;
  header.csum_start = v6 ? 40 : 20;
  header.csum_offset = 16;
  return header;
}

std::uint8_t tcp_flags(ByteView packet) { return packet[l3_bytes_of(packet) + 13]; }

}  // namespace

TEST_CASE("a TCP super-packet is cut as a card would cut it", "[packet][offload]") {
  for (const bool v6 : {false, true}) {
    Fixture f;
    auto spec = big_tcp(v6, 3000);
    spec.flags = kTcpAck | kTcpPsh | kTcpFin | kTcpCwr | kTcpEce;
    const auto whole = make_tcp(spec);
    REQUIRE(f.run(tso(v6, 1300), whole) == SegmentVerdict::ok);
    REQUIRE(f.out.size() == 3);
    const auto l3 = v6 ? 40U : 20U;
    Bytes joined;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto part = f.data(i);
      const auto ip = parse_ip(part);
      REQUIRE(ip);
      CHECK(ip->total_bytes == part.size());
      CHECK(part.size() == l3 + 32 + (i < 2 ? 1300 : 400));
      CHECK(ip_checksum_right(part));
      CHECK(transport_checksum_right(part, 6));
      CHECK(load_be<std::uint32_t>(&part[l3 + 4]) == static_cast<std::uint32_t>(spec.seq + i * 1300));
      if (!v6) CHECK(load_be<std::uint16_t>(&part[4]) == static_cast<std::uint16_t>(spec.id + i));
      CHECK(same_bytes(part.subspan(l3 + 20, 12), spec.options));
      append(joined, part.subspan(l3 + 32));
      CHECK(f.out[i].headroom() >= kSendHeadroom);
      CHECK(f.out[i].tailroom() >= kSendTailroom);
      CHECK(f.out[i].kind == PacketKind::inner);
    }
    CHECK(joined == spec.payload);
    // RFC 3168: CWR once. FIN and PSH end the data. ECE and ACK stand on all.
    CHECK(tcp_flags(f.data(0)) == (kTcpAck | kTcpEce | kTcpCwr));
    CHECK(tcp_flags(f.data(1)) == (kTcpAck | kTcpEce));
    CHECK(tcp_flags(f.data(2)) == (kTcpAck | kTcpEce | kTcpPsh | kTcpFin));
  }
}

TEST_CASE("a UDP super-packet is cut into datagrams of their own", "[packet][offload]") {
  for (const bool v6 : {false, true}) {
    Fixture f;
    auto spec = big_tcp(v6, 2500);
    const auto whole = make_udp(spec);
    VirtioNetHeader header;
    header.flags = kVirtioNeedsCsum;
    header.gso_type = kVirtioGsoUdpL4;
    header.gso_size = 1200;
    header.csum_start = v6 ? 40 : 20;
    header.csum_offset = 6;
    REQUIRE(f.run(header, whole) == SegmentVerdict::ok);
    REQUIRE(f.out.size() == 3);
    const auto l3 = v6 ? 40U : 20U;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto payload = i < 2 ? 1200U : 100U;
      CHECK(f.data(i).size() == l3 + 8 + payload);
      CHECK(load_be<std::uint16_t>(&f.data(i)[l3 + 4]) == 8 + payload);
      CHECK(ip_checksum_right(f.data(i)));
      CHECK(transport_checksum_right(f.data(i), 17));
    }
  }
}

TEST_CASE("a full 64 KiB read at the smallest MSS is cut completely", "[packet][offload]") {
  Fixture f;
  auto spec = big_tcp(false, 65535 - 52);
  const auto whole = make_tcp(spec);
  REQUIRE(whole.size() == 65535);
  REQUIRE(f.run(tso(false, 48), whole) == SegmentVerdict::ok);
  CHECK(f.out.size() == (65535 - 52 + 47) / 48);
}

TEST_CASE("a packet without offload passes as it is", "[packet][offload]") {
  Fixture f;
  const auto packet = make_udp(PacketSpec{});
  REQUIRE(f.run({}, packet) == SegmentVerdict::ok);
  REQUIRE(f.out.size() == 1);
  CHECK(same_bytes(f.data(0), packet));
}

TEST_CASE("a checksum left to the card is completed", "[packet][offload]") {
  for (const bool tcp : {true, false}) {
    Fixture f;
    PacketSpec spec;
    spec.payload = counting(101);
    const auto right = tcp ? make_tcp(spec) : make_udp(spec);
    auto partial = right;
    const std::size_t field = 20 + (tcp ? 16U : 6U);
    const auto l4 = partial.size() - 20;
    store_be(&partial[field], static_cast<std::uint16_t>(
                                  ~reference_checksum({}, reference_pseudo(addresses_of(right), tcp ? 6 : 17, l4))));
    VirtioNetHeader header;
    header.flags = kVirtioNeedsCsum;
    header.csum_start = 20;
    header.csum_offset = tcp ? 16 : 6;
    REQUIRE(f.run(header, partial) == SegmentVerdict::ok);
    CHECK(same_bytes(f.data(0), right));
  }
}

TEST_CASE("a UDP checksum that comes out as zero is sent as ffff", "[packet][offload][rfc768]") {
  Fixture f;
  PacketSpec spec;
  spec.payload = {0, 0};
  // Chooses the payload so that the sum comes out as zero.
  auto packet = make_udp(spec);
  const auto sum = load_be<std::uint16_t>(&packet[26]);
  spec.payload = {static_cast<std::uint8_t>(sum >> 8U), static_cast<std::uint8_t>(sum)};
  packet = make_udp(spec);
  REQUIRE(load_be<std::uint16_t>(&packet[26]) == 0xFFFF);
  store_be(&packet[26], static_cast<std::uint16_t>(
                            ~reference_checksum({}, reference_pseudo(addresses_of(packet), 17, packet.size() - 20))));
  VirtioNetHeader header;
  header.flags = kVirtioNeedsCsum;
  header.csum_start = 20;
  header.csum_offset = 6;
  REQUIRE(f.run(header, packet) == SegmentVerdict::ok);
  CHECK(load_be<std::uint16_t>(&f.data(0)[26]) == 0xFFFF);
}

TEST_CASE("headers that contradict the packet are refused and leave nothing behind", "[packet][offload][hostile]") {
  Fixture f;
  const auto tcp4 = make_tcp(big_tcp(false, 3000));
  const auto good = tso(false, 1300);
  REQUIRE(f.run(good, tcp4) == SegmentVerdict::ok);
  f.out.clear();

  const auto refused = [&](SegmentVerdict verdict, auto change) {
    auto header = good;
    auto packet = tcp4;
    change(header, packet);
    CHECK(f.run(header, packet) == verdict);
    CHECK(f.out.empty());
  };
  using enum SegmentVerdict;
  refused(malformed, [](auto& h, auto&) { h.gso_size = 0; });
  refused(malformed, [](auto& h, auto&) { h.gso_size = 1; });  // 3000 segments
  refused(malformed, [](auto& h, auto&) { h.gso_type = kVirtioGsoTcpV6; });
  refused(malformed, [](auto& h, auto&) { h.gso_type = kVirtioGsoUdpL4; });
  refused(unsupported, [](auto& h, auto&) { h.gso_type = kVirtioGsoUdp; });
  refused(unsupported, [](auto& h, auto&) { h.gso_type = 2; });
  refused(unsupported, [](auto& h, auto&) { h.gso_type = kVirtioGsoEcn; });
  refused(malformed, [](auto& h, auto&) { h.csum_start = 0; });
  refused(malformed, [](auto& h, auto&) { h.csum_offset = 60000; });
  refused(malformed, [](auto&, auto& p) { p.clear(); });
  refused(malformed, [](auto&, auto& p) { p.resize(30); });
  refused(malformed, [](auto&, auto& p) { p.resize(52); });                        // length field beyond the end
  refused(malformed, [](auto&, auto& p) { store_be(&p[2], std::uint16_t{52}); });  // no payload
  refused(malformed, [](auto&, auto& p) { p[9] = 17; });
  refused(malformed, [](auto&, auto& p) { p[32] = 0x10; });  // data offset 4
  refused(malformed, [](auto&, auto& p) { p[33] |= kTcpSyn; });
  refused(unsupported, [](auto&, auto& p) { p[6] = 0x20; });  // fragment
  refused(malformed, [](auto& h, auto&) { h.gso_type = kVirtioGsoNone, h.csum_start = 8; });
  refused(malformed, [](auto& h, auto&) { h.gso_type = kVirtioGsoNone, h.csum_offset = 65535; });
  refused(malformed, [](auto& h, auto&) { h.gso_type = kVirtioGsoNone, h.csum_start = 65535; });
}

TEST_CASE("an exhausted pool gives nothing rather than half", "[packet][offload]") {
  PacketPool pool{1};
  PacketCarver carver{pool};
  std::vector<Packet> out;
  const auto whole = make_tcp(big_tcp(false, 65000));
  CHECK(segment(tso(false, 536), whole, carver, out) == SegmentVerdict::exhausted);
  CHECK(out.empty());
  carver.release();
  CHECK(pool.free_slabs() == 1);
}

TEST_CASE("the virtio header keeps the layout of linux/virtio_net.h", "[packet][offload]") {
  const VirtioNetHeader header{1, 0x81, 0x0102, 0x0304, 0x0506, 0x0708};
  Bytes octets(VirtioNetHeader::kBytes);
  header.store(octets);
  CHECK(octets[0] == 1);
  CHECK(octets[1] == 0x81);
  std::uint16_t gso_size = 0;
  std::memcpy(&gso_size, &octets[4], 2);
  CHECK(gso_size == 0x0304);
  CHECK(VirtioNetHeader::load(octets) == header);
}

TEST_CASE("small packets share a slab and give it back together", "[packet][pool]") {
  PacketPool pool{2};
  {
    PacketCarver carver{pool};
    std::vector<Packet> packets;
    for (int i = 0; i < 40; ++i) packets.push_back(carver.carve(kSendHeadroom, 1400, kSendTailroom));
    CHECK(pool.free_slabs() == 1);
    for (auto& packet : packets) {
      REQUIRE(packet);
      CHECK(packet.headroom() == kSendHeadroom);
      CHECK(packet.tailroom() >= 1400 + kSendTailroom);
    }
    // Rooms do not overlap.
    for (std::uint8_t i = 0; i < 40; ++i) std::ranges::fill(packets[i].append(1400 + kSendTailroom), i);
    for (std::uint8_t i = 0; i < 40; ++i) CHECK(packets[i].data().front() == i);
  }
  CHECK(pool.free_slabs() == 2);
}
