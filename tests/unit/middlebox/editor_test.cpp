#include "tools/middlebox/editor.h"

#include <catch2/catch.hpp>

#include "tests/unit/middlebox/flow_builder.h"
#include "tools/middlebox/ip_packet.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;
using namespace transports::ctcp;

namespace {

const FlowKey kFlow{6, {*IpAddress::parse("10.0.0.2"), 40000}, {*IpAddress::parse("192.0.2.1"), 10000}};

/// A segment as it arrives in a packet, with all options.
Segment arrived(Direction direction, TcpHeader header, std::size_t octets) {
  Segment made;
  made.direction = direction;
  made.header = header;
  made.payload.resize(octets, 0x5A);
  auto packet = packet_of(kFlow, std::move(made));
  packet[1] = 0xB8;  // a DSCP, which nothing here may change
  packet[8] = 33;
  return *segment_of(direction, packet, *packet::parse_ip(packet));
}

Segment passed(Device& device, Segment segment) {
  Output out;
  device.handle(std::move(segment), Instant{}, out);
  REQUIRE(out.forward.size() == 1);
  return std::move(out.forward[0]);
}

TcpHeader syn() {
  TcpHeader header{40000, 10000, 0xFFFFFFF0, 0, kSyn, 65535, {}};
  header.options.mss = 1460;
  header.options.window_scale = 7;
  header.options.sack_permitted = true;
  header.options.timestamps = Timestamps{77, 0};
  return header;
}

}  // namespace

TEST_CASE("sequence numbers are randomized in both directions, ACKs and SACK blocks match", "[middlebox]") {
  Editor editor{{.randomize_isn = true}, {1000, 0xFFFFFF00}};
  CHECK(passed(editor, arrived(Direction::outward, syn(), 0)).header.sequence == 0xFFFFFFF0 + 1000);
  TcpHeader back{10000, 40000, 500, 0xFFFFFFF1 + 1000, kAck, 100, {}};
  back.options.sack_count = 1;
  back.options.sack[0] = {0xFFFFFFF1 + 1000 + 100, 0xFFFFFFF1 + 1000 + 200};
  const auto inward = passed(editor, arrived(Direction::inward, back, 5));
  CHECK(inward.header.sequence == 500 - 0x100);
  CHECK(inward.header.acknowledgement == 0xFFFFFFF1);
  CHECK(inward.header.options.sack[0] == SackBlock{0xFFFFFFF1 + 100, 0xFFFFFFF1 + 200});
}

TEST_CASE("an edited packet keeps all else, and its checksum is right", "[middlebox]") {
  Editor editor{
      {.randomize_isn = true, .strip_sack = true, .strip_timestamps = true, .strip_window_scale = true, .mss = 1200},
      {1000, 2000}};
  auto segment = arrived(Direction::outward, syn(), 0);
  const auto before = segment.original;
  const auto after = packet_of(kFlow, passed(editor, std::move(segment)));
  const auto ip = packet::parse_ip(after);
  REQUIRE(ip);
  CHECK(after.size() == before.size());
  CHECK(std::equal(after.begin(), after.begin() + 20, before.begin()));
  CHECK(tcp_checksum_right(after, *ip));
  const auto header = segment_of(Direction::outward, after, *ip)->header;
  CHECK(header.sequence == 0xFFFFFFF0 + 1000);
  CHECK(header.options.mss == 1200);
  CHECK_FALSE(header.options.window_scale);
  CHECK_FALSE(header.options.sack_permitted);
  CHECK_FALSE(header.options.timestamps);
}

TEST_CASE("a wrong checksum stays wrong, and a smaller MSS stays as it is", "[middlebox]") {
  Editor editor{{.randomize_isn = true, .mss = 9000}, {1, 2}};
  auto segment = arrived(Direction::outward, syn(), 3);
  segment.original.back() ^= 1;
  segment.payload.back() ^= 1;
  const auto after = packet_of(kFlow, passed(editor, std::move(segment)));
  const auto ip = packet::parse_ip(after);
  CHECK_FALSE(tcp_checksum_right(after, *ip));
  CHECK(segment_of(Direction::outward, after, *ip)->header.options.mss == 1460);
}

TEST_CASE("segments with data are lost by their number in their direction", "[middlebox]") {
  Loser loser{Direction::outward, {1, 3}};
  DeviceBench bench{loser};
  CHECK(bench.data(0, 10).forward.empty());
  CHECK(bench.ack(0).forward.size() == 1);
  CHECK(bench.give(segment(Direction::inward, kAck, 5, 5, 10)).forward.size() == 1);
  CHECK(bench.data(10, 10).forward.size() == 1);
  CHECK(decided(bench.data(20, 10), "drop"));
  CHECK(bench.data(20, 10).forward.size() == 1);
}
