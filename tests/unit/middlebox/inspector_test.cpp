#include "tools/middlebox/inspector.h"

#include <catch2/catch.hpp>

#include "tests/unit/middlebox/flow_builder.h"
#include "tools/middlebox/rules.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;
using std::chrono::milliseconds;
using std::chrono::seconds;
using transports::ctcp::kAck;
using transports::ctcp::kRst;
using transports::ctcp::kSyn;

namespace {

std::unique_ptr<Device> device(std::string_view name) {
  static std::mt19937_64 random{1};
  const auto* profile = find_profile(name);
  REQUIRE(profile != nullptr);
  return profile->make(random);
}

}  // namespace

TEST_CASE("an inspector holds what is past a hole and lets it go when the hole is filled", "[middlebox]") {
  const auto inspect = device("ios");
  DeviceBench bench{*inspect};
  CHECK(bench.data(0, 100).forward.size() == 1);
  const auto held = bench.data(200, 100);
  CHECK(held.forward.empty());
  CHECK(decided(held, "gap_open"));
  const auto filled = bench.data(100, 100);
  REQUIRE(filled.forward.size() == 2);
  CHECK(filled.forward[0].header.sequence == kInnerIsn + 1 + 100);
  CHECK(filled.forward[1].header.sequence == kInnerIsn + 1 + 200);
  CHECK(decided(filled, "gap_fill"));
  CHECK_FALSE(inspect->next_deadline());
}

TEST_CASE("a queue of three segments drops the fourth, and all of it after 4 s", "[middlebox]") {
  const auto inspect = device("inspect");
  DeviceBench bench{*inspect};
  for (std::uint32_t i = 1; i <= 3; ++i) CHECK_FALSE(decided(bench.data(i * 100, 100), "drop"));
  CHECK(decided(bench.data(400, 100), "drop"));
  CHECK_FALSE(decided(bench.wait(milliseconds{3999}), "drop_queue"));
  CHECK(decided(bench.wait(milliseconds{1}), "drop_queue"));
  // The hole is still there: filling it brings nothing of what was dropped.
  CHECK(bench.data(0, 100).forward.size() == 1);
}

TEST_CASE("a device that asks for what is missing does so on behalf of the receiver", "[middlebox]") {
  const auto inspect = device("inspect-dupack");
  DeviceBench bench{*inspect};
  (void)bench.data(0, 100);
  const auto out = bench.data(200, 100);
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].direction == Direction::inward);
  CHECK(out.forward[0].header.source_port == 10000);
  CHECK(out.forward[0].header.acknowledgement == kInnerIsn + 1 + 100);
  CHECK(out.forward[0].header.flags == kAck);
}

TEST_CASE("a watcher forwards past a hole, and kills the flow when the hole stays", "[middlebox]") {
  const auto ips = device("ips");
  DeviceBench bench{*ips};
  CHECK(bench.data(100, 100).forward.size() == 1);
  CHECK(decided(bench.wait(seconds{4}), "kill"));
  CHECK(ips->dead());
  CHECK(bench.data(0, 100).forward.empty());
  CHECK(bench.ack(0).forward.empty());
}

TEST_CASE("a watcher that resets tells both ends, at numbers that they accept", "[middlebox]") {
  const auto ips = device("ips-rst");
  DeviceBench bench{*ips};
  (void)bench.data(0, 50);
  (void)bench.data(100, 100, 0);
  const auto out = bench.wait(seconds{4});
  REQUIRE(out.forward.size() == 2);
  for (const auto& reset : out.forward) {
    CHECK((reset.header.flags & kRst) != 0);
    CHECK(reset.header.sequence == (reset.direction == Direction::outward ? kInnerIsn + 1 + 50 : kOuterIsn + 1));
  }
}

TEST_CASE("too many octets past a hole end the flow before its time is over", "[middlebox]") {
  const auto ips = device("ips");
  DeviceBench bench{*ips};
  std::uint32_t offset = 100;
  bool killed = false;
  for (int i = 0; i < 400 && !killed; ++i, offset += 1000) killed = decided(bench.data(offset, 1000), "kill");
  CHECK(killed);
  CHECK(offset > 256 * 1024);
}

TEST_CASE("ACKs of what was not seen are dropped, or close the hole, as the device has it", "[middlebox]") {
  const auto strict = device("ips");
  DeviceBench bench{*strict};
  (void)bench.data(100, 100);
  CHECK(bench.ack(200).forward.empty());

  const auto believing = device("ips-skip");
  DeviceBench other{*believing};
  (void)other.data(100, 100);
  CHECK(other.ack(200).forward.size() == 1);
  CHECK_FALSE(believing->next_deadline());
  CHECK_FALSE(decided(other.wait(seconds{10}), "kill"));
}

TEST_CASE("a normalizer drops what it has seen and what differs from the first copy", "[middlebox]") {
  const auto normalizer = device("normalizer");
  DeviceBench bench{*normalizer};
  CHECK(bench.data(0, 100).forward.size() == 1);
  CHECK(bench.data(0, 100).forward.empty());
  auto other = segment(Direction::outward, kAck, kInnerIsn + 1 + 50, kOuterIsn + 1, 100);
  other.payload[10] ^= 1;  // within what it has forwarded
  CHECK(bench.give(other).forward.empty());
  CHECK(bench.data(50, 100).forward.size() == 1);  // the same octets, and some new ones
}

TEST_CASE("sequence numbers wrap without a hole", "[middlebox]") {
  const auto inspect = device("inspect");
  DeviceBench bench{*inspect};
  std::uint32_t sequence = kOuterIsn + 1;
  for (int i = 0; i < 10; ++i, sequence += 100) {
    const auto out = bench.give(segment(Direction::inward, kAck, sequence, kInnerIsn + 1, 100));
    CHECK(out.forward.size() == 1);
    CHECK(out.decisions.empty());
  }
}

TEST_CASE("nothing of a flow passes whose handshake was not seen", "[middlebox]") {
  Inspector inspector{{}};
  Output out;
  inspector.handle(segment(Direction::outward, kAck, 5, 5, 10), Instant{}, out);
  CHECK(out.forward.empty());
}

TEST_CASE("an ASA that proxies acknowledges on behalf and sees it through to the receiver", "[middlebox]") {
  Inspector inspector{
      {.past_gap = InspectorRules::PastGap::hold, .queue_segments = 3, .duplicate_acks = true, .ack_on_behalf = true}};
  DeviceBench bench{inspector};
  auto out = bench.data(0, 100);
  REQUIRE(out.forward.size() == 2);  // the data, and its ACK
  CHECK(out.forward[1].direction == Direction::inward);
  CHECK(out.forward[1].header.acknowledgement == kInnerIsn + 1 + 100);
  CHECK(out.forward[1].header.sequence == kOuterIsn + 1);

  CHECK(bench.ack(0).forward.empty());  // the receiver is behind: its sender need not know
  out = bench.ack(0, 30000);            // but for another window
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].header.acknowledgement == kInnerIsn + 1 + 100);
  CHECK(out.forward[0].changed);

  CHECK(bench.ack(0, 30000).forward.empty());
  out = bench.ack(0, 30000);  // the third duplicate: the device itself sends again
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].direction == Direction::outward);
  CHECK(out.forward[0].header.sequence == kInnerIsn + 1);
  CHECK(out.forward[0].payload.size() == 100);
  out = bench.wait(seconds{1});  // and after a while, whatever the receiver says
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].payload.size() == 100);

  (void)bench.ack(100, 30000);
  CHECK_FALSE(inspector.next_deadline());
  CHECK(inspector.kept_octets() == 0);
  out = bench.data(200, 100);  // a hole: nothing goes on, duplicate ACK
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].header.acknowledgement == kInnerIsn + 1 + 100);
  out = bench.data(100, 100);
  REQUIRE(out.forward.size() == 3);
  CHECK(out.forward[2].header.acknowledgement == kInnerIsn + 1 + 300);
}

TEST_CASE("a receiver that never acknowledges does not fill the memory of who answers for it", "[middlebox]") {
  Inspector inspector{{.ack_on_behalf = true}};
  DeviceBench bench{inspector};
  std::size_t passed = 0;
  for (std::uint32_t i = 0; i < 1000; ++i) passed += bench.data(i * 1000, 1000).forward.empty() ? 0U : 1U;
  CHECK(passed == Keeper::kOctetsMost / 1000);
  CHECK(inspector.kept_octets() <= Keeper::kOctetsMost);
}

TEST_CASE("data past the receiver's window is dropped, scaled if both ends scale", "[middlebox]") {
  Inspector inspector{{.discard_past_window = true}};
  DeviceBench bench{inspector};  // 65535 without scaling
  CHECK(bench.data(65535, 10).forward.size() == 1);
  CHECK(bench.data(65536, 10).forward.empty());
  (void)bench.data(0, 1000);
  (void)bench.ack(1000);
  CHECK(bench.data(65536, 10).forward.size() == 1);

  Inspector scaled{{.discard_past_window = true}};
  for (const auto direction : {Direction::outward, Direction::inward}) {
    const bool outward = direction == Direction::outward;
    auto syn = segment(direction, outward ? kSyn : kSyn | kAck, outward ? kInnerIsn : kOuterIsn,
                       outward ? 0 : kInnerIsn + 1, 0, 1000);
    syn.header.options.window_scale = 4;
    Output out;
    scaled.handle(syn, Instant{}, out);
  }
  Output out;
  scaled.handle(segment(Direction::outward, kAck, kInnerIsn + 1 + 1001, kOuterIsn + 1, 10), Instant{}, out);
  CHECK(out.forward.empty());  // the SYN-ACK's window is not scaled
  scaled.handle(segment(Direction::inward, kAck, kOuterIsn + 1, kInnerIsn + 1, 0, 1000), Instant{}, out);
  scaled.handle(segment(Direction::outward, kAck, kInnerIsn + 1 + 16000, kOuterIsn + 1, 10), Instant{}, out);
  CHECK(out.forward.size() == 2);
}

TEST_CASE("the first copy wins over what is sent again with other octets", "[middlebox]") {
  const auto snort = device("snort-inline");
  DeviceBench bench{*snort};
  const auto first = bench.data(100, 100).forward.at(0).payload;
  auto other = segment(Direction::outward, kAck, kInnerIsn + 1 + 150, kOuterIsn + 1, 100);
  for (auto& octet : other.payload) octet = 0xEE;
  const auto out = bench.give(other);
  REQUIRE(out.forward.size() == 1);
  CHECK(decided(out, "rewrite"));
  CHECK(out.forward[0].changed);
  CHECK(std::equal(first.begin() + 50, first.end(), out.forward[0].payload.begin()));
  CHECK(out.forward[0].payload[50] == 0xEE);
}

TEST_CASE("segments without octets past a hole are bounded, too", "[middlebox]") {
  for (const auto* name : {"ips", "ips-hold"}) {
    const auto ips = device(name);
    DeviceBench bench{*ips};
    bool killed = false;
    for (std::uint32_t i = 0; i < 10000 && !killed; ++i) {
      killed = decided(
          bench.give(segment(Direction::outward, kAck | transports::ctcp::kFin, kInnerIsn + 10 + i * 4, kOuterIsn + 1)),
          "kill");
    }
    CHECK(killed);
  }
}
