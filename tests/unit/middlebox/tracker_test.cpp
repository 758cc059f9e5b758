// The verdicts that kernel 6.18 gave to crafted segments, be_liberal=0 and loose=0, window 65535 without scaling.
#include "tools/middlebox/tracker.h"

#include <catch2/catch.hpp>

#include "tests/unit/middlebox/flow_builder.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;
using transports::ctcp::kAck;
using transports::ctcp::kFin;
using transports::ctcp::kRst;
using transports::ctcp::kSyn;

namespace {

bool passes(const Output& out) { return out.forward.size() == 1; }

}  // namespace

TEST_CASE("a gap within the window passes, and so does an ACK past it", "[middlebox]") {
  Tracker tracker{false};
  DeviceBench bench{tracker};
  CHECK(passes(bench.data(10'000, 1000)));
  CHECK(passes(bench.ack(11'000)));
}

TEST_CASE("data up to one more window past its edge passes, beyond it is invalid for good", "[middlebox]") {
  Tracker tracker{false};
  DeviceBench bench{tracker};
  CHECK(passes(bench.data(65'000, 1000)));
  CHECK(passes(bench.data(128'000, 1000)));
  CHECK_FALSE(passes(bench.data(200'000, 1000)));
  CHECK_FALSE(passes(bench.data(201'000, 1000)));
}

TEST_CASE("one-way data dies at twice the window when nothing acknowledges it", "[middlebox]") {
  Tracker tracker{false};
  DeviceBench bench{tracker};
  std::uint32_t offset = 0;
  while (passes(bench.data(offset, 1000)) && offset < 1'000'000) offset += 1000;
  CHECK(offset >= 131'000);
  CHECK(offset <= 200'000);
}

TEST_CASE("an ACK of octets that were not seen is invalid, by one octet already", "[middlebox]") {
  Tracker tracker{false};
  DeviceBench bench{tracker};
  REQUIRE(passes(bench.data(0, 1000)));
  CHECK(passes(bench.ack(1000)));
  CHECK_FALSE(passes(bench.ack(1001)));
}

TEST_CASE("old retransmissions and late ACKs pass since 6.1 and are invalid before", "[middlebox]") {
  for (const bool old_rules : {false, true}) {
    Tracker tracker{old_rules};
    DeviceBench bench{tracker};
    for (std::uint32_t offset = 0; offset < 140'000; offset += 1000) {
      REQUIRE(passes(bench.data(offset, 1000)));
      REQUIRE(passes(bench.ack(offset + 1000)));
    }
    CHECK(passes(bench.data(0, 1000)) == !old_rules);
    CHECK(passes(bench.ack(1000)) == !old_rules);
  }
}

TEST_CASE("an RST passes within the window only", "[middlebox]") {
  Tracker tracker{false};
  DeviceBench bench{tracker};
  for (std::uint32_t offset = 0; offset < 140'000; offset += 1000) {
    REQUIRE(passes(bench.data(offset, 1000)));
    REQUIRE(passes(bench.ack(offset + 1000)));
  }
  CHECK_FALSE(passes(bench.give(segment(Direction::outward, kRst, kInnerIsn + 1, 0))));
  CHECK(passes(bench.give(segment(Direction::outward, kRst, kInnerIsn + 1 + 140'000, 0))));
  CHECK(passes(bench.data(140'000, 1000)));  // and data after it
}

TEST_CASE("what is no connection is invalid", "[middlebox]") {
  Tracker tracker{false};
  Output out;
  tracker.handle(segment(Direction::outward, kAck, 1, 1, 10), Instant{}, out);
  tracker.handle(segment(Direction::outward, kSyn | kFin, 1, 1), Instant{}, out);
  CHECK(out.forward.empty());
  CHECK(out.decisions.size() == 2);
}
