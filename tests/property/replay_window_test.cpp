// The replay window against a std::set that forgets nothing.
#include <catch2/catch.hpp>
#include <random>
#include <set>

#include "common/esp/replay_window.h"

using switchback::esp::ReplayWindow;

namespace {

/// RFC 4303 §3.4.3, word for word.
struct Model {
  std::set<std::uint64_t> seen;
  std::uint64_t highest = 0;

  bool fresh(std::uint64_t seq) const {
    if (seq == 0 || seen.contains(seq)) return false;
    return seq > highest || highest - seq < ReplayWindow::kPackets;
  }
  void mark(std::uint64_t seq) {
    seen.insert(seq);
    highest = std::max(highest, seq);
  }
};

}  // namespace

TEST_CASE("the window accepts exactly what a set of all numbers would", "[property][replay]") {
  const auto seed = GENERATE(range(1U, 41U));
  CAPTURE(seed);
  std::mt19937_64 random{seed};
  const std::uint64_t start = seed % 2 == 0 ? 0 : (std::uint64_t{seed} << 32U) - 5000;  // some cross a 2^32 border
  ReplayWindow window{true, start};
  Model model;
  if (start != 0) model.mark(start);
  for (int step = 0; step < 20000; ++step) {
    std::uint64_t seq = 0;
    switch (random() % 8) {
      case 0: seq = model.highest + random() % 20000; break;  // leaps, some over the whole ring
      case 1: seq = model.highest - std::min(model.highest, random() % 12000); break;
      case 2: seq = model.highest - std::min(model.highest, ReplayWindow::kPackets - 2 + random() % 4); break;
      default: seq = model.highest + 1 - std::min<std::uint64_t>(model.highest, random() % 70); break;
    }
    REQUIRE(window.fresh(seq) == model.fresh(seq));
    // With ESN, the low half tells every number that the window could accept, and those up to 2^31 ahead.
    if (model.fresh(seq)) REQUIRE(window.widen(static_cast<std::uint32_t>(seq)) == seq);
    if (model.fresh(seq) && random() % 4 != 0) {
      window.mark(seq);
      model.mark(seq);
    }
    REQUIRE(window.highest() == model.highest);
  }
}
