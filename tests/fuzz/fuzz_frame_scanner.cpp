// Pieces at any offsets to the scanner, and the same octets to the ordered parser. Piece: offset (2), length (2),
// octets.
#include <algorithm>
#include <cstdlib>

#include "transports/stream/frame_scanner.h"

using namespace switchback;
using namespace switchback::transports::stream;

namespace {

void scan(ByteView input, bool prefix, bool in_order) {
  ScannerLimits limits;
  limits.bytes = 4096;
  limits.fragments = 16;
  limits.in_order = in_order;
  FrameScanner scanner{prefix, limits};
  SessionMarks marks;
  marks.add(Spi{0x01020304});
  marks.add(IkeSpi{0x0102030405060708});
  std::vector<bool> given(0x20000);
  Instant now{std::chrono::hours{1}};
  while (input.size() >= 4) {
    const std::size_t offset = load_be<std::uint16_t>(input.data());
    const std::size_t length = std::min<std::size_t>(load_be<std::uint16_t>(input.data() + 2), input.size() - 4);
    const auto octets = input.subspan(4, length);
    input = input.subspan(4 + length);
    // Every octet is given once: that is the caller's part.
    const auto begin = given.begin() + static_cast<std::ptrdiff_t>(offset);
    const auto end = begin + static_cast<std::ptrdiff_t>(length);
    if (std::find(begin, end, true) != end) continue;
    std::fill(begin, end, true);
    scanner.start();
    scanner.give(offset, octets, true, 1400, marks, now);
    now += std::chrono::milliseconds{50};
    std::size_t sum = 0;
    while (const auto frame = scanner.poll_frame()) {
      for (const auto octet : frame->payload) sum += octet;
    }
    if (sum == 0xFFFFFFFF || scanner.held_bytes() > 0x20000) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView input{data + 1, size - 1};
  scan(input, (data[0] & 1U) != 0, (data[0] & 2U) != 0);
  StreamParser parser{(data[0] & 1U) != 0, 2000};
  for (std::size_t at = 0; at < input.size(); at += 7) {
    parser.give(input.subspan(at, std::min<std::size_t>(7, input.size() - at)));
    while (true) {
      const auto frame = parser.next();
      if (!frame || !*frame) break;
    }
    if (parser.buffered_bytes() > 2000) std::abort();
  }
  return 0;
}
