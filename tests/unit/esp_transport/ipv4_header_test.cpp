#include "transports/esp/ipv4_header.h"

#include <catch2/catch.hpp>

using namespace switchback;
using transports::native_esp::read_ipv4_header;

namespace {

Bytes packet_of(std::uint8_t words, std::size_t size) {
  Bytes packet(size, 0);
  packet[0] = static_cast<std::uint8_t>(0x40U | words);
  if (size >= 20) packet[16] = 192, packet[17] = 0, packet[18] = 2, packet[19] = 7;
  return packet;
}

}  // namespace

TEST_CASE("an IPv4 header is measured with its options and gives the destination", "[esp_transport][rfc791]") {
  for (const auto words : {std::uint8_t{5}, std::uint8_t{6}, std::uint8_t{15}}) {
    const auto header = read_ipv4_header(packet_of(words, 60));
    REQUIRE(header);
    CHECK(header->octets == std::size_t{words} * 4);
    CHECK(header->destination.to_string() == "192.0.2.7");
  }
}

TEST_CASE("an IPv4 header that is cut off or shorter than one can be is none", "[esp_transport][rfc791]") {
  CHECK_FALSE(read_ipv4_header({}));
  CHECK_FALSE(read_ipv4_header(packet_of(5, 19)));
  CHECK_FALSE(read_ipv4_header(packet_of(4, 60)));
  CHECK_FALSE(read_ipv4_header(packet_of(0, 60)));
  CHECK_FALSE(read_ipv4_header(packet_of(6, 23)));
  CHECK(read_ipv4_header(packet_of(6, 24)));
}
