// What every fuzz target of a file that people write asks of its errors.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "common/base/result.h"

namespace switchback::test {

/// A message is one line for a terminal, it names the file, and what stands in the file cannot make it long.
inline void judge_error(const UserError& error, std::string_view file) {
  const auto& message = error.message;
  const auto control = [](char c) { return (c >= 0 && c < ' ') || c == 0x7F; };
  if (!message.starts_with(file) || message.size() > 1024 || std::any_of(message.begin(), message.end(), control)) {
    std::abort();
  }
}

}  // namespace switchback::test
