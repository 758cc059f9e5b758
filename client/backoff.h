// How long to wait between attempts to reconnect.
#pragma once

#include <algorithm>

#include "common/base/random.h"
#include "common/base/time.h"

namespace switchback::client {

/// Doubles from `first` to `cap`, each wait a random share between half and all of it: a headend that restarts is not
/// hit by all its clients in one second.
class Backoff {
 public:
  explicit Backoff(Duration first = std::chrono::milliseconds{400}, Duration cap = std::chrono::seconds{30}) noexcept
      : first_{first}, cap_{cap}, next_{first} {}

  [[nodiscard]] Duration next(RandomSource& random) {
    const auto wait = next_;
    next_ = std::min(cap_, next_ * 2);
    const auto share = static_cast<double>(public_random<std::uint32_t>(random)) / 4294967296.0;
    return wait / 2 + std::chrono::duration_cast<Duration>(wait / 2 * share);
  }
  void reset() noexcept { next_ = first_; }

 private:
  Duration first_, cap_, next_;
};

}  // namespace switchback::client
