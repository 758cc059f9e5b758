#include "transports/ctcp/segment.h"

#include <catch2/catch.hpp>

#include "transports/ctcp/range_set.h"
#include "transports/ctcp/syn_cookie.h"

using namespace switchback;
using namespace switchback::transports::ctcp;
using std::chrono::seconds;

namespace {

const IpAddress kClient = IpAddress::v4(0x0A000002), kHeadend = IpAddress::v4(0xC0000201);
const AddressPair kPath{{kHeadend, 10000}, {kClient, 40000}};
constexpr Instant kNow{std::chrono::hours{5}};

TcpSegmentView syn_with(bool timestamps, std::uint16_t window = kOurSynWindow) {
  TcpSegmentView syn;
  syn.header = {40000, 10000, 0xFFFFFFFF, 0, kSyn, window, {}};
  syn.header.options.mss = 1400;
  syn.header.options.window_scale = 8;
  syn.header.options.sack_permitted = true;
  if (timestamps) syn.header.options.timestamps = Timestamps{77, 0};
  return syn;
}

TcpSegmentView first_data(const OutSegment& answer, ByteView payload) {
  TcpSegmentView data;
  data.header = {40000, 10000, answer.header.acknowledgement, answer.header.sequence + 1, kAck, 1000, {}};
  if (answer.header.options.timestamps) {
    data.header.options.timestamps = Timestamps{78, answer.header.options.timestamps->value};
  }
  data.payload = payload;
  return data;
}

}  // namespace

TEST_CASE("a SYN has the octets that Linux would send", "[ctcp][rfc9293]") {
  auto syn = syn_with(true).header;
  const auto octets = build_segment(syn, {}, kClient, kHeadend);
  CHECK(to_hex(ByteView{octets}.first(16)) == "9c402710ffffffff00000000b002fc00");
  CHECK(to_hex(ByteView{octets}.subspan(20)) == "02040578010104020101080a0000004d0000000001030308");
  CHECK(tcp_checksum(octets, {}, kClient, kHeadend) == 0);
}

TEST_CASE("what is built parses to the same values", "[ctcp][rfc9293]") {
  TcpHeader header{1, 2, 3, 4, kAck | kPsh, 5, {}};
  header.options.timestamps = Timestamps{6, 7};
  header.options.sack_count = 3;
  header.options.sack = {SackBlock{8, 9}, {10, 11}, {12, 13}, {}};
  REQUIRE(header_bytes(header.options) == kTcpMaximumHeaderBytes);
  const auto octets = build_segment(header, as_bytes("payload"), kClient, kHeadend);
  const auto view = parse_segment(octets).value();
  CHECK(view.header == header);
  CHECK(as_text(view.payload) == "payload");
  CHECK(tcp_checksum(ByteView{octets}.first(60), ByteView{octets}.subspan(60), kClient, kHeadend) == 0);
}

TEST_CASE("hostile headers are refused or their options skipped", "[ctcp][rfc9293]") {
  auto octets = build_segment(syn_with(true).header, {}, kClient, kHeadend);
  for (std::size_t size = 0; size < octets.size(); ++size) {
    CHECK_FALSE(parse_segment(ByteView{octets}.first(size)));
  }
  auto bad = octets;
  bad[12] = 0x40;  // data offset below a header
  CHECK(parse_segment(bad).error().code == ParseErrc::bad_length);
  bad = octets;
  bad[21] = 1;  // option shorter than its own header
  CHECK(parse_segment(bad).error().code == ParseErrc::bad_length);
  bad[21] = 41;
  CHECK(parse_segment(bad).error().code == ParseErrc::bad_length);
  bad = octets;
  bad[20] = 254;  // unknown: skipped
  CHECK_FALSE(parse_segment(bad).value().header.options.mss);
  CHECK(parse_segment(bad).value().header.options.window_scale == 8);
  bad = octets;
  bad.back() = 200;
  CHECK(parse_segment(bad).value().header.options.window_scale == 14);  // RFC 7323 §2.3
}

TEST_CASE("positions unwrap to the nearest", "[ctcp]") {
  const std::uint64_t turn = std::uint64_t{1} << 32U;
  CHECK(unwrap(5, turn - 10) == turn + 5);
  CHECK(unwrap(0xFFFFFFF0, turn + 5) == turn - 16);
  CHECK(unwrap(7, turn + 7) == turn + 7);
  CHECK(unwrap(0x80000000, 2 * turn) == 2 * turn - 0x80000000U);
}

TEST_CASE("ranges merge, and say what is missing", "[ctcp]") {
  RangeSet set;
  set.add(10, 20, kNow);
  set.add(30, 40, kNow);
  CHECK(set.first_missing(5, 50)->begin == 5);
  CHECK(set.first_missing(5, 50)->end == 10);
  CHECK(set.first_missing(10, 50)->begin == 20);
  CHECK(set.first_missing(10, 50)->end == 30);
  CHECK_FALSE(set.first_missing(12, 18));
  set.add(20, 30, kNow);
  CHECK(set.size() == 1);
  CHECK(set.holding(10)->end == 40);
  set.add(50, 60, kNow);
  CHECK(set.after(40)->begin == 50);
  set.forget_below(55);
  CHECK(set.size() == 1);
  CHECK(set.holding(56)->begin == 55);
}

TEST_CASE("a cookie gives back what its SYN agreed to, to who can read the answer", "[ctcp][syncookie]") {
  const SynCookies cookies{Secret{32}, 1440};
  const auto answer = cookies.answer(syn_with(true), kPath, kNow);
  REQUIRE(answer);
  CHECK(answer->header.acknowledgement == 0);  // wrapped
  CHECK(answer->header.options.mss == 1440);
  CHECK(answer->header.options.sack_permitted);
  const auto data = first_data(*answer, as_bytes("IKETCP"));
  for (const auto later : {seconds{0}, seconds{64}}) {
    const auto agreed = cookies.accept(data, kPath, kNow + later);
    REQUIRE(agreed);
    CHECK(agreed->peer_mss == 1400);
    CHECK(agreed->peer_window_scale == 8);
    CHECK(agreed->sack);
    CHECK(agreed->timestamps);
    CHECK(agreed->peer_is_engine);
    CHECK(agreed->peer_window == 256000);
    CHECK(agreed->local_isn == answer->header.sequence);
  }
  CHECK_FALSE(cookies.accept(data, kPath, kNow + seconds{192}));
  auto other = kPath;
  other.remote.port = 40001;
  CHECK_FALSE(cookies.accept(data, other, kNow));
  auto guessed = data;
  ++guessed.header.acknowledgement;
  CHECK_FALSE(cookies.accept(guessed, kPath, kNow));
  guessed = data;
  guessed.payload = {};
  CHECK_FALSE(cookies.accept(guessed, kPath, kNow));
}

TEST_CASE("a cookie that was recorded is worth nothing when its count comes round again", "[ctcp][syncookie]") {
  const SynCookies cookies{Secret{32}, 1440};
  const auto answer = cookies.answer(syn_with(true), kPath, kNow);
  REQUIRE(answer);
  const auto data = first_data(*answer, as_bytes("IKETCP"));
  for (int turn = 1; turn < 4; ++turn) {
    CHECK_FALSE(cookies.accept(data, kPath, kNow + turn * 32 * SynCookies::kLifetime));
    CHECK_FALSE(cookies.accept(data, kPath, kNow + (turn * 32 + 1) * SynCookies::kLifetime));
  }
}

TEST_CASE("without timestamps a cookie agrees to no option that it could not remember", "[ctcp][syncookie]") {
  const SynCookies cookies{Secret{32}, 1440};
  const auto answer = cookies.answer(syn_with(false), kPath, kNow);
  REQUIRE(answer);
  CHECK_FALSE(answer->header.options.window_scale);
  CHECK_FALSE(answer->header.options.sack_permitted);
  const auto agreed = cookies.accept(first_data(*answer, as_bytes("x")), kPath, kNow);
  REQUIRE(agreed);
  CHECK_FALSE(agreed->peer_window_scale);
  CHECK_FALSE(agreed->peer_is_engine);
  CHECK(agreed->peer_window == 1000);
}

TEST_CASE("a proxy's SYN is told from an engine's by window and scale", "[ctcp][syncookie]") {
  const SynCookies cookies{Secret{32}, 1440};
  const auto answer = cookies.answer(syn_with(true, 64240), kPath, kNow);
  REQUIRE(answer);
  CHECK_FALSE(cookies.accept(first_data(*answer, as_bytes("x")), kPath, kNow)->peer_is_engine);
}

TEST_CASE("a segment of no connection is answered as RFC 9293 says, an RST never", "[ctcp][rfc9293]") {
  TcpSegmentView in;
  in.header = {1, 2, 100, 900, kAck, 0, {}};
  CHECK(reset_for(in)->header.sequence == 900);
  CHECK(reset_for(in)->header.flags == kRst);
  in.header.flags = kSyn;
  CHECK(reset_for(in)->header.acknowledgement == 101);
  CHECK(reset_for(in)->header.flags == (kRst | kAck));
  in.header.flags = kRst;
  CHECK_FALSE(reset_for(in));
}
