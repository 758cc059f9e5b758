// The two times: a monotonic one that cores are handed, and the calendar's, for certificates only.
#pragma once

#include <chrono>
#include <optional>

namespace switchback {

using Duration = std::chrono::nanoseconds;
/// Monotonic time. Cores never read a clock: the shell reads it once per loop turn, tests make it up.
using Instant = std::chrono::time_point<std::chrono::steady_clock, Duration>;
/// Calendar time, for certificate validity and logs.
using WallTime = std::chrono::sys_seconds;

[[nodiscard]] inline Instant monotonic_now() noexcept { return std::chrono::steady_clock::now(); }
[[nodiscard]] inline WallTime wall_now() noexcept {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

/// The earlier of two deadlines, either of which may be absent.
[[nodiscard]] inline std::optional<Instant> earliest(std::optional<Instant> a, std::optional<Instant> b) noexcept {
  if (!a) return b;
  if (!b) return a;
  return *a < *b ? a : b;
}

}  // namespace switchback
