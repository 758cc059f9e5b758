// Any body of a dummy packet: parsed within its bounds, and what is accepted is rebuilt to the same octets.
#include <cstdlib>

#include "common/path/control.h"
#include "common/path/history.h"

using namespace switchback;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView body{data, size};
  const auto message = path::parse_control(body);
  if (message) {
    Bytes again;
    path::build_control(*message, again);
    if (!path::is_control(body) || !same_bytes(again, body)) std::abort();
  }
  const auto history = path::History::parse(as_text(body));
  if (path::History::parse(history.render()).render() != history.render()) std::abort();
  return 0;
}
