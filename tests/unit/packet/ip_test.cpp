#include <catch2/catch.hpp>

#include "common/packet/ip.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using switchback::testing::make_ip;
using switchback::testing::make_tcp;
using switchback::testing::make_udp;
using switchback::testing::PacketSpec;

namespace {

PacketSpec v6_spec() {
  PacketSpec spec;
  spec.source = "2001:db8::1";
  spec.destination = "2001:db8::2";
  return spec;
}

}  // namespace

TEST_CASE("a plain TCP packet of either family shows its addresses and ports", "[packet][ip]") {
  for (const auto& spec : {PacketSpec{}, v6_spec()}) {
    const auto packet = make_tcp(spec);
    const auto ip = parse_ip(packet);
    REQUIRE(ip);
    CHECK(ip->is(IpProtocol::tcp));
    CHECK(ip->total_bytes == packet.size());
    CHECK_FALSE(ip->fragment);
    CHECK(source_address(packet, *ip).to_string() == spec.source);
    CHECK(destination_address(packet, *ip).to_string() == spec.destination);
    const auto ports = ports_of(packet, *ip);
    REQUIRE(ports);
    CHECK(ports->source == spec.source_port);
    CHECK(ports->destination == spec.destination_port);
    CHECK(tcp_header_bytes(packet, *ip) == 20);
  }
}

TEST_CASE("no prefix of a packet parses as the whole", "[packet][ip][hostile]") {
  for (const auto& spec : {PacketSpec{}, v6_spec()}) {
    const auto packet = make_udp(spec);
    for (std::size_t size = 0; size < packet.size(); ++size) CHECK_FALSE(parse_ip(ByteView{packet}.first(size)));
  }
}

TEST_CASE("octets behind the total length are left out", "[packet][ip][rfc4303]") {
  auto packet = make_udp(PacketSpec{});
  const auto size = packet.size();
  packet.resize(size + 100);
  CHECK(parse_ip(packet)->total_bytes == size);
}

TEST_CASE("header lengths that contradict the packet are refused", "[packet][ip][hostile]") {
  auto packet = make_udp(PacketSpec{});
  packet[0] = 0x44;  // 16 octets
  CHECK_FALSE(parse_ip(packet));
  packet[0] = 0x4F;  // 60 octets in a packet of 28
  CHECK_FALSE(parse_ip(packet));
  packet[0] = 0x55;
  CHECK_FALSE(parse_ip(packet));
  packet = make_udp(PacketSpec{});
  store_be(&packet[2], std::uint16_t{19});
  CHECK_FALSE(parse_ip(packet));
}

TEST_CASE("later fragments show no ports", "[packet][ip]") {
  auto packet = make_udp(PacketSpec{});
  packet[6] = 0x20;  // more fragments, offset 0
  auto ip = parse_ip(packet);
  REQUIRE(ip);
  CHECK(ip->fragment);
  CHECK(ports_of(packet, *ip).has_value());
  packet[7] = 1;
  ip = parse_ip(packet);
  REQUIRE(ip);
  CHECK(ip->later_fragment);
  CHECK_FALSE(ports_of(packet, *ip));
}

TEST_CASE("IPv6 extension headers are walked to the transport header", "[packet][ip][rfc8200]") {
  // Hop-by-hop (8 octets), destination options (16), then UDP.
  Bytes l4{60, 0, 1, 4, 0, 0, 0, 0, 17,   1,    1,    12,   0, 0, 0, 0,
           0,  0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x00, 0x35, 0, 8, 0, 0};
  const auto packet = make_ip(v6_spec(), 0, l4);
  const auto ip = parse_ip(packet);
  REQUIRE(ip);
  CHECK(ip->is(IpProtocol::udp));
  CHECK(ip->l4_offset == 64);
  CHECK(ip->header_bytes == 40);
  CHECK(ports_of(packet, *ip)->destination == 53);
}

TEST_CASE("an IPv6 extension header longer than the packet is refused", "[packet][ip][hostile]") {
  CHECK_FALSE(parse_ip(make_ip(v6_spec(), 0, Bytes{17, 200, 0, 0, 0, 0, 0, 0})));
  CHECK_FALSE(parse_ip(make_ip(v6_spec(), 43, Bytes{17, 0, 0})));
}

TEST_CASE("a chain of extension headers without end stops being walked", "[packet][ip][hostile]") {
  Bytes l4;
  for (int i = 0; i < 100; ++i) append(l4, Bytes{60, 0, 1, 4, 0, 0, 0, 0});
  const auto packet = make_ip(v6_spec(), 60, l4);
  const auto ip = parse_ip(packet);
  REQUIRE(ip);
  CHECK(ip->l4_offset == 40 + 8 * 8);
  CHECK_FALSE(ports_of(packet, *ip));
}

TEST_CASE("ICMP type and code stand for ports", "[packet][ip][rfc7296]") {
  const auto packet = make_ip(PacketSpec{}, 1, Bytes{8, 0, 0, 0, 0, 1, 0, 1});
  const auto ports = ports_of(packet, *parse_ip(packet));
  REQUIRE(ports);
  CHECK(ports->source == 0x0800);
  CHECK(ports->destination == 0x0800);
}
