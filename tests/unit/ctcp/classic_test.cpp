#include "transports/ctcp/classic.h"

#include <catch2/catch.hpp>

#include "tests/support/seeded_random.h"

using namespace switchback;
using namespace switchback::transports::ctcp;
namespace stream = switchback::transports::stream;
using std::chrono::seconds;
using stream::Content;

namespace {

constexpr Instant kNow{std::chrono::hours{1}};

Bytes classic_payload(Content content, ByteView packet, ClassicRole from, std::uint16_t sequence) {
  const auto front = classic_header_bytes(content);
  Bytes out(front);
  if (front > 0) write_classic_header(packet.size(), out);
  append(out, packet);
  out.resize(out.size() + kTrailerBytes);
  write_trailer(content, from, sequence, ByteSpan{out}.last(kTrailerBytes));
  return out;
}

struct Pair {
  test::SeededRandom random{4};
  ClassicConnection client = ClassicConnection::connect(40000, 10000, random, kNow);
  std::optional<ClassicConnection> headend;
  SynCookies cookies{Secret{32}, 1460};
  AddressPair path{{IpAddress::v4(1), 10000}, {IpAddress::v4(2), 40000}};
  Bytes esp = Bytes(64, 0x5A);

  Pair() {
    const auto syn = client.poll_segment(kNow).value();
    const auto answer = cookies.answer({syn.header, {}}, path, kNow).value();
    CHECK_FALSE(client.handle_segment({answer.header, {}}, kNow));
    REQUIRE(client.state() == ClassicState::established);
    REQUIRE(client.poll_segment(kNow));  // the ACK of the handshake: the headend keeps nothing for it
  }
  TcpSegmentView data(ClassicConnection& from, const Bytes& payload) {
    return {from.next_header(payload.size(), kNow).value(), payload};
  }
  void establish() {
    const auto payload = classic_payload(Content::esp, esp, ClassicRole::client, 0);
    const auto first = data(client, payload);
    const auto agreed = cookies.accept(first, path, kNow).value();
    headend.emplace(ClassicConnection::accept(10000, 40000, agreed, kNow));
    REQUIRE(headend->handle_segment(first, kNow));
  }
};

}  // namespace

TEST_CASE("the trailer has the original's octets", "[ctcp][classic]") {
  const auto ike = classic_payload(Content::ike, Bytes(28, 0x11), ClassicRole::client, 0x1234);
  REQUIRE(ike.size() == 8 + 28 + 16);
  CHECK(to_hex(ByteView{ike}.first(8)) == "01f401f400240000");
  CHECK(to_hex(ByteView{ike}.last(16)) ==
        "00000000123440002145"
        "6c6910110100");
  const auto back = classic_payload(Content::ike, Bytes(28, 0x11), ClassicRole::headend, 0x1234);
  CHECK(to_hex(ByteView{back}.last(16)) ==
        "00000000123400002145"
        "6c6910110100");
  const auto esp = classic_payload(Content::esp, Bytes(34, 0x22), ClassicRole::client, 0x1234);
  CHECK(to_hex(ByteView{esp}.last(16)) ==
        "00000000000000002145"
        "6c6910320100");
}

TEST_CASE("a payload is parsed by cookie, length octet and protocol, and by nothing else of the trailer",
          "[ctcp][classic]") {
  auto payload = classic_payload(Content::esp, Bytes(40, 0x22), ClassicRole::client, 0);
  CHECK(parse_classic(payload).value().content == Content::esp);
  for (std::size_t i = 0; i < 16; ++i) {
    auto changed = payload;
    changed[40 + i] ^= 0x40;
    const bool checked = i >= 8 && i < 14;
    CHECK(parse_classic(changed).has_value() != checked);
  }
  for (std::size_t size = 0; size < payload.size(); ++size) CHECK_FALSE(parse_classic(ByteView{payload}.first(size)));
  auto ike = classic_payload(Content::ike, Bytes(28, 0x11), ClassicRole::client, 1);
  CHECK(parse_classic(ike).value().payload.size() == 28);
  ike[5] ^= 1;  // UDP length
  CHECK_FALSE(parse_classic(ike));
}

TEST_CASE("the first octets tell the two modes apart", "[ctcp][classic]") {
  CHECK(detect_mode(as_bytes("IKETCP\x01")) == CtcpMode::resilient);
  CHECK(detect_mode(as_bytes("IK")) == CtcpMode::resilient);
  CHECK(detect_mode(classic_payload(Content::esp, Bytes(40, 1), ClassicRole::client, 0)) == CtcpMode::classic);
  CHECK_FALSE(detect_mode(as_bytes("GET / HTTP/1.1")));
  CHECK_FALSE(detect_mode({}));
}

TEST_CASE("segments carry ACK only, no options, window 65535, and acknowledge the highest end seen",
          "[ctcp][classic]") {
  Pair pair;
  pair.establish();
  const auto payload = classic_payload(Content::esp, pair.esp, ClassicRole::client, 0);
  const auto lost = pair.data(pair.client, payload);
  const auto second = pair.data(pair.client, payload);
  CHECK(second.header.flags == kAck);
  CHECK(second.header.window == 65535);
  CHECK(header_bytes(second.header.options) == 20);
  CHECK(second.header.sequence == lost.header.sequence + payload.size());
  REQUIRE(pair.headend->handle_segment(second, kNow));
  const auto back = pair.data(*pair.headend, payload);
  CHECK(back.header.acknowledgement == second.header.sequence + payload.size());
  REQUIRE(pair.headend->handle_segment(lost, kNow));  // late: taken, and nothing goes back
  CHECK(pair.data(*pair.headend, payload).header.acknowledgement == back.header.acknowledgement);
  CHECK_FALSE(pair.headend->poll_segment(kNow));
}

TEST_CASE("a forged segment far ahead does not silence the connection for good", "[ctcp][classic][flood]") {
  Pair pair;
  pair.establish();
  const auto payload = classic_payload(Content::esp, pair.esp, ClassicRole::client, 0);
  const auto there = [&] { return pair.headend->handle_segment(pair.data(pair.client, payload), kNow).has_value(); };
  const auto back = [&] { return pair.client.handle_segment(pair.data(*pair.headend, payload), kNow).has_value(); };
  REQUIRE(back());
  auto forged = pair.data(pair.client, payload);
  forged.header.sequence += 60'000'000;
  CHECK(pair.headend->handle_segment(forged, kNow));  // its frame is for the cipher to refuse
  CHECK_FALSE(back());
  for (int i = 0; i < 20; ++i) CHECK(there());
  CHECK(back());
  // What is merely late takes nothing back.
  const auto late = pair.data(pair.client, payload);
  for (int i = 0; i < 100; ++i) CHECK(there());
  const auto acknowledged = pair.data(*pair.headend, payload).header.acknowledgement;
  for (int i = 0; i < 100; ++i) CHECK(pair.headend->handle_segment(late, kNow));
  CHECK(pair.data(*pair.headend, payload).header.acknowledgement == acknowledged);
}

TEST_CASE("an RST or FIN counts only with the exact number, and a SYN not at all", "[ctcp][classic]") {
  Pair pair;
  pair.establish();
  const auto next = pair.data(pair.client, Bytes(1)).header;
  TcpSegmentView forged{next, {}};
  for (const std::uint8_t flag : {kRst, kFin, kSyn}) {
    for (const std::uint32_t off : {1U, 1000U, 0x80000000U}) {
      forged.header.flags = static_cast<std::uint8_t>(flag | kAck);
      forged.header.sequence = next.sequence + off;
      CHECK_FALSE(pair.headend->handle_segment(forged, kNow));
      CHECK(pair.headend->state() == ClassicState::established);
    }
  }
  CHECK(pair.headend->counters().ignored == 9);
  forged.header.flags = kFin | kAck;
  forged.header.sequence = next.sequence;
  CHECK_FALSE(pair.headend->handle_segment(forged, kNow));
  CHECK(pair.headend->close_reason() == ClassicClose::finished);
  CHECK(pair.headend->poll_segment(kNow)->header.flags == kRst);
}

TEST_CASE("silence is filled with empty ACKs every five seconds, and a handshake waits three", "[ctcp][classic]") {
  Pair pair;
  CHECK(pair.client.next_deadline() == kNow + seconds{5});
  pair.client.handle_deadline(kNow + seconds{5});
  CHECK(pair.client.poll_segment(kNow + seconds{5})->payload.empty());
  auto alone = ClassicConnection::connect(1, 2, pair.random, kNow);
  CHECK(alone.poll_segment(kNow));
  CHECK_FALSE(alone.poll_segment(kNow));
  alone.handle_deadline(kNow + seconds{3});
  CHECK(alone.close_reason() == ClassicClose::timed_out);
}
