#include "common/esp/lifetime.h"

#include <algorithm>

namespace switchback::esp {
namespace {

// Saturates: a limit of Duration::max() is "never".
Instant after(Instant start, Duration span) noexcept {
  return span >= Instant::max() - start ? Instant::max() : start + span;
}

}  // namespace

LifetimeLimits default_limits(crypto::AeadAlgorithm algorithm, bool esn) noexcept {
  LifetimeLimits limits;
  limits.soft_time = std::chrono::minutes{60};
  limits.hard_time = std::chrono::minutes{70};
  if (!esn) {
    limits.soft_packets = std::uint64_t{1} << 31U;
    limits.hard_packets = std::uint64_t{3} << 30U;
  } else {
    // Never reached before the time limit on any link; it bounds the SA should time stand still.
    limits.soft_packets = std::uint64_t{1} << 40U;
    limits.hard_packets = std::uint64_t{3} << 39U;
  }
  if (algorithm != crypto::AeadAlgorithm::chacha20_poly1305) {
    limits.soft_bytes = std::uint64_t{256} << 30U;
    limits.hard_bytes = std::uint64_t{384} << 30U;
  }
  return limits;
}

Lifetime::Lifetime(const LifetimeLimits& limits, Instant installed) noexcept
    : limits_{limits},
      now_{installed},
      soft_at_{after(installed, limits.soft_time)},
      hard_at_{after(installed, limits.hard_time)} {}

std::uint64_t Lifetime::allowance(std::uint64_t packets) const noexcept {
  if (expired()) return 0;
  return std::min(packets, limits_.hard_packets - packets_);
}

std::optional<Instant> Lifetime::next_deadline() const noexcept {
  const auto next = soft_told_ || now_ >= soft_at_ ? hard_at_ : std::min(soft_at_, hard_at_);
  if (next == Instant::max() || now_ >= hard_at_) return std::nullopt;
  return next;
}

std::optional<LifetimeEvent> Lifetime::poll_event() noexcept {
  if (hard_told_) return std::nullopt;
  if (expired()) {
    soft_told_ = hard_told_ = true;
    return LifetimeEvent::hard_reached;
  }
  if (soft_told_) return std::nullopt;
  if (packets_ < limits_.soft_packets && bytes_ < limits_.soft_bytes && now_ < soft_at_) return std::nullopt;
  soft_told_ = true;
  return LifetimeEvent::soft_reached;
}

}  // namespace switchback::esp
