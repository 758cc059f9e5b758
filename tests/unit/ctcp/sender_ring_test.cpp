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

TEST_CASE("a stall sends the first segment again after 1.5 srtt + 20 ms, then ever later, at most ten times",
          "[ctcp][sender]") {
  Ring r;
  r.send(2);
  const auto start = r.now - milliseconds{2};
  REQUIRE(r.ring.next_deadline() == start + milliseconds{80});
  std::vector<Duration> waits;
  auto last = start;
  while (const auto due = r.ring.next_deadline()) {
    waits.push_back(*due - last);
    last = r.now = *due;
    r.ring.handle_deadline(r.now);
    REQUIRE(r.resent() == std::vector<unsigned>{0});
  }
  REQUIRE(waits.size() == SenderRing::kResends);
  CHECK(waits[1] == milliseconds{160});
  CHECK(waits.back() == SenderRing::kStallCeiling);
  CHECK(r.ring.counters().resends_exhausted == 1);
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

TEST_CASE("three single steps show a discarding device, and the ring is forgotten", "[ctcp][sender]") {
  Ring r;
  r.send(20);
  r.now += milliseconds{100};
  for (unsigned step = 0; step < 4 && r.ring.counters().rewinds == 0; ++step) {
    for (int i = 0; i < 4; ++i) r.ack(1 + step);
    r.resent();
    r.now += milliseconds{45};
  }
  CHECK(r.ring.discarding());
  CHECK(r.ring.counters().rewinds == 1);
  CHECK(r.ring.next() == r.ring.una());
  CHECK(r.ring.highest_sent() == kFirst + 2000);
  r.ack(20);  // they came through after all: go on behind them
  CHECK(r.ring.next() == kFirst + 2000);
  CHECK_FALSE(r.ring.discarding());
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
    CHECK_FALSE(r.ring.discarding());
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
