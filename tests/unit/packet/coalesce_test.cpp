#include <catch2/catch.hpp>

#include "common/packet/ip.h"
#include "common/packet/offload.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using namespace switchback::testing;

namespace {

struct Fixture {
  PacketPool pool{600};
  std::vector<Packet> batch;

  void add(ByteView octets) { batch.push_back(pooled(pool, octets)); }
  /// Writes as the kernel would see them.
  struct Written {
    VirtioNetHeader header;
    Bytes packet;
    std::uint32_t packets;
  };
  std::vector<Written> run(CoalesceMode mode = {}) {
    Coalescer coalescer{mode};
    std::vector<Written> all;
    for (const auto& write : coalescer.run(batch)) {
      Bytes octets;
      for (const auto& piece : write.iov)
        append(octets, {static_cast<const std::uint8_t*>(piece.iov_base), piece.iov_len});
      CHECK(octets.size() == write.bytes);
      Written written;
      written.packets = write.packets;
      if (mode.vnet_header) {
        written.header = VirtioNetHeader::load(octets);
        octets.erase(octets.begin(), octets.begin() + VirtioNetHeader::kBytes);
      }
      written.packet = octets;
      all.push_back(std::move(written));
    }
    return all;
  }
};

PacketSpec flow(std::uint16_t port, bool v6 = false) {
  PacketSpec spec;
  if (v6) spec.source = "2001:db8::1", spec.destination = "2001:db8::2";
  spec.source_port = port;
  spec.options = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
  return spec;
}

/// The i-th of a run of segments of this size.
PacketSpec nth(PacketSpec spec, unsigned i, std::size_t size, std::size_t full = 1000) {
  spec.seq += static_cast<std::uint32_t>(i * full);
  spec.id = static_cast<std::uint16_t>(spec.id + i);
  spec.payload = counting(size, static_cast<std::uint8_t>(i));
  return spec;
}

}  // namespace

TEST_CASE("consecutive segments become one write with a checksum left to the kernel", "[packet][offload]") {
  for (const bool v6 : {false, true}) {
    Fixture f;
    const auto l3 = v6 ? 40U : 20U;
    for (unsigned i = 0; i < 5; ++i) f.add(make_tcp(nth(flow(1, v6), i, i < 4 ? 1000 : 300)));
    const auto writes = f.run();
    REQUIRE(writes.size() == 1);
    const auto& [header, packet, packets] = writes[0];
    CHECK(packets == 5);
    CHECK(packet.size() == l3 + 32 + 4300);
    CHECK(header.flags == kVirtioNeedsCsum);
    CHECK(header.gso_type == (v6 ? kVirtioGsoTcpV6 : kVirtioGsoTcpV4));
    CHECK(header.gso_size == 1000);
    CHECK(header.hdr_len == l3 + 32);
    CHECK(header.csum_start == l3);
    CHECK(header.csum_offset == 16);
    CHECK(parse_ip(packet)->total_bytes == packet.size());
    CHECK(ip_checksum_right(packet));
    // The field holds the pseudo header's sum, not complemented.
    CHECK(load_be<std::uint16_t>(&packet[l3 + 16]) ==
          static_cast<std::uint16_t>(
              ~reference_checksum({}, reference_pseudo(addresses_of(packet), 6, packet.size() - l3))));
  }
}

TEST_CASE("flows interleaved in a batch are merged each", "[packet][offload]") {
  Fixture f;
  for (unsigned i = 0; i < 4; ++i) {
    for (std::uint16_t port = 1; port <= 3; ++port) f.add(make_tcp(nth(flow(port), i, 1000)));
  }
  const auto writes = f.run();
  REQUIRE(writes.size() == 3);
  for (const auto& write : writes) CHECK(write.packets == 4);
}

TEST_CASE("whatever differs between headers keeps segments apart", "[packet][offload][gro]") {
  const auto apart = [](auto change, bool v6 = false) {
    Fixture f;
    f.add(make_tcp(nth(flow(1, v6), 0, 1000)));
    auto second = nth(flow(1, v6), 1, 1000);
    change(second);
    f.add(make_tcp(second));
    CHECK(f.run().size() == 2);
  };
  apart([](auto& s) { s.seq += 1; });
  apart([](auto& s) { s.seq -= 1000; });
  apart([](auto& s) { s.ack += 1; });
  apart([](auto& s) { s.window += 1; });
  apart([](auto& s) { s.options[7] += 1; });
  apart([](auto& s) { s.options.resize(8); });
  apart([](auto& s) { s.tos = 1; });
  apart([](auto& s) { s.ttl = 63; });
  apart([](auto& s) { s.id = 77; });
  apart([](auto& s) { s.dont_fragment = true; });
  apart([](auto& s) { s.flags |= kTcpCwr; });
  apart([](auto& s) { s.flags |= kTcpEce; });
  apart([](auto& s) { s.flags |= kTcpUrg; });
  apart([](auto& s) { s.flags |= kTcpSyn; });
  apart([](auto& s) { s.flags = kTcpRst; });
  apart([](auto& s) { s.payload.resize(1001); });
  apart([](auto& s) { s.payload.clear(); });
  apart([](auto& s) { s.destination_port = 444; });
  apart([](auto& s) { s.destination = "10.0.0.3"; });
  apart([](auto& s) { s.flow_label = 7; }, true);
  apart([](auto& s) { s.tos = 1; }, true);
  apart([](auto& s) { s.ttl = 63; }, true);
}

TEST_CASE("with DF set the identification does not matter", "[packet][offload][rfc6864]") {
  Fixture f;
  for (unsigned i = 0; i < 3; ++i) {
    auto spec = nth(flow(1), i, 1000);
    spec.dont_fragment = true;
    spec.id = static_cast<std::uint16_t>(i * 7919);
    f.add(make_tcp(spec));
  }
  CHECK(f.run().size() == 1);
}

TEST_CASE("a short segment, PSH and FIN end a run and are kept", "[packet][offload][gro]") {
  Fixture f;
  auto pushed = nth(flow(1), 1, 1000);
  pushed.flags |= kTcpPsh;
  f.add(make_tcp(nth(flow(1), 0, 1000)));
  f.add(make_tcp(pushed));
  f.add(make_tcp(nth(flow(1), 2, 1000)));
  f.add(make_tcp(nth(flow(1), 3, 10)));
  auto last = nth(flow(1), 3, 10);
  last.seq += 10;
  last.id += 1;
  last.flags |= kTcpFin;
  f.add(make_tcp(last));
  const auto writes = f.run();
  REQUIRE(writes.size() == 3);
  CHECK(writes[0].packets == 2);
  CHECK(writes[0].packet[33] == (kTcpAck | kTcpPsh));
  CHECK(writes[1].packets == 2);
  CHECK(writes[1].packet[33] == kTcpAck);
  CHECK(writes[2].packets == 1);
  CHECK(writes[2].packet[33] == (kTcpAck | kTcpFin));
}

TEST_CASE("a pure acknowledgement passes untouched and is not overtaken by its flow", "[packet][offload]") {
  Fixture f;
  auto ack = flow(1);
  ack.seq += 1000;
  const auto pure = make_tcp(ack);
  f.add(make_tcp(nth(flow(1), 0, 1000)));
  f.add(pure);
  f.add(make_tcp(nth(flow(1), 1, 1000)));
  f.add(make_tcp(nth(flow(1), 2, 1000)));
  const auto writes = f.run();
  REQUIRE(writes.size() == 3);
  CHECK(writes[1].packet == pure);
  CHECK(writes[1].header == VirtioNetHeader{});
  CHECK(writes[2].packets == 2);
}

TEST_CASE("a fragment, whose flow cannot be told, is overtaken by nothing", "[packet][offload]") {
  Fixture f;
  auto fragment = make_udp(flow(9));
  fragment[6] = 0x20;
  f.add(make_tcp(nth(flow(1), 0, 1000)));
  f.add(fragment);
  f.add(make_tcp(nth(flow(1), 1, 1000)));
  const auto writes = f.run();
  REQUIRE(writes.size() == 3);
  CHECK(writes[1].packet == fragment);
}

TEST_CASE("a wrong checksum is never healed by merging", "[packet][offload][hostile]") {
  for (unsigned bad = 0; bad < 3; ++bad) {
    for (const std::size_t at : {std::size_t{10}, std::size_t{36}, std::size_t{500}}) {  // IP, TCP, payload
      Fixture f;
      for (unsigned i = 0; i < 3; ++i) {
        auto packet = make_tcp(nth(flow(1), i, 1000));
        if (i == bad) packet[at] ^= 0x40U;
        f.add(packet);
      }
      const auto writes = f.run();
      std::size_t alone_and_wrong = 0;
      for (const auto& write : writes) {
        const bool right = ip_checksum_right(write.packet) && transport_checksum_right(write.packet, 6);
        if (write.packets == 1 && !right) ++alone_and_wrong;
      }
      CHECK(alone_and_wrong == 1);
    }
  }
}

TEST_CASE("a super-packet never passes 65535 octets", "[packet][offload]") {
  Fixture f;
  for (unsigned i = 0; i < 60; ++i) f.add(make_tcp(nth(flow(1), i, 1400, 1400)));
  const auto writes = f.run();
  REQUIRE(writes.size() == 2);
  CHECK(writes[0].packets == 46);
  CHECK(writes[0].packet.size() <= 65535);
  CHECK(writes[1].packets == 14);
}

TEST_CASE("datagrams of equal size become one write, the last may be shorter", "[packet][offload]") {
  Fixture f;
  for (unsigned i = 0; i < 5; ++i) f.add(make_udp(nth(flow(5), i, i < 4 ? 1200 : 7)));
  f.add(make_udp(nth(flow(5), 5, 1200)));
  const auto writes = f.run();
  REQUIRE(writes.size() == 2);
  CHECK(writes[0].packets == 5);
  CHECK(writes[0].header.gso_type == kVirtioGsoUdpL4);
  CHECK(writes[0].header.gso_size == 1200);
  CHECK(writes[0].header.csum_offset == 6);
  CHECK(load_be<std::uint16_t>(&writes[0].packet[24]) == 8 + 4 * 1200 + 7);
}

TEST_CASE("datagrams without checksum or with a length of their own stay alone", "[packet][offload]") {
  Fixture f;
  for (unsigned i = 0; i < 2; ++i) {
    auto packet = make_udp(nth(flow(5), i, 1200));
    packet[26] = packet[27] = 0;
    f.add(packet);
  }
  for (unsigned i = 0; i < 2; ++i) {
    auto packet = make_udp(nth(flow(6), i, 1200));
    store_be(&packet[24], std::uint16_t{1000});
    f.add(packet);
  }
  CHECK(f.run().size() == 4);
}

TEST_CASE("without a virtio header, and in modes turned off, nothing is merged", "[packet][offload]") {
  Fixture f;
  std::vector<Bytes> originals;
  for (unsigned i = 0; i < 3; ++i) originals.push_back(make_tcp(nth(flow(1), i, 1000)));
  for (unsigned i = 0; i < 3; ++i) originals.push_back(make_udp(nth(flow(2), i, 1000)));
  for (const auto& packet : originals) f.add(packet);
  const auto writes = f.run({.vnet_header = false});
  REQUIRE(writes.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) CHECK(writes[i].packet == originals[i]);
  CHECK(f.run({.tcp = false}).size() == 4);
  Fixture g;
  for (const auto& packet : originals) g.add(packet);
  CHECK(g.run({.udp = false}).size() == 4);
}

TEST_CASE("what is no IP packet is handed on alone and empty packets are skipped", "[packet][offload][hostile]") {
  Fixture f;
  f.add(Bytes{1, 2, 3});
  f.add(Bytes{});
  f.batch.emplace_back();
  f.add(Bytes{0x45});
  const auto writes = f.run();
  REQUIRE(writes.size() == 2);
  CHECK(writes[0].packet == Bytes{1, 2, 3});
}

TEST_CASE("a coalescer starts every batch afresh", "[packet][offload]") {
  Coalescer coalescer{{}};
  PacketPool pool{8};
  for (int round = 0; round < 3; ++round) {
    std::vector<Packet> batch;
    for (unsigned i = 0; i < 4; ++i) batch.push_back(pooled(pool, make_tcp(nth(flow(1), i, 1000))));
    const auto writes = coalescer.run(batch);
    REQUIRE(writes.size() == 1);
    CHECK(writes[0].first == 0);
  }
  CHECK(coalescer.run({}).empty());
}
