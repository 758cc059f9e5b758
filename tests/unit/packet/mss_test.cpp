#include <catch2/catch.hpp>

#include "common/packet/mss.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using packet::clamp_mss;
using switchback::testing::make_tcp;
using switchback::testing::PacketSpec;
using switchback::testing::transport_checksum_right;

namespace {

PacketSpec syn(bool v6, Bytes options) {
  PacketSpec spec;
  if (v6) spec.source = "2001:db8::1", spec.destination = "2001:db8::2";
  spec.flags = 0x02;
  spec.options = std::move(options);
  return spec;
}

}  // namespace

TEST_CASE("the MSS of a SYN is lowered to the tunnel's MTU and the checksum follows", "[packet][mss]") {
  for (const bool v6 : {false, true}) {
    const std::uint16_t fits = v6 ? 1340 : 1360;
    auto packet = make_tcp(syn(v6, {2, 4, 0x05, 0xB4}));  // 1460
    const auto option = packet.size() - 2;
    CHECK(clamp_mss(packet, 1400));
    CHECK(load_be<std::uint16_t>(&packet[option]) == fits);
    CHECK(transport_checksum_right(packet, 6));
    CHECK_FALSE(clamp_mss(packet, 1400));
  }
}

TEST_CASE("an MSS at an odd offset keeps the checksum right", "[packet][mss][rfc1624]") {
  for (std::uint16_t mtu = 600; mtu < 1400; mtu = static_cast<std::uint16_t>(mtu + 7)) {
    auto packet = make_tcp(syn(false, {1, 2, 4, 0x05, 0xB4, 1, 1, 0}));
    CHECK(clamp_mss(packet, mtu));
    CHECK(load_be<std::uint16_t>(&packet[20 + 20 + 3]) == mtu - 40);
    CHECK(transport_checksum_right(packet, 6));
  }
}

TEST_CASE("an MSS that fits, a segment that is no SYN, and a SYN without MSS stay as they are", "[packet][mss]") {
  auto small = make_tcp(syn(false, {2, 4, 0x02, 0x18}));  // 536
  auto no_option = make_tcp(syn(false, {}));
  auto other = syn(false, {2, 4, 0x05, 0xB4});
  other.flags = 0x10;
  auto ack = make_tcp(other);
  for (auto* packet : {&small, &no_option, &ack}) {
    const auto before = *packet;
    CHECK_FALSE(clamp_mss(*packet, 1400));
    CHECK(*packet == before);
  }
}

TEST_CASE("nonsense options end the search without harm", "[packet][mss][hostile]") {
  for (const Bytes& options : {Bytes{3, 0, 2, 4}, Bytes{3, 200, 2, 4}, Bytes{1, 1, 1, 2}, Bytes{2, 3, 5, 0xB4},
                               Bytes{0, 2, 4, 5}, Bytes{2, 6, 5, 0xB4}}) {
    auto packet = make_tcp(syn(false, options));
    const auto before = packet;
    CHECK_FALSE(clamp_mss(packet, 1000));
    CHECK(packet == before);
  }
  Bytes nothing;
  CHECK_FALSE(clamp_mss(nothing, 1000));
}
