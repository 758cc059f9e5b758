// Helpers of the tests of the IKE wire layer: hexadecimal in, and chains picked apart.
#pragma once

#include <string_view>

#include "common/base/bytes.h"
#include "common/ike/message.h"

namespace switchback::ike::test {

/// Octets of a hexadecimal text; spaces and line breaks do not count.
[[nodiscard]] inline Bytes hex(std::string_view text) {
  Bytes out;
  int high = -1;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<std::uint8_t>(high * 16 + digit));
      high = -1;
    }
  }
  return out;
}

/// The body of the only payload that was added to a chain.
[[nodiscard]] inline Bytes only_body(const ChainBuilder& chain) {
  return to_bytes(parse_payloads(chain.view(), chain.first()).value().list().at(0).body);
}

}  // namespace switchback::ike::test
