#include "transports/stream/frame_scanner.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

using namespace switchback;
using namespace switchback::transports::stream;
using std::chrono::seconds;

namespace {

constexpr Instant kNow{std::chrono::hours{1}};
constexpr Spi kSpi{0xC0FFEE01};

Bytes esp(std::size_t size, std::uint32_t number, Spi spi = kSpi) {
  Bytes octets(size);
  std::mt19937 noise{number};
  for (auto& octet : octets) octet = static_cast<std::uint8_t>(noise());
  store_be(octets.data(), spi.value);
  store_be(octets.data() + 4, number);
  return octets;
}

struct Stream {
  Bytes octets{kPrefix.begin(), kPrefix.end()};
  std::vector<std::size_t> starts{0};  // of segments: the first holds the prefix
  void add(std::uint32_t number, std::size_t size, Spi spi = kSpi) {
    if (octets.size() > kPrefix.size()) starts.push_back(octets.size());
    append_frame(Content::esp, esp(size, number, spi), octets);
  }
  [[nodiscard]] ByteView segment(std::size_t i) const {
    const auto end = i + 1 < starts.size() ? starts[i + 1] : octets.size();
    return ByteView{octets}.subspan(starts[i], end - starts[i]);
  }
};

Stream make(std::uint32_t frames, std::size_t size = 100) {
  Stream stream;
  for (std::uint32_t i = 0; i < frames; ++i) stream.add(i, size);
  return stream;
}

struct Receiver {
  FrameScanner scanner;
  SessionMarks marks;
  std::vector<std::uint32_t> got;
  explicit Receiver(bool prefix = true, ScannerLimits limits = {}) : scanner{prefix, limits} { marks.add(kSpi); }
  void give(std::uint64_t offset, ByteView octets, Instant now = kNow, std::size_t uncut = 1400) {
    scanner.start();
    scanner.give(offset, octets, true, uncut, marks, now);
    while (const auto frame = scanner.poll_frame()) {
      REQUIRE(frame->content == Content::esp);
      got.push_back(load_be<std::uint32_t>(frame->payload.data() + 4));
      REQUIRE(same_bytes(frame->payload, esp(frame->payload.size(), got.back())));
    }
  }
};

}  // namespace

TEST_CASE("segments that start at frames give theirs at once in any order", "[stream][scanner]") {
  const auto stream = make(6);
  Receiver receiver;
  for (const std::size_t i : {0U, 3U, 5U, 1U, 4U, 2U}) receiver.give(stream.starts[i], stream.segment(i));
  CHECK(receiver.got == std::vector<std::uint32_t>{0, 3, 5, 1, 4, 2});
  CHECK(receiver.scanner.held_bytes() == 0);
  CHECK(receiver.scanner.counters().cut_frames == 0);
}

TEST_CASE("after a gap that is never filled a cut stream is found again by the SPI", "[stream][scanner]") {
  const auto stream = make(40);
  Receiver receiver;
  // Pieces of 170 octets start anywhere in frames of 102; the second never comes.
  for (std::size_t at = 0; at < stream.octets.size(); at += 170) {
    if (at == 170) continue;
    receiver.give(at, ByteView{stream.octets}.subspan(at, std::min<std::size_t>(170, stream.octets.size() - at)));
  }
  // Octets 170 to 339 touch frames 1 (108 to 209), 2 and 3 (312 to 413).
  REQUIRE(receiver.got.size() == 37);
  CHECK(receiver.got[0] == 0);
  CHECK(receiver.got[1] == 4);
  CHECK(receiver.scanner.counters().resynchronised == 1);
  CHECK(receiver.scanner.counters().cut_frames > 0);
}

TEST_CASE("a gap that is filled late gives the frames that it cut", "[stream][scanner]") {
  const auto stream = make(40);
  Receiver receiver;
  for (std::size_t at = 0; at < stream.octets.size(); at += 170) {
    if (at != 170)
      receiver.give(at, ByteView{stream.octets}.subspan(at, std::min<std::size_t>(170, stream.octets.size() - at)));
  }
  receiver.give(170, ByteView{stream.octets}.subspan(170, 170));
  std::sort(receiver.got.begin(), receiver.got.end());
  REQUIRE(receiver.got.size() == 40);
  for (std::uint32_t i = 0; i < 40; ++i) CHECK(receiver.got[i] == i);
}

TEST_CASE("any cutting in any order gives every frame once all has come", "[stream][scanner]") {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    std::mt19937 random{seed};
    Stream stream;
    for (std::uint32_t i = 0; i < 60; ++i) stream.add(i, 34 + random() % 600);
    std::vector<std::pair<std::size_t, std::size_t>> pieces;
    for (std::size_t at = 0; at < stream.octets.size();) {
      const auto size = std::min<std::size_t>(1 + random() % 900, stream.octets.size() - at);
      pieces.emplace_back(at, size);
      at += size;
    }
    std::shuffle(pieces.begin(), pieces.end(), random);
    Receiver receiver;
    for (const auto& [at, size] : pieces) receiver.give(at, ByteView{stream.octets}.subspan(at, size));
    std::sort(receiver.got.begin(), receiver.got.end());
    receiver.got.erase(std::unique(receiver.got.begin(), receiver.got.end()), receiver.got.end());
    INFO("seed " << seed);
    CHECK(receiver.got.size() == 60);
  }
}

TEST_CASE("in order means in order, whatever comes first", "[stream][scanner]") {
  std::mt19937 random{5};
  const auto stream = make(50, 77);
  std::vector<std::size_t> pieces;
  for (std::size_t at = 0; at < stream.octets.size(); at += 100) pieces.push_back(at);
  std::shuffle(pieces.begin(), pieces.end(), random);
  Receiver receiver{true, {.bytes = 1 << 20, .in_order = true}};
  for (const auto at : pieces) {
    receiver.give(at, ByteView{stream.octets}.subspan(at, std::min<std::size_t>(100, stream.octets.size() - at)));
  }
  REQUIRE(receiver.got.size() == 50);
  CHECK(std::is_sorted(receiver.got.begin(), receiver.got.end()));
}

TEST_CASE("an SPI that is not known yet is taken from segments whose lengths add up", "[stream][scanner]") {
  Receiver receiver{false};
  Bytes segment;
  append_frame(Content::esp, esp(200, 9, Spi{0x77777777}), segment);
  receiver.scanner.start();
  receiver.scanner.give(5000, segment, true, 1400, receiver.marks, kNow);
  const auto frame = receiver.scanner.poll_frame();
  REQUIRE(frame);
  CHECK(frame->payload.size() == 200);
}

TEST_CASE("noise is held within bounds and forgotten with age", "[stream][scanner]") {
  Receiver receiver{false, {.bytes = 10000, .fragments = 16}};
  std::mt19937 random{3};
  for (unsigned i = 0; i < 500; ++i) {
    Bytes noise(300);
    for (auto& octet : noise) octet = static_cast<std::uint8_t>(random() | 1U);
    receiver.scanner.start();
    receiver.scanner.give(10000 + i * 1000, noise, true, 1400, receiver.marks, kNow);
    CHECK_FALSE(receiver.scanner.poll_frame());
    CHECK(receiver.scanner.held_bytes() <= 10000 + 300);
  }
  receiver.scanner.start();
  receiver.scanner.give(2000000, Bytes{1}, true, 1400, receiver.marks, kNow + seconds{5});
  CHECK(receiver.scanner.held_bytes() <= 1);
}

TEST_CASE("a segment of tiny frames behind a gap takes no more than a look at each", "[stream][scanner][flood]") {
  Receiver receiver;
  Bytes segment;
  for (unsigned i = 0; i < 1000; ++i) append(segment, Bytes{0, 6, 1, 2, 3, 4});
  for (unsigned i = 1; i <= 10; ++i) {
    receiver.scanner.start();
    receiver.scanner.give(i * 20'000, segment, true, 1400, receiver.marks, kNow);
    unsigned frames = 0;
    while (receiver.scanner.poll_frame()) ++frames;
    CHECK(frames == 1000);
  }
  CHECK(receiver.scanner.counters().lengths_added <= 2 * 10'000);
}

TEST_CASE("octets that come one by one behind a gap are found by the SPI, from either end", "[stream][scanner]") {
  const auto stream = make(12);
  const std::size_t from = stream.starts[1] + 40;  // the second frame has lost its start
  for (const bool backwards : {false, true}) {
    Receiver receiver;
    receiver.give(0, stream.segment(0));
    for (std::size_t i = from; i < stream.octets.size(); ++i) {
      const auto at = backwards ? from + stream.octets.size() - 1 - i : i;
      receiver.give(at, ByteView{stream.octets}.subspan(at, 1));
    }
    std::sort(receiver.got.begin(), receiver.got.end());
    CHECK(receiver.got == std::vector<std::uint32_t>{0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
    receiver.give(stream.starts[1], ByteView{stream.octets}.subspan(stream.starts[1], 40));
    CHECK(std::find(receiver.got.begin(), receiver.got.end(), 1U) != receiver.got.end());
  }
}

TEST_CASE("little is held for somebody who has not proven anything", "[stream][scanner]") {
  for (const bool proven : {false, true}) {
    FrameScanner scanner{true};
    SessionMarks marks;
    marks.add(IkeSpi{7});
    if (proven) marks.add(kSpi);
    const Bytes zeros(1400, 0);
    std::size_t most = 0;
    for (std::uint64_t i = 0; i < 200; ++i) {
      scanner.start();
      scanner.give(1000 + i * 1500, zeros, true, 1400, marks, kNow);
      most = std::max(most, scanner.held_bytes());
    }
    CHECK(most <= (proven ? 256 * 1024 : 32 * 1024) + zeros.size());
    CHECK(most >= (proven ? 200 * 1024 : 20 * 1024));
  }
}

TEST_CASE("a stream without the prefix is refused", "[stream][scanner]") {
  Receiver receiver;
  receiver.give(0, as_bytes("GET / HTTP/1.1\r\n\r\n"));
  CHECK_FALSE(receiver.scanner.ok());
  CHECK(receiver.got.empty());
}
