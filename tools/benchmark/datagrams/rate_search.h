// Finds the highest rate that loses little: pure, steps in and rates out.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

namespace switchback::bench {

/// What one step did, in packets per second.
struct RateStep {
  double offered = 0, delivered = 0;
  [[nodiscard]] double loss() const noexcept { return offered > 0 ? std::max(0.0, 1 - delivered / offered) : 1; }
};

struct RateSearchLimits {
  double most_loss = 0.01;
  double precision = 1.05;  // lowest rate known to be too high, to the highest known to be right
  unsigned most_steps = 12;
};

/// First a step as fast as the sender can, then bisection on a logarithmic scale. Something else may run on the machine
/// for a moment, so a rate is too high, for the path or for the sender, only if it turns out so twice.
class RateSearch {
 public:
  explicit RateSearch(RateSearchLimits limits = {}) noexcept : limits_{limits} {}

  /// The rate of the next step; infinity: as fast as can be. Nothing: done.
  [[nodiscard]] std::optional<double> next() const noexcept {
    if (done_ || steps_ >= limits_.most_steps) return std::nullopt;
    return rate_;
  }
  void handle(const RateStep& step) noexcept {
    ++steps_;
    if (step.loss() <= limits_.most_loss) {
      low_ = std::max(low_, step.offered);
      if (step.delivered > best_.delivered) best_ = step;
      // The sender itself reaches no more, so there is nothing above to look for; unless it was held up only once.
      const bool short_of_rate = step.offered < 0.97 * rate_;
      if (short_of_rate && !std::isinf(rate_) && !again_) {
        again_ = true;
        return;
      }
      if (short_of_rate) high_ = low_;
    } else if (!std::isinf(rate_) && !again_) {
      again_ = true;
      return;
    } else {
      high_ = std::min(high_, std::isinf(rate_) ? step.offered : rate_);
    }
    again_ = false;
    if (low_ > 0) {
      done_ = high_ <= low_ * limits_.precision;
      rate_ = std::sqrt(low_ * high_);
    } else {
      // What got through when too much was offered is the best guess of what would; if that much is offered that
      // nothing gets through, far less.
      rate_ = std::min(std::max(0.95 * step.delivered, high_ / 16), 0.8 * high_);
      done_ = rate_ < 1;
    }
  }
  /// The best step that lost little; zeros if there was none.
  [[nodiscard]] const RateStep& best() const noexcept { return best_; }
  [[nodiscard]] unsigned steps() const noexcept { return steps_; }

 private:
  RateSearchLimits limits_;
  double rate_ = HUGE_VAL, low_ = 0, high_ = HUGE_VAL;
  bool again_ = false, done_ = false;
  unsigned steps_ = 0;
  RateStep best_;
};

}  // namespace switchback::bench
