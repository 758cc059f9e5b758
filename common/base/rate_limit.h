// Token bucket: at most `burst` at once and `per_second` in the long run.
#pragma once

#include <algorithm>

#include "common/base/time.h"

namespace switchback {

class TokenBucket {
 public:
  constexpr TokenBucket(double per_second, double burst) noexcept
      : per_second_{per_second}, burst_{burst}, tokens_{burst} {}

  /// Takes one token if there is one. Time that runs backwards adds nothing.
  [[nodiscard]] bool allow(Instant now) noexcept {
    if (last_ != Instant{} && now > last_) {
      tokens_ = std::min(burst_, tokens_ + std::chrono::duration<double>(now - last_).count() * per_second_);
    }
    last_ = std::max(last_, now);
    if (tokens_ < 1.0) return false;
    tokens_ -= 1.0;
    return true;
  }

 private:
  double per_second_;
  double burst_;
  double tokens_;
  Instant last_{};
};

}  // namespace switchback
