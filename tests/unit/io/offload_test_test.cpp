#include "common/io/offload_test.h"

#include <catch2/catch.hpp>

using namespace switchback;
using io::OffloadTestMessage;
using io::test_udp_offloads;

namespace {

const IpAddress kLoopback = *IpAddress::parse("127.0.0.1");

}  // namespace

TEST_CASE("the offloads of this kernel pass the test in both families", "[offload]") {
  for (const auto* address : {"127.0.0.1", "::1"}) {
    const auto found = test_udp_offloads(*IpAddress::parse(address));
    CHECK(found.segmentation == "");
    CHECK(found.receive == "");
  }
}

TEST_CASE("an offload that changes, cuts wrongly or makes up datagrams does not pass", "[offload]") {
  SECTION("one octet of a joined message") {
    const auto found = test_udp_offloads(kLoopback, [](OffloadTestMessage& message, bool joining) {
      if (joining) message.octets.back() ^= 1U;
    });
    CHECK(found.segmentation == "");
    CHECK(found.receive == "a datagram arrived with other contents");
  }
  SECTION("another segment size than there is") {
    const auto found = test_udp_offloads(kLoopback, [](OffloadTestMessage& message, bool joining) {
      if (joining) message.segment_bytes += 8;
    });
    CHECK(found.receive == "a datagram of 1201 octets arrived with 1209");
  }
  SECTION("a joined message without its segment size") {
    const auto found = test_udp_offloads(kLoopback, [](OffloadTestMessage& message, bool joining) {
      if (joining) message.segment_bytes = 0;
    });
    CHECK(found.receive == "a datagram of 1201 octets arrived with 7539");
  }
  SECTION("padding behind a short last datagram") {
    const auto found = test_udp_offloads(kLoopback, [](OffloadTestMessage& message, bool joining) {
      if (!joining && message.octets.size() == 333) message.octets.resize(1201);
    });
    CHECK(found.segmentation == "a datagram of 333 octets arrived with 1201");
    CHECK(found.receive == "");  // not tried: what is sent for it is wrong already
  }
  SECTION("datagrams too many") {
    const auto found = test_udp_offloads(kLoopback, [](OffloadTestMessage& message, bool joining) {
      if (joining) message.octets.insert(message.octets.end(), 1201, 0);
    });
    CHECK(found.receive != "");
  }
}

TEST_CASE("where nothing can be tried nothing is held against the kernel", "[offload]") {
  const auto found = test_udp_offloads(*IpAddress::parse("203.0.113.1"));  // not of this host
  CHECK(found.segmentation == "");
  CHECK(found.receive == "");
}
