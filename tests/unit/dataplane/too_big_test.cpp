#include "transports/dataplane/too_big.h"

#include <catch2/catch.hpp>

#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::testing;
using namespace switchback::transports;

namespace {

Bytes answer_to(const Bytes& packet, std::uint16_t mtu) {
  Bytes out(kMaxTooBigBytes);
  out.resize(build_too_big(packet, *packet::parse_ip(packet), mtu, out));
  return out;
}

PacketSpec six() {
  PacketSpec spec;
  spec.source = "fd00::1";
  spec.destination = "fd00::2";
  return spec;
}

}  // namespace

TEST_CASE("fragmentation needed names the MTU and quotes what it is about", "[dataplane][rfc1191]") {
  PacketSpec spec;
  spec.payload = counting(1400);
  const auto packet = make_udp(spec);
  const auto answer = answer_to(packet, 1312);
  REQUIRE(answer.size() == 576);
  CHECK(ip_checksum_right(answer));
  CHECK(reference_checksum(ByteView{answer}.subspan(20)) == 0);
  const auto ip = *packet::parse_ip(answer);
  CHECK(packet::source_address(answer, ip).to_string() == spec.destination);
  CHECK(packet::destination_address(answer, ip).to_string() == spec.source);
  CHECK(answer[20] == 3);
  CHECK(answer[21] == 4);
  CHECK(load_be<std::uint16_t>(&answer[26]) == 1312);
  CHECK(same_bytes(ByteView{answer}.subspan(28), ByteView{packet}.first(576 - 28)));
}

TEST_CASE("packet too big fits 1280 octets and has a right checksum", "[dataplane][rfc4443]") {
  auto spec = six();
  spec.payload = counting(1400);
  const auto packet = make_udp(spec);
  const auto answer = answer_to(packet, 1300);
  REQUIRE(answer.size() == 1280);
  CHECK(transport_checksum_right(answer, 58));
  CHECK(answer[40] == 2);
  CHECK(load_be<std::uint32_t>(&answer[44]) == 1300);
  CHECK(same_bytes(ByteView{answer}.subspan(48), ByteView{packet}.first(1280 - 48)));
}

TEST_CASE("short packets are quoted whole", "[dataplane]") {
  const auto packet = make_udp({});
  CHECK(answer_to(packet, 576).size() == 28 + packet.size());
}

TEST_CASE("no ICMP about ICMP errors, later fragments and groups", "[dataplane][rfc1122]") {
  PacketSpec spec;
  Bytes unreachable(16, 0);
  unreachable[0] = 3;
  CHECK(answer_to(make_ip(spec, 1, unreachable), 576).empty());
  Bytes echo(16, 0);
  echo[0] = 8;
  CHECK_FALSE(answer_to(make_ip(spec, 1, echo), 576).empty());
  Bytes too_big(16, 0);
  too_big[0] = 2;
  CHECK(answer_to(make_ip(six(), 58, too_big), 1280).empty());
  auto fragment = make_udp(spec);
  fragment[7] = 5;  // fragment offset 40
  CHECK(answer_to(fragment, 576).empty());
  spec.destination = "224.0.0.5";
  CHECK(answer_to(make_udp(spec), 576).empty());
  spec = {};
  spec.source = "0.0.0.0";
  CHECK(answer_to(make_udp(spec), 576).empty());
}

TEST_CASE("what counts for a super-packet is the size of its pieces", "[dataplane]") {
  PacketSpec spec;
  spec.options = {1, 1, 1, 1};
  spec.payload = counting(9000);
  const auto tcp = make_tcp(spec);
  packet::VirtioNetHeader header;
  const auto ip = *packet::parse_ip(tcp);
  CHECK(largest_piece(header, tcp, ip) == tcp.size());
  header.gso_type = packet::kVirtioGsoTcpV4;
  header.gso_size = 1360;
  CHECK(largest_piece(header, tcp, ip) == 20 + 24 + 1360);
  const auto udp = make_udp(spec);
  header.gso_type = packet::kVirtioGsoUdpL4;
  CHECK(largest_piece(header, udp, *packet::parse_ip(udp)) == 20 + 8 + 1360);
  header.gso_size = 60000;
  CHECK(largest_piece(header, udp, *packet::parse_ip(udp)) == udp.size());
}

TEST_CASE("only IPv4 without DF may be fragmented", "[dataplane][rfc791]") {
  PacketSpec spec;
  auto packet = make_udp(spec);
  CHECK_FALSE(forbids_fragments(packet, *packet::parse_ip(packet)));
  spec.dont_fragment = true;
  packet = make_udp(spec);
  CHECK(forbids_fragments(packet, *packet::parse_ip(packet)));
  packet = make_udp(six());
  CHECK(forbids_fragments(packet, *packet::parse_ip(packet)));
}
