#include "tools/load/latency.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace switchback::load {

// Up to 2 * 2^kSubBits each value has its bucket; above, each power of two is divided into 2^kSubBits of them.
std::size_t Latencies::bucket_of(std::uint64_t micros) noexcept {
  constexpr std::uint64_t kExact = std::uint64_t{2} << kSubBits;
  if (micros < kExact) return static_cast<std::size_t>(micros);
  const auto shift = static_cast<unsigned>(std::bit_width(micros)) - kSubBits - 1;
  return (static_cast<std::size_t>(shift) << kSubBits) + static_cast<std::size_t>(micros >> shift);
}

std::uint64_t Latencies::upper_end(std::size_t bucket) noexcept {
  constexpr std::size_t kExact = std::size_t{2} << kSubBits;
  if (bucket < kExact) return bucket;
  const auto shift = (bucket >> kSubBits) - 1;
  const auto within = bucket - (shift << kSubBits);
  return ((static_cast<std::uint64_t>(within) + 1) << shift) - 1;
}

void Latencies::add(Duration took) noexcept {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(std::max(took, Duration{0})).count();
  ++buckets_[bucket_of(std::min(static_cast<std::uint64_t>(micros), kLongest))];
  ++count_;
}

std::optional<Duration> Latencies::percentile(double share) const noexcept {
  if (count_ == 0) return std::nullopt;
  const auto wanted = std::clamp<std::uint64_t>(
      static_cast<std::uint64_t>(std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_))), 1, count_);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= wanted) return std::chrono::microseconds{upper_end(i)};
  }
  return std::chrono::microseconds{kLongest};
}

}  // namespace switchback::load
