// What the devices between do with segments past a gap: judged by how far acknowledgements go once it is filled.
#pragma once

#include <algorithm>
#include <cstdint>

namespace switchback::transports::ctcp {

/// A device that holds (or watches) lets the acknowledgement run over all that was sent before the gap was filled; one
/// that discards, or has a short queue, lets it stop where the next segment would have had to be held. Stops right
/// behind what was re-sent are single steps: some in a row prove discarding. A long run refutes it.
class GapEvidence {
 public:
  static constexpr unsigned kSingleSteps = 3;
  static constexpr unsigned kHeldSegments = 4;
  /// Every so many recoveries the first segment alone is sent again, to see whether the verdict still holds.
  static constexpr unsigned kRecoveriesPerTrial = 32;

  /// A segment that was sent again has been acknowledged.
  void filled() noexcept { held_ = 0; }
  /// So has one that was sent once only, before the gap in front of it was filled.
  void held() noexcept;
  /// So has one that the peer had reported: nothing discarded it.
  void passed() noexcept {
    if (!discarding_) steps_ = 0;
  }
  /// The acknowledgement stays in front of such a one.
  void stopped() noexcept;
  /// It passed all of them.
  void complete() noexcept;
  void refute() noexcept;

  /// Segments past a gap are discarded, but for the first capacity().
  [[nodiscard]] bool discarding() const noexcept { return discarding_; }
  [[nodiscard]] unsigned capacity() const noexcept { return capacity_; }
  /// How many segments to send again where the acknowledgement stopped: more with each stop of a recovery, since a
  /// wrong guess costs bandwidth and a right one not tried a round trip.
  [[nodiscard]] unsigned burst() const noexcept { return 1U << (2 * stops_); }
  /// Whether to try the verdict in the recovery that begins.
  [[nodiscard]] bool trial() noexcept { return ++recoveries_ % kRecoveriesPerTrial == 0; }

 private:
  static constexpr unsigned kMostStops = 4;
  unsigned steps_ = 0;
  unsigned stops_ = 0;  // in this recovery
  unsigned held_ = 0;
  unsigned candidate_ = 0;  // what was last held before a stop
  unsigned capacity_ = 0;
  std::uint32_t recoveries_ = 0;
  bool discarding_ = false;
};

inline void GapEvidence::refute() noexcept {
  discarding_ = false;
  steps_ = stops_ = 0;
  candidate_ = capacity_ = 0;
}

inline void GapEvidence::held() noexcept {
  ++held_;
  if (!discarding_) {
    if (held_ > kHeldSegments) steps_ = 0;
  } else if (held_ > capacity_ + kHeldSegments) {
    refute();
  }
}

inline void GapEvidence::stopped() noexcept {
  stops_ = std::min(stops_ + 1, kMostStops);
  if (discarding_) {
    // Another loss, or less room than was thought.
    capacity_ = held_ == 0 ? capacity_ / 2 : std::min(capacity_, held_);
    return;
  }
  if (held_ > 0) {
    candidate_ = held_;
    return;
  }
  if (++steps_ < kSingleSteps) return;
  steps_ = 0;
  discarding_ = true;
  capacity_ = candidate_;
}

inline void GapEvidence::complete() noexcept {
  stops_ = 0;
  if (!discarding_ && held_ > 0 && steps_ > 0) --steps_;
}

}  // namespace switchback::transports::ctcp
