#include "tools/benchmark/datagrams/rate_search.h"

#include <catch2/catch.hpp>

using namespace switchback::bench;

namespace {

/// A path that carries `capacity`, less the more is offered beyond it, and a sender that makes up to `most`.
struct Path {
  double capacity, most, thrash = 0;
  [[nodiscard]] RateStep step(double rate) const {
    const double offered = std::min(rate, most);
    const double over = std::max(0.0, offered - capacity);
    return {offered, std::max(0.0, std::min(offered, capacity) - thrash * over)};
  }
};

RateSearch search(const Path& path) {
  RateSearch search;
  while (const auto rate = search.next()) search.handle(path.step(*rate));
  return search;
}

}  // namespace

TEST_CASE("a path faster than the sender is found in one step", "[bench]") {
  const auto found = search({1e6, 2e5});
  CHECK(found.steps() == 1);
  CHECK(found.best().delivered == Approx(2e5));
}

TEST_CASE("the rate found is close below what the path carries", "[bench]") {
  for (const double capacity : {1e3, 3.3e4, 1e5, 9e5}) {
    for (const double thrash : {0.0, 0.1}) {
      const auto found = search({capacity, 1e6, thrash});
      INFO("capacity " << capacity << ", thrash " << thrash << ", steps " << found.steps());
      CHECK(found.best().delivered <= capacity);
      CHECK(found.best().delivered > (thrash == 0 ? 0.9 : 0.7) * capacity);
      CHECK(found.best().loss() <= 0.01);
    }
  }
}

TEST_CASE("one step with loss that is not the path's, or a sender held up once, does not spoil a search", "[bench]") {
  const Path path{1e5, 1e6};
  for (const bool sender_held_up : {false, true}) {
    RateSearch search;
    bool disturbed = false;
    while (const auto rate = search.next()) {
      auto step = path.step(sender_held_up && !disturbed ? *rate * 0.5 : *rate);
      if (!std::isinf(*rate) && !disturbed) {
        if (!sender_held_up) step.delivered *= 0.5;
        disturbed = true;
      }
      search.handle(step);
    }
    CHECK(search.best().delivered > 0.9e5);
  }
}

TEST_CASE("a sender that loses nothing but reaches no more ends the search", "[bench]") {
  RateSearch search;
  search.handle({2e5, 1e5});  // flat out
  unsigned steps = 1;
  while (const auto rate = search.next()) {
    search.handle(Path{1e6, 5e4}.step(*rate));
    ++steps;
  }
  CHECK(search.best().delivered == Approx(5e4));
  CHECK(steps < 5);
}

TEST_CASE("a path that delivers nothing ends the search with nothing", "[bench]") {
  const auto found = search({0, 1e6});
  CHECK(found.best().delivered == 0);
  CHECK(found.steps() <= RateSearchLimits{}.most_steps);
}
