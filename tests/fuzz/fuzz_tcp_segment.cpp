// Any octets as a TCP segment, and as the payload of a classic cTCP segment.
#include <cstdlib>

#include "transports/ctcp/classic.h"

using namespace switchback;
using namespace switchback::transports::ctcp;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input{data, size};
  (void)parse_classic(input);
  (void)detect_mode(input);
  const auto view = parse_segment(input);
  if (!view) return 0;
  if (view->payload.size() + kTcpHeaderBytes > size) std::abort();
  // What it means survives being built again, as far as options fit beside each other.
  auto header = view->header;
  if (header.options.timestamps && header.options.sack_count > 3) return 0;
  if (header.has(kSyn)) {
    header.options.sack = {};
    header.options.sack_count = 0;
  }
  const auto octets = build_segment(header, view->payload, IpAddress::v4(1), IpAddress::v4(2));
  const auto again = parse_segment(octets);
  if (!again || again->header != header || !same_bytes(again->payload, view->payload)) std::abort();
  return 0;
}
