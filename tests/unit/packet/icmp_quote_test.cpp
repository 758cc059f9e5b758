#include "common/packet/icmp_quote.h"

#include <catch2/catch.hpp>

#include "common/packet/checksum.h"

using namespace switchback;
using namespace switchback::packet;

namespace {

const auto kClient = *IpAddress::parse("198.51.100.2");
const auto kHeadend = *IpAddress::parse("192.0.2.1");
const auto kClient6 = *IpAddress::parse("2001:db8:2::2");
const auto kHeadend6 = *IpAddress::parse("2001:db8:1::1");

/// UDP to 4500 with ESP in it: SPI 0x11223344 and this sequence number.
Bytes udp_front(std::uint32_t sequence, std::uint16_t checksum = 0xABCD, std::uint16_t source_port = 4500) {
  Bytes octets(60, 0x5A);
  store_be(octets.data(), source_port);
  store_be(octets.data() + 2, std::uint16_t{4500});
  store_be(octets.data() + 4, std::uint16_t{60});
  store_be(octets.data() + 6, checksum);
  store_be(octets.data() + 8, std::uint32_t{0x11223344});
  store_be(octets.data() + 12, sequence);
  return octets;
}

Bytes tcp_front(std::uint32_t sequence, std::uint32_t timestamp) {
  Bytes octets(32, 0);
  store_be(octets.data(), std::uint16_t{40000});
  store_be(octets.data() + 2, std::uint16_t{10000});
  store_be(octets.data() + 4, sequence);
  octets[12] = 0x80;
  octets[20] = octets[21] = 1;
  octets[22] = 8;
  octets[23] = 10;
  store_be(octets.data() + 24, timestamp);
  return octets;
}

Bytes esp_front(std::uint32_t sequence) {
  Bytes octets(40, 0);
  store_be(octets.data(), std::uint32_t{0x11223344});
  store_be(octets.data() + 4, sequence);
  return octets;
}

Bytes ip_v4(std::uint8_t protocol, std::uint16_t identification, ByteView front) {
  Bytes octets(20, 0);
  octets[0] = 0x45;
  store_be(octets.data() + 2, static_cast<std::uint16_t>(20 + front.size()));
  store_be(octets.data() + 4, identification);
  octets[6] = 0x40;
  octets[8] = 1;
  octets[9] = protocol;
  std::copy_n(kClient.bytes().data(), 4, octets.data() + 12);
  std::copy_n(kHeadend.bytes().data(), 4, octets.data() + 16);
  append(octets, front);
  return octets;
}

Bytes ip_v6(std::uint8_t protocol, ByteView front) {
  Bytes octets(40, 0);
  octets[0] = 0x60;
  store_be(octets.data() + 4, static_cast<std::uint16_t>(front.size()));
  octets[6] = protocol;
  octets[7] = 1;
  std::copy_n(kClient6.bytes().data(), 16, octets.data() + 8);
  std::copy_n(kHeadend6.bytes().data(), 16, octets.data() + 24);
  append(octets, front);
  return octets;
}

Bytes icmp(std::uint8_t type, std::uint8_t code, ByteView quoted, bool v4 = true) {
  Bytes octets{type, code, 0, 0, 0, 0, 0, 0};
  append(octets, quoted);
  if (v4) store_be(octets.data() + 2, checksum(octets));
  return octets;
}

LimitedPacket sent(const IpAddress& to, std::uint8_t protocol, std::uint16_t identification, ByteView front) {
  LimitedPacket packet;
  packet.destination = to;
  packet.protocol = protocol;
  packet.identification = identification;
  packet.set_front(front);
  return packet;
}

}  // namespace

TEST_CASE("time exceeded is taken apart down to the quoted packet", "[packet][rfc792]") {
  const auto message = icmp(11, 0, ip_v4(17, 77, udp_front(9)));
  const auto quote = parse_icmp_error(message, IpFamily::v4);
  REQUIRE(quote);
  CHECK(quote->trouble == IcmpTrouble::time_exceeded);
  CHECK(quote->source == kClient);
  CHECK(quote->destination == kHeadend);
  CHECK(quote->protocol == 17);
  CHECK(quote->identification == 77);
  CHECK(quote->front.size() == 60);
  CHECK(match(*quote, sent(kHeadend, 17, 77, udp_front(9))) == QuoteMatch::exact);
}

TEST_CASE("only time exceeded in transit and unreachable are errors that matter", "[packet]") {
  const auto packet = ip_v4(17, 77, udp_front(9));
  CHECK(parse_icmp_error(icmp(3, 3, packet), IpFamily::v4)->trouble == IcmpTrouble::unreachable);
  CHECK_FALSE(parse_icmp_error(icmp(11, 1, packet), IpFamily::v4));  // of reassembly
  CHECK_FALSE(parse_icmp_error(icmp(0, 0, packet), IpFamily::v4));   // echo reply
  CHECK_FALSE(parse_icmp_error(icmp(11, 0, packet), IpFamily::v6));
  const auto packet6 = ip_v6(17, udp_front(9));
  CHECK(parse_icmp_error(icmp(3, 0, packet6, false), IpFamily::v6)->trouble == IcmpTrouble::time_exceeded);
  CHECK(parse_icmp_error(icmp(1, 4, packet6, false), IpFamily::v6)->trouble == IcmpTrouble::unreachable);
}

TEST_CASE("a wrong checksum, a later fragment and what is cut short are nothing", "[packet]") {
  auto message = icmp(11, 0, ip_v4(17, 77, udp_front(9)));
  auto wrong = message;
  wrong[30] ^= 1U;
  CHECK_FALSE(parse_icmp_error(wrong, IpFamily::v4));
  auto fragment = ip_v4(17, 77, udp_front(9));
  store_be(fragment.data() + 6, std::uint16_t{100});
  CHECK_FALSE(parse_icmp_error(icmp(11, 0, fragment), IpFamily::v4));
  auto options = ip_v4(17, 77, Bytes(8, 0));
  options[0] = 0x4F;  // a header longer than the quote
  CHECK_FALSE(parse_icmp_error(icmp(11, 0, options), IpFamily::v4));
  const auto packet = ip_v4(17, 77, udp_front(9));
  for (std::size_t size = 0; size < packet.size(); ++size) {
    const auto quote = parse_icmp_error(icmp(11, 0, ByteView{packet}.first(size)), IpFamily::v4);
    CHECK(quote.has_value() == (size >= 28));
    if (quote) CHECK(quote->front.size() == size - 20);
  }
  const auto packet6 = ip_v6(50, esp_front(9));
  for (std::size_t size = 0; size < packet6.size(); ++size) {
    CHECK(parse_icmp_error(icmp(3, 0, ByteView{packet6}.first(size), false), IpFamily::v6).has_value() == (size >= 48));
  }
}

TEST_CASE("padding and extensions behind the quoted packet are not of it", "[packet][rfc4884]") {
  auto packet = ip_v4(50, 3, ByteView{esp_front(9)}.first(12));
  packet.resize(128);                                            // zeros up to 128 octets …
  append(packet, Bytes{0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 0});  // … then extensions
  const auto quote = parse_icmp_error(icmp(11, 0, packet), IpFamily::v4);
  REQUIRE(quote);
  CHECK(quote->front.size() == 12);
}

TEST_CASE("a router that quotes 28 octets is matched by the identification", "[packet]") {
  const auto packet = ip_v4(17, 77, udp_front(9));
  const auto message = icmp(11, 0, ByteView{packet}.first(28));
  const auto quote = parse_icmp_error(message, IpFamily::v4);
  REQUIRE(quote);
  CHECK(match(*quote, sent(kHeadend, 17, 77, udp_front(9))) == QuoteMatch::likely);
  CHECK(match(*quote, sent(kHeadend, 17, 78, udp_front(10))) == QuoteMatch::none);
}

TEST_CASE("a quote that a NAT has gone over still matches, and no other packet does", "[packet]") {
  // Another source port and checksum in the quote, as some NATs leave them.
  const auto packet = ip_v4(17, 77, udp_front(9, 0x1111, 61000));
  const auto message = icmp(11, 0, packet);
  const auto quote = parse_icmp_error(message, IpFamily::v4);
  CHECK(match(*quote, sent(kHeadend, 17, 77, udp_front(9))) == QuoteMatch::exact);
  CHECK(match(*quote, sent(kHeadend, 17, 99, udp_front(9))) == QuoteMatch::likely);  // rewritten identification
  CHECK(match(*quote, sent(kHeadend, 17, 77, udp_front(10))) == QuoteMatch::none);
  CHECK(match(*quote, sent(kClient, 17, 77, udp_front(9))) == QuoteMatch::none);
  CHECK(match(*quote, sent(kHeadend, 50, 77, udp_front(9))) == QuoteMatch::none);
}

TEST_CASE("native ESP is matched by its first eight octets", "[packet]") {
  const auto packet = ip_v4(50, 0, esp_front(9));
  const auto message = icmp(11, 0, ByteView{packet}.first(28));
  const auto quote = parse_icmp_error(message, IpFamily::v4);
  CHECK(match(*quote, sent(kHeadend, 50, 0, esp_front(9))) == QuoteMatch::exact);
  CHECK(match(*quote, sent(kHeadend, 50, 0, esp_front(8))) == QuoteMatch::none);
  const auto packet6 = ip_v6(50, esp_front(9));
  const auto message6 = icmp(3, 0, packet6, false);
  CHECK(match(*parse_icmp_error(message6, IpFamily::v6), sent(kHeadend6, 50, 0, esp_front(9))) == QuoteMatch::exact);
}

TEST_CASE("TCP is matched by timestamps, whatever became of its sequence numbers, or by the identification",
          "[packet]") {
  const auto changed = ip_v4(6, 5, tcp_front(0xDEAD, 1234));
  const auto whole = icmp(11, 0, changed);
  const auto quote = parse_icmp_error(whole, IpFamily::v4);
  CHECK(match(*quote, sent(kHeadend, 6, 5, tcp_front(7, 1234))) == QuoteMatch::exact);
  CHECK(match(*quote, sent(kHeadend, 6, 6, tcp_front(7, 1234))) == QuoteMatch::likely);
  CHECK(match(*quote, sent(kHeadend, 6, 5, tcp_front(7, 1235))) == QuoteMatch::none);
  const auto cut = icmp(11, 0, ByteView{changed}.first(28));
  const auto brief = parse_icmp_error(cut, IpFamily::v4);
  CHECK(match(*brief, sent(kHeadend, 6, 5, tcp_front(7, 1234))) == QuoteMatch::likely);
  CHECK(match(*brief, sent(kHeadend, 6, 6, tcp_front(7, 1234))) == QuoteMatch::none);
  // Over IPv6, without identification, the window tells those of one millisecond apart.
  auto narrower = tcp_front(7, 1234);
  narrower[15] = static_cast<std::uint8_t>(narrower[15] ^ 1U);
  const auto timed = icmp(3, 0, ip_v6(6, tcp_front(0xDEAD, 1234)), false);
  const auto quote6 = parse_icmp_error(timed, IpFamily::v6);
  CHECK(match(*quote6, sent(kHeadend6, 6, 0, tcp_front(7, 1234))) == QuoteMatch::exact);
  CHECK(match(*quote6, sent(kHeadend6, 6, 0, narrower)) == QuoteMatch::none);
  // Classic cTCP has no options: over IPv6 nothing tells one from another.
  const auto bare = ip_v6(6, ByteView{tcp_front(7, 1)}.first(20));
  const auto message6 = icmp(3, 0, bare, false);
  CHECK(match(*parse_icmp_error(message6, IpFamily::v6), sent(kHeadend6, 6, 0, ByteView{tcp_front(7, 1)}.first(20))) ==
        QuoteMatch::none);
}
