#include "client/paths.h"

#include <catch2/catch.hpp>

#include "client/route_plan.h"

namespace switchback::client {

TEST_CASE("the body of a path MTU probe fills the outer packet to less than four octets, never beyond",
          "[paths][pmtu]") {
  // IPv4 and UDP: 28; header 8, IV 8, tag 16; trailer 2.
  for (std::uint16_t packet = 576; packet < 9000; ++packet) {
    for (const unsigned overhead : {20U, 28U, 48U, 54U, 74U}) {
      const unsigned body = pmtu_body_octets(packet, overhead);
      const unsigned padded = (body + 2 + 3) / 4 * 4;
      const unsigned outer = overhead + 8 + 8 + padded + 16;
      REQUIRE(outer <= packet);
      REQUIRE(packet - outer < 4);
    }
  }
}

TEST_CASE("a path MTU probe is as large as the largest inner packet of that path", "[paths][pmtu]") {
  CHECK(pmtu_body_octets(1500, 28) == inner_mtu(1500, 28));
  CHECK(pmtu_body_octets(1280, 48) == inner_mtu(1280, 48));
}

TEST_CASE("a probe that cannot be built so small has its least size", "[paths][pmtu]") {
  CHECK(pmtu_body_octets(0, 28) == path::kPmtuOctets);
  CHECK(pmtu_body_octets(80, 60) == path::kPmtuOctets);
}

}  // namespace switchback::client
