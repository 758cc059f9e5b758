#include "tools/load/latency.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <vector>

using namespace switchback;
using namespace switchback::load;
using std::chrono::microseconds;

TEST_CASE("no measurement has no percentile", "[load]") { CHECK_FALSE(Latencies{}.percentile(0.5)); }

TEST_CASE("short durations are told exactly", "[load]") {
  Latencies latencies;
  for (int micros = 1; micros <= 60; ++micros) latencies.add(microseconds{micros});
  CHECK(latencies.count() == 60);
  CHECK(latencies.percentile(0) == microseconds{1});
  CHECK(latencies.percentile(0.5) == microseconds{30});
  CHECK(latencies.percentile(1) == microseconds{60});
}

TEST_CASE("percentiles are never too low, and at most 3.2 % too high", "[load]") {
  Latencies latencies;
  std::vector<std::int64_t> all;
  std::uint64_t state = 7;
  for (int i = 0; i < 20000; ++i) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    all.push_back(static_cast<std::int64_t>((state >> 33U) % (std::uint64_t{1} << (1 + i % 31))));
    latencies.add(microseconds{all.back()});
  }
  std::sort(all.begin(), all.end());
  for (const double share : {0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto exact = all[static_cast<std::size_t>(share * static_cast<double>(all.size()) + 0.999999) - 1];
    const auto told = std::chrono::duration_cast<microseconds>(*latencies.percentile(share)).count();
    CAPTURE(share, exact, told);
    CHECK(told >= exact);
    CHECK(static_cast<double>(told) <= static_cast<double>(exact) * 1.032 + 1);
  }
}

TEST_CASE("what takes longer than an hour, or less than nothing, is bounded", "[load]") {
  Latencies latencies;
  latencies.add(std::chrono::hours{100});
  latencies.add(microseconds{-5});
  CHECK(latencies.percentile(0) == microseconds{0});
  CHECK(*latencies.percentile(1) >= std::chrono::hours{1});
  CHECK(*latencies.percentile(1) < std::chrono::minutes{63});
}
