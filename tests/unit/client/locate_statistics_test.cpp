#include "client/locate_statistics.h"

#include <catch2/catch.hpp>
#include <random>
#include <vector>

using namespace switchback::client::locate;

TEST_CASE("Wilson's interval has its textbook values", "[locate]") {
  // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
  auto interval = wilson(81, 263);
  CHECK(interval.low == Approx(0.2553).margin(5e-5));
  CHECK(interval.high == Approx(0.3662).margin(5e-5));
  interval = wilson(15, 148);
  CHECK(interval.low == Approx(0.0624).margin(5e-5));
  CHECK(interval.high == Approx(0.1605).margin(5e-5));
  interval = wilson(0, 20);
  CHECK(interval.low == 0);
  CHECK(interval.high == Approx(0.1611).margin(5e-5));
  interval = wilson(1, 29);
  CHECK(interval.low == Approx(0.0061).margin(5e-5));
  CHECK(interval.high == Approx(0.1718).margin(5e-5));
  CHECK(wilson(0, 0).width() == 1);
  CHECK(wilson(20, 20).high == 1);
}

TEST_CASE("the beta distribution has known values, and its inverse inverts it", "[locate]") {
  CHECK(beta_cdf(1, 1, 0.3) == Approx(0.3));
  CHECK(beta_cdf(2, 1, 0.5) == Approx(0.25));
  CHECK(beta_cdf(2, 3, 0.4) == Approx(0.5248));   // 1 - 0.6^3 (1 + 3·0.4)
  CHECK(beta_cdf(0.5, 0.5, 0.5) == Approx(0.5));  // arcsine
  CHECK(beta_cdf(10.5, 1990.5, 0.00525) == Approx(0.528).margin(0.03));
  CHECK(beta_cdf(3, 4, 0) == 0);
  CHECK(beta_cdf(3, 4, 1) == 1);
  for (const double a : {0.5, 3.0, 50.0}) {
    for (const double b : {0.5, 20.0, 5000.0}) {
      for (const double p : {0.025, 0.5, 0.975}) {
        CHECK(beta_cdf(a, b, beta_quantile(a, b, p)) == Approx(p).margin(1e-3));
      }
    }
  }
}

TEST_CASE("Wilson's interval holds the truth about as often as it says, at small shares", "[locate]") {
  const unsigned seed = 7;
  CAPTURE(seed);
  std::mt19937 random{seed};
  for (const double share : {0.001, 0.005, 0.02, 0.05}) {
    CAPTURE(share);
    std::binomial_distribution<int> losses{4000, share};
    int held = 0;
    for (int i = 0; i < 2000; ++i) held += wilson(losses(random), 4000).contains(share) ? 1 : 0;
    CHECK(held > 1850);
  }
}

TEST_CASE("bursts are seen in how blocks scatter, and chance is not taken for them", "[locate]") {
  const unsigned seed = 11;
  CAPTURE(seed);
  std::mt19937 random{seed};
  std::binomial_distribution<int> losses{100, 0.02};
  int taken_for_bursts = 0;
  for (int run = 0; run < 300; ++run) {
    std::vector<Block> blocks;
    for (int i = 0; i < 60; ++i) blocks.push_back({100, static_cast<double>(losses(random))});
    const double by = inflation(blocks);
    CHECK(by < 3);
    taken_for_bursts += by > 1 ? 1 : 0;
  }
  CHECK(taken_for_bursts < 12);
  std::vector<Block> bursts(60, Block{100, 0});
  for (std::size_t i = 0; i < bursts.size(); i += 10) bursts[i].lost = 20;
  CHECK(inflation(bursts) > 10);
  CHECK(inflation({}) == 1);
  CHECK(inflation(std::vector<Block>(60, Block{100, 0})) == 1);
}
