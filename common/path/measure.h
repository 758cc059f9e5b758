// What is measured of a path: round trip, loss in each direction, goodput. Values only; the selector feeds them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/time.h"

namespace switchback::path {

/// Smoothed round-trip time, RFC 6298 §2, fed by probe answers. Each answer echoes its probe, so Karn's rule is met.
class RttEstimator {
 public:
  void sample(Duration rtt) noexcept {
    if (rtt < Duration::zero()) return;
    if (!srtt_) {  // RFC 6298 §2.2
      srtt_ = rtt;
      variation_ = rtt / 2;
      minimum_ = rtt;
      return;
    }
    const auto distance = *srtt_ > rtt ? *srtt_ - rtt : rtt - *srtt_;
    variation_ = (variation_ * 3 + distance) / 4;  // RFC 6298 §2.3: beta = 1/4, alpha = 1/8, the variation first
    srtt_ = (*srtt_ * 7 + rtt) / 8;
    minimum_ = std::min(minimum_, rtt);
  }
  [[nodiscard]] std::optional<Duration> srtt() const noexcept { return srtt_; }
  [[nodiscard]] Duration variation() const noexcept { return variation_; }
  /// The least sample; zero if there was none.
  [[nodiscard]] Duration minimum() const noexcept { return minimum_; }
  /// How long an answer may reasonably take: srtt + 4 rttvar, and 1 s without a sample (RFC 6298 §2.1). On a path whose
  /// round trips hardly vary a quarter of them is added, or every answer would be on the brink of being late. No floor:
  /// the users of this have their own.
  [[nodiscard]] Duration patience() const noexcept {
    return srtt_ ? *srtt_ + std::max(4 * variation_, *srtt_ / 4) : Duration{std::chrono::seconds{1}};
  }

 private:
  std::optional<Duration> srtt_;
  Duration variation_{}, minimum_{};
};

/// Loss of one direction over a sliding window, from pairs of running totals: what had been sent when a counting
/// message left, and what had been received when it came. Packets that it overtook are counted with the next pair.
class LossMeter {
 public:
  static constexpr Duration kWindow = std::chrono::seconds{5};

  /// Totals never fall on a path; a pair that does is taken as a new beginning.
  void totals(std::uint64_t sent, std::uint64_t received, Instant now) noexcept {
    if (count_ != 0 && (sent < newest().sent || received < newest().received)) count_ = 0;
    while (count_ > 1 && (count_ == kPairs || now - pairs_[1].at > kWindow)) {
      std::copy(pairs_.begin() + 1, pairs_.begin() + static_cast<std::ptrdiff_t>(count_), pairs_.begin());
      --count_;
    }
    // Merged with the one before it, so that many reports do not shorten the window.
    if (count_ > 1 && now - pairs_[count_ - 2].at < kWindow / kPairs) --count_;
    pairs_[count_++] = {sent, received, now};
  }
  /// Packets sent within the window, as far as it is known.
  [[nodiscard]] std::uint64_t sent() const noexcept { return count_ < 2 ? 0 : newest().sent - pairs_[0].sent; }
  [[nodiscard]] std::uint64_t lost() const noexcept {
    if (count_ < 2) return 0;
    const auto received = newest().received - pairs_[0].received;
    return received >= sent() ? 0 : sent() - received;
  }
  /// 0 to 1; nothing if nothing was sent.
  [[nodiscard]] std::optional<double> ratio() const noexcept {
    if (sent() == 0) return std::nullopt;
    return static_cast<double>(lost()) / static_cast<double>(sent());
  }
  void reset() noexcept { count_ = 0; }

 private:
  static constexpr std::size_t kPairs = 25;
  struct Pair {
    std::uint64_t sent = 0, received = 0;
    Instant at{};
  };
  [[nodiscard]] const Pair& newest() const noexcept { return pairs_[count_ - 1]; }
  std::array<Pair, kPairs> pairs_{};
  std::size_t count_ = 0;
};

/// Octets per second over the last second or so, from a running total.
class GoodputMeter {
 public:
  static constexpr Duration kBucket = std::chrono::milliseconds{100};

  void total(std::uint64_t octets, Instant now) noexcept {
    if (count_ != 0 && octets < at(count_ - 1).octets) count_ = 0;
    if (count_ != 0 && now - at(count_ - 1).at < kBucket) return;
    if (count_ == kPoints) {
      first_ = (first_ + 1) % kPoints;
      --count_;
    }
    points_[(first_ + count_++) % kPoints] = {octets, now};
  }
  [[nodiscard]] double octets_per_second() const noexcept {
    if (count_ < 2) return 0;
    const auto& oldest = at(0);
    const auto& newest = at(count_ - 1);
    return static_cast<double>(newest.octets - oldest.octets) /
           std::chrono::duration<double>(newest.at - oldest.at).count();
  }

 private:
  static constexpr std::size_t kPoints = 11;
  struct Point {
    std::uint64_t octets = 0;
    Instant at{};
  };
  [[nodiscard]] const Point& at(std::size_t index) const noexcept { return points_[(first_ + index) % kPoints]; }
  std::array<Point, kPoints> points_{};
  std::size_t first_ = 0, count_ = 0;
};

}  // namespace switchback::path
