#include "common/base/wire_reader.h"

namespace switchback {

const char* to_string(ParseErrc code) noexcept {
  switch (code) {
    case ParseErrc::truncated: return "truncated";
    case ParseErrc::bad_length: return "bad_length";
    case ParseErrc::bad_value: return "bad_value";
    case ParseErrc::bad_spi_size: return "bad_spi_size";
    case ParseErrc::bad_padding: return "bad_padding";
    case ParseErrc::too_many: return "too_many";
    case ParseErrc::unsupported: return "unsupported";
  }
  return "unknown";
}

}  // namespace switchback
