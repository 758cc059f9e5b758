#include "client/locate_statistics.h"

#include <algorithm>
#include <cmath>

namespace switchback::client::locate {

Interval wilson(double hits, double trials, double z) noexcept {
  if (trials <= 0) return {};
  const double share = std::clamp(hits / trials, 0.0, 1.0);
  const double z2 = z * z;
  const double middle = (share + z2 / (2 * trials)) / (1 + z2 / trials);
  const double half = z / (1 + z2 / trials) * std::sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials));
  return {std::clamp(middle - half, 0.0, share), std::clamp(middle + half, share, 1.0)};
}

namespace {

/// Lentz's algorithm for the continued fraction of DLMF 8.17.22, which converges fast for x < (a + 1) / (a + b + 2).
double fraction(double a, double b, double x) noexcept {
  constexpr double kTiny = 1e-300, kEnough = 1e-12;
  constexpr int kTerms = 500;
  const auto away_from_zero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1;
  double d = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
  double result = d;
  for (int m = 1; m <= kTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    result *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    const double step = d * c;
    result *= step;
    if (std::abs(step - 1) < kEnough) break;
  }
  return result;
}

}  // namespace

double beta_cdf(double a, double b, double x) noexcept {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return std::clamp(front * fraction(a, b, x) / a, 0.0, 1.0);
  return std::clamp(1 - front * fraction(b, a, 1 - x) / b, 0.0, 1.0);
}

double beta_quantile(double a, double b, double p) noexcept {
  double low = 0, high = 1;
  for (int i = 0; i < 60 && high - low > 1e-9; ++i) {
    const double middle = (low + high) / 2;
    (beta_cdf(a, b, middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

double inflation(std::span<const Block> blocks) noexcept {
  double trials = 0, lost = 0;
  for (const auto& block : blocks) {
    trials += block.trials;
    lost += block.lost;
  }
  if (blocks.size() < 5 || trials <= 0 || lost <= 0 || lost >= trials) return 1;
  const double share = lost / trials;
  double scatter = 0;  // Pearson's chi-squared
  double degrees = -1;
  for (const auto& block : blocks) {
    if (block.trials <= 0) continue;
    const double expected = block.trials * share;
    scatter += (block.lost - expected) * (block.lost - expected) / (expected * (1 - share));
    ++degrees;
  }
  if (degrees < 4) return 1;
  const double ratio = scatter / degrees;
  // Wilson and Hilferty: the cube root is nearly normal. Where chance alone gives as much in one case of a hundred, it
  // is left at that: few losses scatter a lot.
  const double spread = std::sqrt(2 / (9 * degrees));
  const double z = (std::cbrt(ratio) - (1 - 2 / (9 * degrees))) / spread;
  return z > 2.33 ? std::max(1.0, ratio) : 1.0;
}

}  // namespace switchback::client::locate
