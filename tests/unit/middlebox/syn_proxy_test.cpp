#include "tools/middlebox/syn_proxy.h"

#include <catch2/catch.hpp>

#include "tests/unit/middlebox/flow_builder.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;
using namespace transports::ctcp;

namespace {

constexpr std::uint32_t kOwnIsn = 0x7FFFFFFF, kOwnTime = 5;

Segment with_time(Segment segment, std::uint32_t value, std::uint32_t echo) {
  segment.header.options.timestamps = Timestamps{value, echo};
  return segment;
}

Output give(SynProxy& proxy, Segment segment) {
  Output out;
  proxy.handle(std::move(segment), Instant{}, out);
  return out;
}

Segment client_syn() {
  auto syn = with_time(segment(Direction::outward, kSyn, kInnerIsn, 0), 100, 0);
  syn.header.options.mss = 1460;
  syn.header.options.window_scale = 9;
  syn.header.options.sack_permitted = true;
  return syn;
}

}  // namespace

TEST_CASE("a SYN proxy answers with window 0, and opens it when the server has answered", "[middlebox]") {
  SynProxy proxy{kOwnIsn, kOwnTime};
  auto out = give(proxy, client_syn());
  REQUIRE(out.forward.size() == 1);
  const auto greeting = out.forward[0].header;
  CHECK(out.forward[0].direction == Direction::inward);
  CHECK(greeting.flags == (kSyn | kAck));
  CHECK(greeting.sequence == kOwnIsn);
  CHECK(greeting.acknowledgement == kInnerIsn + 1);
  CHECK(greeting.window == 0);
  CHECK(greeting.options.window_scale == 7);
  CHECK(greeting.options.timestamps == Timestamps{kOwnTime, 100});

  // Nothing else than its answer gets through to the server.
  CHECK(give(proxy, segment(Direction::outward, kAck, kInnerIsn + 1, kOwnIsn + 2)).forward.empty());
  out = give(proxy, with_time(segment(Direction::outward, kAck, kInnerIsn + 1, kOwnIsn + 1), 101, kOwnTime));
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].header.flags == kSyn);
  CHECK(out.forward[0].header.sequence == kInnerIsn);
  CHECK(out.forward[0].header.options.window_scale == 9);

  auto answer = with_time(segment(Direction::inward, kSyn | kAck, kOuterIsn, kInnerIsn + 1, 0, 64000), 9000, 101);
  answer.header.options.window_scale = 7;
  out = give(proxy, answer);
  REQUIRE(out.forward.size() == 2);
  CHECK(out.forward[0].direction == Direction::outward);
  CHECK(out.forward[0].header.flags == kAck);
  CHECK(out.forward[0].header.acknowledgement == kOuterIsn + 1);
  CHECK(out.forward[0].header.options.timestamps == Timestamps{101, 9000});
  CHECK(out.forward[1].direction == Direction::inward);
  CHECK(out.forward[1].header.sequence == kOwnIsn + 1);
  CHECK(out.forward[1].header.window == 64000 >> 7);

  SECTION("then numbers and timestamps are translated both ways") {
    out = give(proxy, with_time(segment(Direction::inward, kAck, kOuterIsn + 1, kInnerIsn + 1, 10), 9010, 101));
    REQUIRE(out.forward.size() == 1);
    CHECK(out.forward[0].header.sequence == kOwnIsn + 1);
    CHECK(out.forward[0].header.acknowledgement == kInnerIsn + 1);
    CHECK(out.forward[0].header.options.timestamps == Timestamps{kOwnTime + 10, 101});
    auto ack = with_time(segment(Direction::outward, kAck, kInnerIsn + 1, kOwnIsn + 11, 10), 110, kOwnTime + 10);
    ack.header.options.sack_count = 1;
    ack.header.options.sack[0] = {kOwnIsn + 21, kOwnIsn + 31};
    out = give(proxy, ack);
    REQUIRE(out.forward.size() == 1);
    CHECK(out.forward[0].header.acknowledgement == kOuterIsn + 11);
    CHECK(out.forward[0].header.options.sack[0] == SackBlock{kOuterIsn + 21, kOuterIsn + 31});
    CHECK(out.forward[0].header.options.timestamps->echo == 9010);
  }
}

TEST_CASE("each ACK of the client asks a silent server again, and its RST reaches the client", "[middlebox]") {
  SynProxy proxy{kOwnIsn, kOwnTime};
  (void)give(proxy, client_syn());
  CHECK(give(proxy, client_syn()).forward[0].header.sequence == kOwnIsn);  // the SYN again: the same answer
  const auto ack = segment(Direction::outward, kAck, kInnerIsn + 1, kOwnIsn + 1);
  CHECK(give(proxy, ack).forward[0].header.flags == kSyn);
  CHECK(give(proxy, ack).forward[0].header.flags == kSyn);
  const auto out = give(proxy, segment(Direction::inward, kRst | kAck, 0, kInnerIsn + 1));
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].header.sequence == kOwnIsn + 1);
}
