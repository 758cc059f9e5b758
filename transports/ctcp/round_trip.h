// Smoothed round-trip time and how long to wait before something counts as lost.
#pragma once

#include <algorithm>

#include "common/base/time.h"

namespace switchback::transports::ctcp {

class RoundTrip {
 public:
  /// RFC 6298 §2, but for the first variation: a tunnel's path is steady more often than not.
  void sample(Duration rtt) noexcept {
    if (rtt < Duration::zero()) return;
    if (!measured_) {
      smoothed_ = rtt;
      variation_ = rtt / 8;
    } else {
      variation_ = (variation_ * 3 + (smoothed_ > rtt ? smoothed_ - rtt : rtt - smoothed_)) / 4;
      smoothed_ = (smoothed_ * 7 + rtt) / 8;
    }
    measured_ = true;
  }
  [[nodiscard]] Duration smoothed() const noexcept { return smoothed_; }
  /// After this an answer to a segment that is answered at once is overdue.
  [[nodiscard]] Duration overdue() const noexcept { return smoothed_ + std::max(variation_ * 4, smoothed_ / 8); }

 private:
  Duration smoothed_ = std::chrono::milliseconds{100};
  Duration variation_ = std::chrono::milliseconds{12};
  bool measured_ = false;
};

}  // namespace switchback::transports::ctcp
