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
  Tracker tracker{TrackerRules::linux_now};
  DeviceBench bench{tracker};
  CHECK(passes(bench.data(10'000, 1000)));
  CHECK(passes(bench.ack(11'000)));
}

TEST_CASE("data up to one more window past its edge passes, beyond it is invalid for good", "[middlebox]") {
  Tracker tracker{TrackerRules::linux_now};
  DeviceBench bench{tracker};
  CHECK(passes(bench.data(65'000, 1000)));
  CHECK(passes(bench.data(128'000, 1000)));
  CHECK_FALSE(passes(bench.data(200'000, 1000)));
  CHECK_FALSE(passes(bench.data(201'000, 1000)));
}

TEST_CASE("one-way data dies at twice the window when nothing acknowledges it", "[middlebox]") {
  Tracker tracker{TrackerRules::linux_now};
  DeviceBench bench{tracker};
  std::uint32_t offset = 0;
  while (passes(bench.data(offset, 1000)) && offset < 1'000'000) offset += 1000;
  CHECK(offset >= 131'000);
  CHECK(offset <= 200'000);
}

TEST_CASE("an ACK of octets that were not seen is invalid, by one octet already", "[middlebox]") {
  Tracker tracker{TrackerRules::linux_now};
  DeviceBench bench{tracker};
  REQUIRE(passes(bench.data(0, 1000)));
  CHECK(passes(bench.ack(1000)));
  CHECK_FALSE(passes(bench.ack(1001)));
}

TEST_CASE("old retransmissions and late ACKs pass since 6.1 and are invalid before", "[middlebox]") {
  for (const bool old_rules : {false, true}) {
    Tracker tracker{old_rules ? TrackerRules::linux_old : TrackerRules::linux_now};
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
  Tracker tracker{TrackerRules::linux_now};
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
  Tracker tracker{TrackerRules::linux_now};
  Output out;
  tracker.handle(segment(Direction::outward, kAck, 1, 1, 10), Instant{}, out);
  tracker.handle(segment(Direction::outward, kSyn | kFin, 1, 1), Instant{}, out);
  CHECK(out.forward.empty());
  CHECK(out.decisions.size() == 2);
}

TEST_CASE("a flow whose data is not acknowledged is forgotten after 300 s, and lives for days otherwise",
          "[middlebox]") {
  for (const bool acknowledged : {false, true}) {
    Tracker tracker{TrackerRules::linux_now};
    DeviceBench bench{tracker};
    REQUIRE(passes(bench.data(0, 1000)));
    if (acknowledged) REQUIRE(passes(bench.ack(1000)));
    (void)bench.wait(std::chrono::seconds{299});
    REQUIRE(passes(bench.ack(acknowledged ? 1000 : 0)));
    (void)bench.wait(std::chrono::seconds{301});
    const auto out = bench.data(1000, 1000);
    CHECK(passes(out) == acknowledged);
    CHECK(decided(out, "forget") == !acknowledged);
    CHECK(passes(bench.data(2000, 1000)) == acknowledged);
  }
}

TEST_CASE("the same ACK four times shortens the time to 300 s", "[middlebox]") {
  Tracker tracker{TrackerRules::linux_now};
  DeviceBench bench{tracker};
  REQUIRE(passes(bench.data(0, 1000)));
  for (int i = 0; i < 4; ++i) REQUIRE(passes(bench.ack(1000)));
  (void)bench.wait(std::chrono::seconds{301});
  CHECK_FALSE(passes(bench.data(1000, 1000)));
}

TEST_CASE("where the window is exact, nothing passes that ends past it", "[middlebox]") {
  Tracker tracker{TrackerRules::exact};
  DeviceBench bench{tracker};
  CHECK(passes(bench.data(64'535, 1000)));
  CHECK_FALSE(passes(bench.data(64'536, 1000)));
}
