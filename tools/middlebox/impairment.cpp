#include "tools/middlebox/impairment.h"

#include <algorithm>

namespace switchback::middlebox {

Duration Impairment::delay(bool early) {
  auto delay = rules_.delay;
  if (rules_.jitter > Duration{}) {
    const auto range = static_cast<std::uint64_t>(2 * rules_.jitter.count() + 1);
    delay += Duration{static_cast<Duration::rep>(random_() % range)} - rules_.jitter;
  }
  if (early) delay -= rules_.reorder_by;
  return std::max(delay, Duration{});
}

Fate Impairment::decide(std::size_t octets, Instant now) {
  Fate fate;
  ++packets_;
  if (rules_.lose.contains(packets_)) {
    fate.lost = "by its number";
    return fate;
  }
  if (rules_.burst) {
    bad_ = chance(bad_ ? 1 - rules_.burst->to_good : rules_.burst->to_bad);
    if (chance(bad_ ? rules_.burst->loss_bad : rules_.burst->loss_good)) {
      fate.lost = "in a burst";
      return fate;
    }
  }
  if (chance(rules_.loss)) {
    fate.lost = "at random";
    return fate;
  }
  if (rules_.mtu != 0 && octets > rules_.mtu) {
    fate.lost = "larger than the MTU";
    fate.too_big = true;
    return fate;
  }
  auto ready = now;
  if (rules_.rate > 0) {
    const auto begin = std::max(now, line_free_);
    const auto waiting = std::chrono::duration<double>(begin - now).count() * rules_.rate;
    if (waiting + static_cast<double>(octets) > static_cast<double>(rules_.queue_octets)) {
      fate.lost = "queue full";
      return fate;
    }
    const std::chrono::duration<double> takes{static_cast<double>(octets) / rules_.rate};
    ready = line_free_ = begin + std::chrono::duration_cast<Duration>(takes);
  }
  const bool early = chance(rules_.reorder);
  fate.leave_at = ready + delay(early);
  // Jitter alone reorders, as it does on networks; without jitter the order is kept but for what is to be reordered.
  if (rules_.jitter == Duration{} && !early) fate.leave_at = std::max(fate.leave_at, last_leave_);
  last_leave_ = std::max(last_leave_, fate.leave_at);
  if (chance(rules_.corrupt)) fate.corrupt_bit = static_cast<std::uint32_t>(random_());
  if (chance(rules_.duplicate)) fate.second_at = ready + delay(false);
  return fate;
}

}  // namespace switchback::middlebox
