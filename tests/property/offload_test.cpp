// segment and coalesce undo one another, on generated super-packets and traffic.
#include <catch2/catch.hpp>
#include <map>
#include <random>

#include "common/packet/ip.h"
#include "common/packet/offload.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using namespace switchback::testing;

namespace {

using Random = std::mt19937;

std::size_t pick(Random& random, std::size_t low, std::size_t high) {
  return std::uniform_int_distribution<std::size_t>{low, high}(random);
}

struct Super {
  VirtioNetHeader header;
  Bytes packet;
};

PacketSpec random_spec(Random& random, bool v6) {
  PacketSpec spec;
  if (v6) spec.source = "2001:db8::1", spec.destination = "2001:db8::2";
  spec.source_port = static_cast<std::uint16_t>(random());
  spec.tos = static_cast<std::uint8_t>(random() & 0xFC);
  spec.id = static_cast<std::uint16_t>(random());
  spec.dont_fragment = pick(random, 0, 1) == 1;
  spec.seq = static_cast<std::uint32_t>(random());
  spec.window = static_cast<std::uint16_t>(random());
  spec.options.resize(4 * pick(random, 0, 10));
  for (auto& octet : spec.options) octet = static_cast<std::uint8_t>(random());
  return spec;
}

/// What a kernel hands over for a large send, its checksum left as the pseudo header's sum.
Super random_super(Random& random) {
  const bool v6 = pick(random, 0, 1) == 1, tcp = pick(random, 0, 2) != 0;
  auto spec = random_spec(random, v6);
  if (tcp) spec.flags = static_cast<std::uint8_t>(0x10U | (random() & 0x49U));  // ACK with any of FIN, PSH, ECE
  const auto size = pick(random, 100, 1400);
  const auto limit =
      tcp ? std::min<std::size_t>(65535 - 120, size * 256) : std::min<std::size_t>(65535 - 48, size * 64);
  spec.payload.resize(pick(random, size + 1, limit));
  for (auto& octet : spec.payload) octet = static_cast<std::uint8_t>(random());
  Super super;
  super.packet = tcp ? make_tcp(spec) : make_udp(spec);
  const std::size_t l3 = v6 ? 40 : 20;
  super.header.flags = kVirtioNeedsCsum;
  super.header.gso_type = tcp ? (v6 ? kVirtioGsoTcpV6 : kVirtioGsoTcpV4) : kVirtioGsoUdpL4;
  super.header.hdr_len = static_cast<std::uint16_t>(l3 + (tcp ? 20 + spec.options.size() : 8));
  super.header.gso_size = static_cast<std::uint16_t>(size);
  super.header.csum_start = static_cast<std::uint16_t>(l3);
  super.header.csum_offset = tcp ? 16 : 6;
  const auto l4 = super.packet.size() - l3;
  store_be(&super.packet[l3 + super.header.csum_offset],
           static_cast<std::uint16_t>(
               ~reference_checksum({}, reference_pseudo(addresses_of(super.packet), tcp ? 6 : 17, l4))));
  return super;
}

Bytes gather(const TunWrite& write) {
  Bytes octets;
  for (const auto& piece : write.iov) append(octets, {static_cast<const std::uint8_t*>(piece.iov_base), piece.iov_len});
  return octets;
}

std::uint8_t protocol_of(ByteView packet) { return packet[0] >> 4U == 4 ? packet[9] : packet[6]; }

}  // namespace

TEST_CASE("coalescing what was segmented gives the super-packet back", "[property][offload]") {
  const auto seed = GENERATE(range(1U, 151U));
  CAPTURE(seed);
  Random random{seed};
  PacketPool pool{16};
  PacketCarver carver{pool};
  const auto super = random_super(random);
  std::vector<Packet> segments;
  REQUIRE(segment(super.header, super.packet, carver, segments) == SegmentVerdict::ok);
  for (const auto& part : segments) {
    REQUIRE(ip_checksum_right(part.data()));
    REQUIRE(transport_checksum_right(part.data(), protocol_of(part.data())));
  }
  Coalescer coalescer{{}};
  const auto writes = coalescer.run(segments);
  REQUIRE(writes.size() == 1);
  const auto octets = gather(writes[0]);
  CHECK(VirtioNetHeader::load(octets) == super.header);
  CHECK(to_bytes(ByteView{octets}.subspan(VirtioNetHeader::kBytes)) == super.packet);
}

TEST_CASE("segmenting what was coalesced gives every flow its packets back, in order", "[property][offload]") {
  const auto seed = GENERATE(range(1U, 101U));
  CAPTURE(seed);
  Random random{seed};
  PacketPool pool{400};
  // Some flows, each with runs, gaps, acknowledgements, pushes, short and corrupted packets; interleaved.
  struct Flow {
    PacketSpec spec;
    bool tcp;
  };
  std::vector<Flow> flows(pick(random, 1, 6));
  for (std::size_t i = 0; i < flows.size(); ++i) {
    flows[i] = {random_spec(random, pick(random, 0, 1) == 1), pick(random, 0, 2) != 0};
    flows[i].spec.source_port = static_cast<std::uint16_t>(1000 + i);
  }
  std::vector<Packet> batch;
  std::map<Bytes, std::vector<Bytes>> sent;  // by flow: protocol, addresses, ports
  const auto flow_of = [](ByteView packet) {
    Bytes key{protocol_of(packet)};
    append(key, addresses_of(packet));
    append(key, packet.subspan(l3_bytes_of(packet), 4));
    return key;
  };
  for (auto count = pick(random, 1, 200); count > 0; --count) {
    auto& [spec, tcp] = flows[pick(random, 0, flows.size() - 1)];
    spec.payload = counting(pick(random, 0, 9) == 0 ? pick(random, 0, 600) : 500, static_cast<std::uint8_t>(random()));
    spec.flags = static_cast<std::uint8_t>(0x10U | (pick(random, 0, 9) == 0 ? 8U : 0U));
    if (pick(random, 0, 19) == 0) ++spec.ack;
    if (pick(random, 0, 19) == 0) spec.seq += 7;
    auto octets = tcp ? make_tcp(spec) : make_udp(spec);
    if (pick(random, 0, 19) == 0) octets.back() ^= 1U;
    spec.seq += static_cast<std::uint32_t>(spec.payload.size());
    ++spec.id;
    sent[flow_of(octets)].push_back(octets);
    batch.push_back(pooled(pool, octets));
  }

  Coalescer coalescer{{}};
  PacketPool segment_pool{64};
  PacketCarver carver{segment_pool};
  std::map<Bytes, std::vector<Bytes>> received;
  std::size_t packets = 0;
  for (const auto& write : coalescer.run(batch)) {
    const auto octets = gather(write);
    std::vector<Packet> parts;
    REQUIRE(segment(VirtioNetHeader::load(octets), ByteView{octets}.subspan(VirtioNetHeader::kBytes), carver, parts) ==
            SegmentVerdict::ok);
    REQUIRE(parts.size() == write.packets);
    packets += parts.size();
    for (const auto& part : parts) received[flow_of(part.data())].push_back(to_bytes(part.data()));
  }
  CHECK(packets == batch.size());
  REQUIRE(received.size() == sent.size());
  for (const auto& [key, expected] : sent) CHECK(received[key] == expected);
}
