#include <array>
#include <catch2/catch.hpp>

#include "tests/support/seeded_random.h"
#include "tests/support/virtual_clock.h"
#include "transports/ctcp/tcp_engine.h"

using namespace switchback;
using namespace switchback::transports::ctcp;
namespace stream = switchback::transports::stream;
using std::chrono::milliseconds;
using std::chrono::seconds;
using stream::Content;

namespace {

/// A segment that owns its octets.
struct Kept {
  TcpHeader header;
  Bytes payload;
  [[nodiscard]] TcpSegmentView view() const { return {header, payload}; }
};

Bytes esp(std::uint8_t fill, std::size_t size = 200) {
  Bytes octets(size, fill);
  store_be(octets.data(), std::uint32_t{0xC0FFEE01});
  return octets;
}

/// Two engines whose segments a test hands over by hand.
struct Pair {
  test::VirtualClock clock;
  test::SeededRandom random{2};
  SynCookies cookies{Secret{32}, 1400};
  AddressPair path{{IpAddress::v4(1), 10000}, {IpAddress::v4(2), 40000}};
  TcpEngine client = TcpEngine::connect(config(40000, 10000), random, clock.now());
  std::optional<TcpEngine> headend;

  static EngineConfig config(std::uint16_t local, std::uint16_t remote) {
    EngineConfig out;
    out.local_port = local;
    out.remote_port = remote;
    out.mss = 1400;
    return out;
  }
  std::vector<Kept> drain(TcpEngine& from) {
    std::vector<Kept> out;
    while (const auto segment = from.poll_segment(clock.now()))
      out.push_back({segment->header, to_bytes(segment->payload)});
    return out;
  }
  static std::vector<Bytes> frames(TcpEngine& at) {
    std::vector<Bytes> out;
    while (const auto frame = at.poll_frame()) out.push_back(to_bytes(frame->payload));
    return out;
  }
  std::vector<Bytes> give(TcpEngine& to, const Kept& segment) {
    to.handle_segment(segment.view(), clock.now());
    return frames(to);
  }
  void establish() {
    const auto syn = drain(client).at(0);
    const auto answer = cookies.answer(syn.view(), path, clock.now()).value();
    give(client, {answer.header, {}});
    REQUIRE(client.state() == EngineState::established);
    drain(client);
    REQUIRE(client.send_frame(Content::esp, esp(1)) == SendVerdict::taken);
    const auto first = drain(client).at(0);
    REQUIRE(same_bytes(ByteView{first.payload}.first(6), stream::kPrefix));
    headend.emplace(
        TcpEngine::accept(config(10000, 40000), cookies.accept(first.view(), path, clock.now()).value(), clock.now()));
    REQUIRE(give(*headend, first).size() == 1);
    // Let the answer and its acknowledgement pass, so that both ends are at rest.
    REQUIRE(headend->send_frame(Content::esp, esp(2)) == SendVerdict::taken);
    for (const auto& segment : drain(*headend)) give(client, segment);
    clock.advance(milliseconds{25});
    client.handle_deadline(clock.now());
    for (const auto& segment : drain(client)) give(*headend, segment);
  }
  Kept send(TcpEngine& from, std::uint8_t fill) {
    REQUIRE(from.send_frame(Content::esp, esp(fill)) == SendVerdict::taken);
    return drain(from).at(0);
  }
};

}  // namespace

TEST_CASE("the handshake agrees on options and carries the first frame", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  CHECK_FALSE(pair.client.signals().proxy_proven);
  CHECK_FALSE(pair.headend->signals().proxy_proven);
  CHECK(pair.client.sender()->in_flight() == 0);
  CHECK(pair.headend->sender()->in_flight() == 0);
  CHECK(pair.client.maximum_esp_bytes() == 1400 - 12 - 2);
}

TEST_CASE("a SYN is repeated, and given up after its tries", "[ctcp][engine]") {
  Pair pair;
  CHECK(pair.drain(pair.client).size() == 1);
  unsigned syns = 1;
  while (const auto due = pair.client.next_deadline()) {
    pair.clock.advance_to(*due);
    pair.client.handle_deadline(pair.clock.now());
    syns += static_cast<unsigned>(pair.drain(pair.client).size());
    REQUIRE(syns < 20);
  }
  CHECK(syns == 6);
  CHECK(pair.client.close_reason() == CloseReason::timed_out);
}

TEST_CASE("frames behind a lost segment come at once, with a duplicate ACK and SACK", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  const auto lost = pair.send(pair.client, 3);
  const auto second = pair.send(pair.client, 4);
  CHECK(pair.give(*pair.headend, second) == std::vector<Bytes>{esp(4)});
  const auto acks = pair.drain(*pair.headend);
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].header.acknowledgement == lost.header.sequence);
  REQUIRE(acks[0].header.options.sack_count == 1);
  CHECK(acks[0].header.options.sack[0].left == second.header.sequence);
  CHECK(pair.give(*pair.headend, lost) == std::vector<Bytes>{esp(3)});
  CHECK(pair.drain(*pair.headend).at(0).header.acknowledgement == second.header.sequence + second.payload.size());
}

TEST_CASE("a hole is acknowledged past after 250 ms, and its late octets are still taken", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  const auto lost = pair.send(pair.client, 3);
  const auto second = pair.send(pair.client, 4);
  pair.give(*pair.headend, second);
  pair.drain(*pair.headend);
  pair.clock.advance(milliseconds{249});
  pair.headend->handle_deadline(pair.clock.now());
  CHECK(pair.headend->receiver()->counters().holes_given_up == 0);
  pair.clock.advance(milliseconds{400});
  pair.headend->handle_deadline(pair.clock.now());
  CHECK(pair.headend->receiver()->counters().holes_given_up == 1);
  const auto acks = pair.drain(*pair.headend);
  REQUIRE(!acks.empty());
  CHECK(acks.back().header.acknowledgement == second.header.sequence + second.payload.size());
  CHECK(pair.give(*pair.headend, lost) == std::vector<Bytes>{esp(3)});
}

TEST_CASE("who sends every other octet is given neither memory nor time beyond a bound", "[ctcp][engine][flood]") {
  for (const bool ack_high : {false, true}) {
    ReceiverConfig config;
    config.window = 4U << 20U;
    config.ack_high = ack_high;
    const std::uint64_t first = (std::uint64_t{1} << 32U) + 7;
    StreamReceiver receiver{first, config};
    const Instant now{std::chrono::hours{1}};
    const std::array<std::uint8_t, 1> octet{0x5A};
    for (std::uint64_t i = 1; i < 20'000; ++i) {
      receiver.start();
      receiver.handle_data(first + 2 * i, octet, {}, milliseconds{10}, now);
      REQUIRE(receiver.ranges() <= StreamReceiver::kMaximumRanges + 1);
    }
    // What was forgotten counts as received: nothing is handed up twice, and the next octets are taken.
    const auto outside = receiver.counters().outside_window;
    receiver.handle_data(first + 2, octet, {}, milliseconds{10}, now);
    CHECK(receiver.counters().outside_window == outside + 1);
    const auto end = receiver.highest();
    receiver.handle_data(end, octet, {}, milliseconds{10}, now);
    CHECK(receiver.highest() == end + 1);
  }
}

TEST_CASE("forged segments from off the path change nothing", "[ctcp][engine][rfc5961]") {
  Pair pair;
  pair.establish();
  const auto real = pair.send(pair.client, 3);
  const auto expected = real.header.sequence;
  const auto attempt = [&](std::uint8_t flags, std::uint32_t sequence, std::uint32_t ack, std::uint32_t echo) {
    Kept forged{real.header, Bytes(100, 0x66)};
    forged.header.flags = flags;
    forged.header.sequence = sequence;
    forged.header.acknowledgement = ack;
    forged.header.options.timestamps->echo = echo;
    return pair.give(*pair.headend, forged);
  };
  const auto echo = real.header.options.timestamps->echo;
  const auto ack = real.header.acknowledgement;
  // Each has everything right but one thing that the forger cannot know.
  CHECK(attempt(kAck, expected, ack, echo + 0x40000000).empty());
  CHECK(attempt(kAck, expected, ack + 0x01000000, echo).empty());
  CHECK(attempt(kAck, expected + 0x20000000, ack, echo).empty());
  CHECK(attempt(kSyn, expected, 0, echo).empty());
  CHECK(attempt(kFin | kAck, expected + 5000, ack, echo + 0x40000000).empty());
  CHECK(attempt(kRst, expected + 1, 0, 0).empty());
  CHECK(attempt(kRst, expected - 1, 0, 0).empty());
  CHECK(pair.headend->state() == EngineState::established);
  CHECK(pair.headend->signals().resets == 0);
  CHECK(pair.headend->signals().remote_fins == 0);
  CHECK(pair.give(*pair.headend, real) == std::vector<Bytes>{esp(3)});
}

TEST_CASE("challenge ACKs are few however many forged segments come", "[ctcp][engine][rfc5961]") {
  Pair pair;
  pair.establish();
  auto forged = pair.send(pair.client, 3);
  forged.header.flags = kSyn;
  std::size_t answers = 0;
  for (int i = 0; i < 1000; ++i) {
    pair.give(*pair.headend, forged);
    answers += pair.drain(*pair.headend).size();
  }
  CHECK(answers <= 6);
}

TEST_CASE("an RST with the exact number is a signal and no end", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  auto real = pair.send(pair.client, 3);
  auto reset = real;
  reset.header.flags = kRst;
  reset.payload.clear();
  pair.give(*pair.headend, reset);
  CHECK(pair.headend->signals().resets == 1);
  CHECK(pair.headend->state() == EngineState::established);
  CHECK(pair.give(*pair.headend, real).size() == 1);
}

TEST_CASE("a closed window refuses frames, is probed, and lets them through when it opens", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  auto update = pair.send(*pair.headend, 9);
  update.header.window = 0;
  pair.give(pair.client, update);
  CHECK(pair.client.send_frame(Content::esp, esp(3)) == SendVerdict::no_window);
  CHECK(pair.client.signals().window_drops == 1);
  CHECK(pair.client.signals().zero_windows == 1);
  pair.drain(pair.client);
  pair.clock.advance(milliseconds{300});
  pair.client.handle_deadline(pair.clock.now());
  const auto probe = pair.drain(pair.client);
  REQUIRE(probe.size() == 1);
  pair.give(*pair.headend, probe[0]);
  const auto answer = pair.drain(*pair.headend);
  REQUIRE(!answer.empty());
  pair.give(pair.client, answer.back());
  CHECK(pair.client.send_frame(Content::esp, esp(3)) == SendVerdict::taken);
}

TEST_CASE("an ESP packet beyond a segment is refused, an IKE message is cut", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  CHECK(pair.client.send_frame(Content::esp, esp(1, pair.client.maximum_esp_bytes() + 1)) == SendVerdict::too_big);
  CHECK(pair.client.send_frame(Content::esp, esp(1, pair.client.maximum_esp_bytes())) == SendVerdict::taken);
  const Bytes ike(3000, 0x42);
  REQUIRE(pair.client.send_frame(Content::ike, ike) == SendVerdict::taken);
  std::vector<Bytes> got;
  for (const auto& segment : pair.drain(pair.client)) {
    for (auto& frame : pair.give(*pair.headend, segment)) got.push_back(std::move(frame));
  }
  REQUIRE(got.size() == 2);
  CHECK(got[1] == ike);
  CHECK_FALSE(pair.headend->signals().proxy_proven);
}

TEST_CASE("a ring that is full of small segments refuses a cut IKE message as a whole", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  unsigned sent = 0;
  while (pair.headend->send_frame(Content::esp, esp(3, 40)) == SendVerdict::taken) {
    ++sent;
    pair.drain(*pair.headend);
    REQUIRE(sent < 100'000);
    // With room for one segment only, a message of three must leave nothing of itself in the stream.
    if (sent + 1 < SenderLimits{}.segments) continue;
    const auto next = pair.headend->sender()->next();
    CHECK(pair.headend->send_frame(Content::ike, Bytes(3000, 9)) == SendVerdict::no_room);
    CHECK(pair.headend->sender()->next() == next);
  }
  CHECK(sent == SenderLimits{}.segments);
}

TEST_CASE("segments that are under way are taken when the timestamps of a long connection wrap",
          "[ctcp][engine][rfc7323]") {
  Pair pair;
  const auto begun = pair.clock.now();
  pair.establish();
  for (std::int64_t quarter = 1; quarter < 4; ++quarter) {  // keepalives would do the same
    pair.clock.advance_to(begun + milliseconds{quarter << 30U});
    CHECK(pair.give(*pair.headend, pair.send(pair.client, 4)).size() == 1);
    CHECK(pair.give(pair.client, pair.send(*pair.headend, 4)).size() == 1);
  }
  pair.clock.advance_to(begun + milliseconds{(std::int64_t{1} << 32) - 5});
  const auto before = pair.send(pair.client, 4);
  pair.clock.advance(milliseconds{5});
  CHECK(pair.give(*pair.headend, before).size() == 1);
  const auto answer = pair.send(*pair.headend, 5);
  pair.clock.advance(milliseconds{2});
  pair.send(pair.client, 6);
  CHECK(pair.give(pair.client, answer).size() == 1);
  CHECK(pair.client.signals().forged == 0);
}

TEST_CASE("a stream that is not ours is reset", "[ctcp][engine]") {
  Pair pair;
  const auto syn = pair.drain(pair.client).at(0);
  const auto answer = pair.cookies.answer(syn.view(), pair.path, pair.clock.now()).value();
  Kept get{syn.header, to_bytes(as_bytes("GET / HTTP/1.1\r\n"))};
  get.header.flags = kAck;
  get.header.sequence = syn.header.sequence + 1;
  get.header.acknowledgement = answer.header.sequence + 1;
  get.header.options = {};
  get.header.options.timestamps = Timestamps{1, answer.header.options.timestamps->value};
  const auto agreed = pair.cookies.accept(get.view(), pair.path, pair.clock.now());
  REQUIRE(agreed);
  pair.headend.emplace(TcpEngine::accept(Pair::config(10000, 40000), *agreed, pair.clock.now()));
  CHECK(pair.give(*pair.headend, get).empty());
  CHECK(pair.headend->close_reason() == CloseReason::not_our_stream);
  CHECK(pair.drain(*pair.headend).at(0).header.has(kRst));
}

TEST_CASE("silence sends a keepalive that the other end answers", "[ctcp][engine][rfc9293]") {
  Pair pair;
  pair.establish();
  pair.clock.advance(seconds{21});
  pair.client.handle_deadline(pair.clock.now());
  const auto probe = pair.drain(pair.client);
  REQUIRE(probe.size() == 1);
  CHECK(probe[0].payload.empty());
  pair.give(*pair.headend, probe[0]);
  CHECK(pair.drain(*pair.headend).size() == 1);
}

TEST_CASE("closing sends FIN until it is acknowledged, and both ends finish", "[ctcp][engine]") {
  Pair pair;
  pair.establish();
  pair.client.close(pair.clock.now());
  const auto fin = pair.drain(pair.client);
  REQUIRE(fin.size() == 1);
  CHECK(fin[0].header.has(kFin));
  pair.give(*pair.headend, fin[0]);
  CHECK(pair.headend->signals().remote_fins == 1);
  CHECK(pair.headend->state() == EngineState::established);
  pair.headend->close(pair.clock.now());
  for (const auto& segment : pair.drain(*pair.headend)) pair.give(pair.client, segment);
  for (const auto& segment : pair.drain(pair.client)) pair.give(*pair.headend, segment);
  for (int i = 0; i < 20; ++i) {
    for (auto* end : {&pair.client, &*pair.headend}) {
      if (const auto due = end->next_deadline()) pair.clock.advance_to(*due);
      end->handle_deadline(pair.clock.now());
      pair.drain(*end);
    }
  }
  CHECK(pair.client.state() == EngineState::closed);
  CHECK(pair.headend->state() == EngineState::closed);
}

TEST_CASE("a bare segment is a keepalive that changes nothing here, and is answered where it arrives",
          "[ctcp][rfc9293]") {
  Pair pair;
  pair.establish();
  pair.drain(pair.client);
  const auto deadline = pair.client.next_deadline();
  pair.clock.advance(milliseconds{500});
  const auto bare = pair.client.bare_header(pair.clock.now());
  REQUIRE(bare);
  CHECK(pair.client.next_deadline() == deadline);
  CHECK(pair.drain(pair.client).empty());
  CHECK(bare->flags == kAck);
  CHECK(bare->sequence == static_cast<std::uint32_t>(pair.client.sender()->next() - 1));
  CHECK(bare->options.timestamps.has_value());
  // The next packet has the number that it would have had.
  REQUIRE(pair.client.send_frame(Content::esp, esp(9)) == SendVerdict::taken);
  const auto data = pair.drain(pair.client).at(0);
  CHECK(data.header.sequence == bare->sequence + 1);
  // Should it arrive: an ACK, no duplicate for the sender's loss recovery, and nothing else.
  const auto before = pair.headend->signals().segments;
  pair.give(*pair.headend, {*bare, {}});
  CHECK(pair.headend->signals().segments == before + 1);
  CHECK(pair.headend->sender()->counters().duplicate_acks == 0);
  const auto answers = pair.drain(*pair.headend);
  REQUIRE(answers.size() == 1);
  CHECK(answers[0].payload.empty());
  pair.client.abort();
  CHECK_FALSE(pair.client.bare_header(pair.clock.now()));
}
