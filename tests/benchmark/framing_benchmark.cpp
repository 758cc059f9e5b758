// RFC 9329 framing: a stream in order as a kernel's TCP gives it, and segments as cTCP's engine sees them.
#include <benchmark/benchmark.h>

#include "transports/stream/frame_scanner.h"
#include "transports/stream/framing.h"

using namespace switchback;
using namespace switchback::transports::stream;

namespace {

constexpr Spi kSpi{0xC0FFEE01};
constexpr Instant kNow{std::chrono::hours{1}};
constexpr std::size_t kEspBytes = 1380, kFrameBytes = kEspBytes + kLengthBytes;

Bytes esp_packet() {
  Bytes octets(kEspBytes, 0x5a);
  store_be(octets.data(), kSpi.value);
  return octets;
}

Bytes stream_of(std::size_t frames) {
  Bytes octets;
  for (std::size_t i = 0; i < frames; ++i) append_frame(Content::esp, esp_packet(), octets);
  return octets;
}

void set_frames(benchmark::State& state, std::size_t frames) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(frames));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(frames * kFrameBytes));
}

/// @param range  octets of each piece that the kernel hands over
void parse_stream(benchmark::State& state) {
  constexpr std::size_t kFrames = 256;
  const auto stream = stream_of(kFrames);
  const auto piece = static_cast<std::size_t>(state.range(0));
  for ([[maybe_unused]] auto _ : state) {
    StreamParser parser{false};
    std::size_t frames = 0;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      parser.give(ByteView{stream}.subspan(at, std::min(piece, stream.size() - at)));
      for (auto next = parser.next(); next && *next; next = parser.next()) ++frames;
    }
    if (frames != kFrames) state.SkipWithError("frames are missing");
  }
  set_frames(state, kFrames);
}

/// The scanner with one frame in each segment.
/// @param range  0: in order; n: the first of every n segments comes last
void scan_segments(benchmark::State& state) {
  constexpr std::size_t kSegments = 64;
  const auto octets = esp_packet();
  Bytes segment;
  append_frame(Content::esp, octets, segment);
  const auto late = static_cast<std::size_t>(state.range(0));
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < kSegments; ++i) order.push_back(i);
  if (late != 0) {
    for (std::size_t i = 0; i + late <= kSegments; i += late) {
      std::rotate(order.begin() + static_cast<std::ptrdiff_t>(i), order.begin() + static_cast<std::ptrdiff_t>(i + 1),
                  order.begin() + static_cast<std::ptrdiff_t>(i + late));
    }
  }
  FrameScanner scanner{false};
  SessionMarks marks;
  marks.add(kSpi);
  std::uint64_t base = 0;
  for ([[maybe_unused]] auto _ : state) {
    std::size_t frames = 0;
    for (const auto i : order) {
      scanner.start();
      scanner.give(base + i * kFrameBytes, segment, true, kFrameBytes, marks, kNow);
      while (scanner.poll_frame()) ++frames;
    }
    if (frames != kSegments) state.SkipWithError("frames are missing");
    base += kSegments * kFrameBytes;
  }
  set_frames(state, kSegments);
}

/// Framing lost: how fast the scanner looks for an SPI in octets that hold none.
void scan_noise(benchmark::State& state) {
  const Bytes noise(8192, 0x11);
  SessionMarks marks;
  marks.add(kSpi);
  std::uint64_t base = 100000;
  for ([[maybe_unused]] auto _ : state) {
    FrameScanner scanner{false};
    scanner.start();
    scanner.give(base, noise, true, kFrameBytes, marks, kNow);
    benchmark::DoNotOptimize(scanner.poll_frame());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(noise.size()));
}

BENCHMARK(parse_stream)->ArgName("piece")->Arg(1400)->Arg(16384)->Arg(262144);
BENCHMARK(scan_segments)->ArgName("late")->Arg(0)->Arg(8)->Arg(64);
BENCHMARK(scan_noise);

}  // namespace
