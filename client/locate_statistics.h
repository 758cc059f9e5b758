// What can be said of a share from a count of trials. Pure.
#pragma once

#include <cstdint>
#include <span>

namespace switchback::client::locate {

/// A share and the range that it lies in.
struct Interval {
  double low = 0, high = 1;
  [[nodiscard]] bool contains(double value) const noexcept { return low <= value && value <= high; }
  [[nodiscard]] double width() const noexcept { return high - low; }
};

/// Of `z` standard deviations to either side of a normal distribution.
inline constexpr double k95 = 1.959964, k99 = 2.575829;

/// Wilson's score interval for `hits` of `trials`, which may be fractions of counts: right on average at shares near 0,
/// where the textbook's interval is of no use, and never empty. Without trials: all from 0 to 1.
[[nodiscard]] Interval wilson(double hits, double trials, double z = k95) noexcept;

/// Regularised incomplete beta function: the probability that a share with Beta(a, b) is at most x.
[[nodiscard]] double beta_cdf(double a, double b, double x) noexcept;
/// Its inverse: the share below which lies the probability p.
[[nodiscard]] double beta_quantile(double a, double b, double p) noexcept;

/// Losses in a row of blocks of packets, a second's each, say.
struct Block {
  double trials = 0, lost = 0;
};
/// By how much the losses of blocks scatter more than losses do that know nothing of each other: at least 1. Bursts
/// make n packets worth no more than n / inflation, and intervals wider. 1 where chance explains the scatter.
[[nodiscard]] double inflation(std::span<const Block> blocks) noexcept;

}  // namespace switchback::client::locate
