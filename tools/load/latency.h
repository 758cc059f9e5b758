// How long things took: a histogram of fixed size, so that a million measurements cost no more memory than one. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/time.h"

namespace switchback::load {

/// Counts durations in buckets that are 1/32 of their size wide: what it says is at most 3.2 % too high. From a
/// microsecond to an hour; what is longer counts as an hour.
class Latencies {
 public:
  void add(Duration took) noexcept;
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// The least duration that a share of all measurements did not exceed, as its bucket's upper end.
  /// @param share  0 to 1: 0.5 is the median, 1 the longest of all. Nothing if there are no measurements
  [[nodiscard]] std::optional<Duration> percentile(double share) const noexcept;

 private:
  static constexpr unsigned kSubBits = 5;
  static constexpr std::uint64_t kLongest = 3'600'000'000;  // microseconds
  static constexpr std::size_t kBuckets = (32 - kSubBits + 1) << kSubBits;
  [[nodiscard]] static std::size_t bucket_of(std::uint64_t micros) noexcept;
  [[nodiscard]] static std::uint64_t upper_end(std::size_t bucket) noexcept;

  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
};

}  // namespace switchback::load
