#include "transports/ctcp/sender_ring.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::transports::ctcp;
using std::chrono::milliseconds;
using Block = Acknowledgement::Block;

namespace {

constexpr std::uint64_t kFirst = (std::uint64_t{1} << 32U) - 1;  // the wire's number wraps after one octet

struct Ring {
  Instant now{std::chrono::hours{1}};
  SenderRing ring;
  explicit Ring(SenderLimits limits = {}) : ring{kFirst, limits} { ring.sample_rtt(milliseconds{40}); }
  /// Sends segments of 100 octets, a millisecond apart.
  void send(unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      REQUIRE(ring.append(Bytes(2, 1), Bytes(98, static_cast<std::uint8_t>(i))));
      REQUIRE(ring.poll_new(now));
      now += milliseconds{1};
    }
  }
  void ack(unsigned segments, std::vector<Block> sack = {}, bool pure = true) {
    ring.handle_ack({kFirst + segments * 100, sack, pure}, now);
  }
  [[nodiscard]] static Block block(unsigned from, unsigned to) { return {kFirst + from * 100, kFirst + to * 100}; }
  std::vector<unsigned> resent() {
    std::vector<unsigned> out;
    while (const auto piece = ring.poll_resend(now)) {
      out.push_back(static_cast<unsigned>((piece->begin - kFirst) / 100));
    }
    return out;
  }
};

}  // namespace

TEST_CASE("three duplicate ACKs send the first segment again, with the same octets", "[ctcp][sender]") {
  Ring r;
  r.send(5);
  r.ack(1);
  for (int i = 0; i < 5; ++i) r.ack(1);  // too soon to be about what followed the first segment
  CHECK(r.resent().empty());
  r.now += milliseconds{40};
  r.ack(1);
  r.ack(1);
  CHECK(r.resent().empty());
  r.ack(1);
  const auto piece = r.ring.poll_resend(r.now);
  REQUIRE(piece);
  CHECK(piece->begin == kFirst + 100);
  CHECK(piece->octets[0] == 1);
  CHECK(piece->octets[2] == 1);
  r.ack(1);
  CHECK(r.resent().empty());  // not again at once
}

TEST_CASE("SACK three segments deep sends exactly the holes again", "[ctcp][sender][rfc6675]") {
  Ring r;
  r.send(10);
  r.now += milliseconds{40};
  r.ack(1, {Ring::block(2, 4)}, false);
  CHECK(r.resent().empty());
  r.now += milliseconds{5};
  r.ack(1, {Ring::block(5, 7), Ring::block(2, 4)}, false);
  CHECK(r.resent() == std::vector<unsigned>{1});
  r.now += milliseconds{5};
  r.ack(1, {Ring::block(5, 9), Ring::block(2, 4)}, false);
  CHECK(r.resent() == std::vector<unsigned>{4});
  r.ack(10);
  CHECK(r.ring.in_flight() == 0);
  CHECK_FALSE(r.ring.next_deadline());
}

TEST_CASE("SACK costs a look at what is new of it, and is bounded for who tells it in ever other words",
          "[ctcp][sender][flood]") {
  Ring r;
  r.send(10'000);
  for (unsigned end = 2; end <= 10'000; end += 2) r.ack(0, {Ring::block(1, end)}, false);
  CHECK(r.ring.counters().sacked_segments == 9'999);
  CHECK(r.ring.counters().sack_looks < 20'000);
  for (unsigned i = 0; i < 1000; ++i) r.ack(0, {Ring::block(1 + i % 2, 5000), Ring::block(6000 + i % 3, 9999)}, false);
  CHECK(r.ring.counters().sack_looks < 20'000 + 1000 * 2 * 1025);
  r.ack(10'000);
  CHECK(r.ring.in_flight() == 0);
}

TEST_CASE("where a block ends within a segment, the whole of it is marked once all is there", "[ctcp][sender]") {
  Ring r;
  r.send(10);
  r.ring.handle_ack({kFirst, std::vector<Block>{{kFirst + 100, kFirst + 350}}, false}, r.now);
  CHECK(r.ring.counters().sacked_segments == 2);
  r.ring.handle_ack({kFirst, std::vector<Block>{{kFirst + 100, kFirst + 600}}, false}, r.now);
  CHECK(r.ring.counters().sacked_segments == 5);
}

TEST_CASE("what is overdue is sent again, then ever later, and after ten times only now and then", "[ctcp][sender]") {
  Ring r;
  r.send(2);
  const auto start = r.now - milliseconds{2};
  // A smoothed round trip of 40 ms, four variations of 5 ms, an ACK delay of 20 ms.
  REQUIRE(r.ring.next_deadline() == start + milliseconds{80});
  std::vector<Duration> waits;
  auto last = start;
  for (unsigned i = 0; i < SenderRing::kResends + 2; ++i) {
    const auto due = r.ring.next_deadline();
    REQUIRE(due);
    waits.push_back(*due - last);
    last = r.now = *due;
    r.ring.handle_deadline(r.now);
    REQUIRE(r.resent() == std::vector<unsigned>{0});
  }
  CHECK(waits[1] == milliseconds{80});
  CHECK(waits[2] == milliseconds{160});
  CHECK(waits[SenderRing::kResends - 1] == SenderRing::kStallCeiling);
  CHECK(waits.back() == SenderRing::kLastResort);
  CHECK(r.ring.counters().resends_exhausted == 1);
}

TEST_CASE("two segments behind one that is overdue call for it sooner", "[ctcp][sender][rfc5681]") {
  Ring r;
  r.send(3);
  CHECK(r.ring.next_deadline() == r.now - milliseconds{1} + milliseconds{60});
}

TEST_CASE("the ACKs that a filled gap lets loose are waited for before another gap is seen in them", "[ctcp][sender]") {
  Ring r;
  r.send(20);
  r.now += milliseconds{45};
  for (int i = 0; i < 4; ++i) r.ack(1);
  REQUIRE(r.resent() == std::vector<unsigned>{1});
  r.now += milliseconds{45};
  for (unsigned at = 3; at <= 19; at += 2) {
    r.ack(at);
    r.now += milliseconds{1};
    r.ring.handle_deadline(r.now);
    REQUIRE(r.resent().empty());
  }
  CHECK_FALSE(r.ring.discarding());
}

TEST_CASE("re-sends stay within a quarter of what is sent", "[ctcp][sender]") {
  Ring r;
  unsigned resent = 0;
  for (unsigned round = 0; round < 200; ++round) {
    r.send(8);
    r.now += milliseconds{100};
    // Every other segment is missing, for ever.
    const auto base = round * 8;
    r.ack(0, {Ring::block(base + 7, base + 8), Ring::block(base + 5, base + 6), Ring::block(base + 3, base + 4)},
          false);
    resent += static_cast<unsigned>(r.resent().size());
  }
  CHECK(r.ring.counters().over_budget > 0);
  CHECK(resent <= 1600 / 4 + 32);
}

namespace {

/// A device that discards all past a gap: nothing is acknowledged but what was sent again.
void step_until_proven(Ring& r) {
  unsigned acknowledged = 1;
  for (unsigned step = 0; step < 6 && !r.ring.discarding(); ++step) {
    for (int i = 0; i < 4; ++i) r.ack(acknowledged);
    if (r.ring.discarding()) break;
    acknowledged += static_cast<unsigned>(r.resent().size());
    r.now += milliseconds{100};
  }
}

}  // namespace

TEST_CASE("single steps show a discarding device, and all that it discarded is sent again", "[ctcp][sender]") {
  Ring r;
  r.send(60);
  r.now += milliseconds{100};
  step_until_proven(r);
  REQUIRE(r.ring.discarding());
  CHECK(r.ring.counters().go_backs == 1);
  CHECK(r.ring.counters().rewinds == 0);
  const auto again = r.resent();
  CHECK(again.size() == r.ring.in_flight() / 100);
  CHECK(again.back() == 59);
}

TEST_CASE("what the budget does not buy back is given up, and the latest go out at the first positions",
          "[ctcp][sender]") {
  Ring r;
  r.send(400);
  r.now += milliseconds{100};
  step_until_proven(r);
  REQUIRE(r.ring.discarding());
  REQUIRE(r.ring.counters().rewinds == 1);
  CHECK(r.ring.highest_sent() == kFirst + 40000);
  const auto una = r.ring.una();
  const auto kept = r.ring.in_flight() / 100;
  CHECK(kept > 32);
  CHECK(kept < 300);
  for (unsigned i = 0; i < kept; ++i) {
    const auto piece = r.ring.poll_new(r.now);
    REQUIRE(piece);
    CHECK(piece->begin == una + i * 100);
    CHECK(piece->octets[2] == static_cast<std::uint8_t>(400 - kept + i));
  }
  CHECK_FALSE(r.ring.poll_new(r.now));
  r.ack(400);  // they came through after all: go on behind them
  CHECK(r.ring.next() == kFirst + 40000);
  CHECK_FALSE(r.ring.discarding());
}

TEST_CASE("where an acknowledgement ends within a frame nothing else is ever sent in place of its rest",
          "[ctcp][sender]") {
  Ring r;
  r.send(400);
  r.now += milliseconds{100};
  // As step_until_proven(), by a device that takes half a segment more.
  unsigned acknowledged = 1;
  for (unsigned step = 0; step < 10; ++step) {
    for (int i = 0; i < 4; ++i) r.ring.handle_ack({kFirst + acknowledged * 100 + 50, {}, true}, r.now);
    if (r.ring.discarding()) break;
    acknowledged += static_cast<unsigned>(r.resent().size());
    r.now += milliseconds{100};
  }
  REQUIRE(r.ring.discarding());
  CHECK(r.ring.counters().rewinds == 0);
}

TEST_CASE("a jump over held segments, SACK or a proven proxy keep the ring", "[ctcp][sender]") {
  for (const int kind : {0, 1, 2}) {
    Ring r;
    r.send(40);
    r.now += milliseconds{100};
    if (kind == 1) r.ack(1, {Ring::block(39, 40)}, false);
    if (kind == 2) r.ring.forbid_rewind();
    unsigned at = 1;
    for (unsigned step = 0; step < 5; ++step) {
      for (int i = 0; i < 4; ++i) r.ack(at);
      r.resent();
      r.now += milliseconds{45};
      at += kind == 0 ? 7 : 1;
    }
    INFO(kind);
    CHECK(r.ring.counters().rewinds == 0);
    if (kind != 2) CHECK_FALSE(r.ring.discarding());
  }
}

TEST_CASE("the ring refuses what has no room, and finds room where it was acknowledged", "[ctcp][sender]") {
  Ring r{{.bytes = 1000}};
  r.send(10);
  CHECK_FALSE(r.ring.has_room(100));
  CHECK_FALSE(r.ring.append({}, Bytes(100)));
  r.ack(3);
  CHECK(r.ring.append({}, Bytes(200)));
  CHECK_FALSE(r.ring.append({}, Bytes(200)));
}
