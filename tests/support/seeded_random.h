// A predictable RandomSource: the same seed gives the same run.
#pragma once

#include <random>

#include "common/base/random.h"

namespace switchback::test {

class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(std::uint64_t seed) : engine_{seed} {}
  void public_fill(ByteSpan out) override { fill(out); }
  void secret_fill(ByteSpan out) override { fill(out); }

  /// Below `bound`.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }
  [[nodiscard]] bool chance(double probability) {
    return static_cast<double>(engine_() >> 11U) * 0x1.0p-53 < probability;
  }

 private:
  void fill(ByteSpan out) {
    for (auto& octet : out) octet = static_cast<std::uint8_t>(engine_() >> 24U);
  }
  std::mt19937_64 engine_;
};

}  // namespace switchback::test
