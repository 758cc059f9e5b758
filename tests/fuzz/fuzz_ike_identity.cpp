// An Identification payload's type and data, then the same octets as a person's text.
#include <cstdlib>

#include "common/crypto/ike_identity.h"

using namespace switchback;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView input{data, size};
  if (const auto identity = crypto::IkeIdentity::from_wire(data[0], input.subspan(1))) {
    for (const char c : identity->to_string()) {
      if (c < 0x20 || c == 0x7f) std::abort();  // nothing that deceives a log
    }
    if (!identity->matches(*identity)) std::abort();
  }
  if (const auto identity = crypto::IkeIdentity::parse(as_text(input))) {
    if (!crypto::IkeIdentity::from_wire(static_cast<std::uint8_t>(identity->type), identity->data)) std::abort();
  }
  return 0;
}
