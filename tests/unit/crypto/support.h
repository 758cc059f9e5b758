// What the crypto tests share: hexadecimal, and published vectors from files of `Key = hex`.
#pragma once

#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/bytes.h"

namespace switchback::crypto {

inline Bytes from_hex(std::string_view text) {
  Bytes out;
  int high = -1;
  for (const char c : text) {
    if (c == ' ' || c == '\n') continue;
    const auto digit = std::string_view{"0123456789abcdef"}.find(static_cast<char>(c | 0x20));
    REQUIRE(digit != std::string_view::npos);
    if (high < 0) {
      high = static_cast<int>(digit);
    } else {
      out.push_back(static_cast<std::uint8_t>(high * 16 + static_cast<int>(digit)));
      high = -1;
    }
  }
  REQUIRE(high < 0);
  return out;
}

using Vector = std::map<std::string, std::string>;

/// Blocks of `Key = value` lines, apart by empty lines; `#` begins a comment.
inline std::vector<Vector> read_vectors(const std::string& name) {
  std::ifstream file{std::string{SB_SOURCE_DIR} + "/tests/vectors/crypto/" + name};
  REQUIRE(file);
  std::vector<Vector> vectors;
  Vector current;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() && !current.empty()) vectors.push_back(std::exchange(current, {}));
    const auto equals = line.find(" =");
    if (line.empty() || line.front() == '#' || equals == std::string::npos) continue;
    const auto value = line.substr(equals + 2);
    current[line.substr(0, equals)] = value.empty() ? value : value.substr(1);
  }
  if (!current.empty()) vectors.push_back(current);
  REQUIRE_FALSE(vectors.empty());
  return vectors;
}

}  // namespace switchback::crypto
