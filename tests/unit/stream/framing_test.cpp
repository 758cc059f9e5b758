#include "transports/stream/framing.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::transports::stream;

namespace {

Bytes esp(std::size_t size, std::uint8_t fill) {
  Bytes octets(size, fill);
  store_be(octets.data(), std::uint32_t{0x01020304});
  return octets;
}

struct Owned {
  Content content;
  Bytes payload;
};

std::vector<Owned> drain(StreamParser& parser) {
  std::vector<Owned> out;
  while (const auto frame = parser.next().value()) out.push_back({frame->content, to_bytes(frame->payload)});
  return out;
}

}  // namespace

TEST_CASE("frames have the octets that RFC 9329 draws", "[stream][rfc9329]") {
  Bytes out;
  append_frame(Content::esp, esp(34, 0xAA), out);
  CHECK(to_hex(ByteView{out}.first(6)) == "002401020304");  // §3.2: the length counts itself
  out.clear();
  append_frame(Content::ike, Bytes(28, 0x11), out);
  CHECK(to_hex(ByteView{out}.first(7)) == "00220000000011");  // §3.1: marker, then IKE
  CHECK(out.size() == 34);
  CHECK(fits(Content::esp, 65533));
  CHECK_FALSE(fits(Content::esp, 65534));
  CHECK_FALSE(fits(Content::ike, 65530));
}

TEST_CASE("a body is told apart by its first four octets", "[stream][rfc9329]") {
  CHECK(classify(Bytes{}).content == Content::malformed);
  CHECK(classify(Bytes{0xFF}).content == Content::keepalive);
  CHECK(classify(Bytes{0xFE}).content == Content::malformed);
  CHECK(classify(Bytes(4 + 27, 0)).content == Content::malformed);
  CHECK(classify(Bytes(4 + 28, 0)).content == Content::ike);
  CHECK(classify(esp(kMinimumEspBytes - 1, 1)).content == Content::malformed);
  CHECK(classify(esp(kMinimumEspBytes, 1)).content == Content::esp);
}

TEST_CASE("a stream parses the same in pieces of every size", "[stream][rfc9329]") {
  Bytes wire{'I', 'K', 'E', 'T', 'C', 'P'};
  append_frame(Content::ike, Bytes(40, 0x22), wire);
  append_frame(Content::esp, esp(100, 0x33), wire);
  append_frame(Content::keepalive, Bytes{0xFF}, wire);
  append_frame(Content::esp, esp(34, 0x44), wire);
  for (std::size_t piece = 1; piece <= wire.size(); ++piece) {
    StreamParser parser{true};
    std::vector<Owned> got;
    for (std::size_t at = 0; at < wire.size(); at += piece) {
      parser.give(ByteView{wire}.subspan(at, std::min(piece, wire.size() - at)));
      for (auto& frame : drain(parser)) got.push_back(std::move(frame));
      CHECK(parser.buffered_bytes() <= 102);
    }
    INFO("pieces of " << piece);
    REQUIRE(got.size() == 4);
    CHECK(got[0].content == Content::ike);
    CHECK(got[0].payload == Bytes(40, 0x22));
    CHECK(got[1].payload == esp(100, 0x33));
    CHECK(got[2].content == Content::keepalive);
    CHECK(got[3].payload == esp(34, 0x44));
  }
}

TEST_CASE("a frame that lies whole in its piece is not copied", "[stream]") {
  Bytes wire;
  append_frame(Content::esp, esp(64, 1), wire);
  StreamParser parser{false};
  parser.give(wire);
  const auto frame = parser.next().value();
  REQUIRE(frame);
  CHECK(frame->payload.data() == wire.data() + kLengthBytes);
}

TEST_CASE("a wrong prefix or an impossible length ends the stream for good", "[stream][rfc9329]") {
  StreamParser prefix{true};
  const Bytes get{'I', 'K', 'E', 'T', 'X'};
  prefix.give(get);
  CHECK(prefix.next().error().code == ParseErrc::bad_value);
  CHECK(prefix.failed());
  for (const auto length : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{1001}}) {
    Bytes wire(2000, 7);
    store_be(wire.data(), length);
    StreamParser parser{false, 1000};
    parser.give(wire);
    CHECK(parser.next().error() == ParseError{ParseErrc::bad_length, 0});
    parser.give(wire);
    CHECK_FALSE(parser.next());
  }
}
