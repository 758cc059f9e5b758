// Time that moves only when a test says so.
#pragma once

#include "common/base/time.h"

namespace switchback::test {

class VirtualClock {
 public:
  [[nodiscard]] Instant now() const noexcept { return now_; }
  /// Certificates made by tests are valid around this.
  [[nodiscard]] WallTime wall() const noexcept {
    return WallTime{std::chrono::seconds{1'900'000'000}} +
           std::chrono::duration_cast<std::chrono::seconds>(now_ - kStart);
  }
  void advance(Duration by) noexcept { now_ += by; }
  /// Never backwards.
  void advance_to(Instant to) noexcept {
    if (to > now_) now_ = to;
  }

  static constexpr Instant kStart{std::chrono::hours{1}};

 private:
  Instant now_ = kStart;
};

}  // namespace switchback::test
