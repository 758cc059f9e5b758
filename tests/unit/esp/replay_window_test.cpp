#include <catch2/catch.hpp>

#include "common/esp/replay_window.h"

using switchback::esp::ReplayWindow;

namespace {
constexpr auto kWindow = ReplayWindow::kPackets;
}

TEST_CASE("a number is accepted once", "[esp][rfc4303][replay]") {
  ReplayWindow window{false};
  CHECK_FALSE(window.fresh(0));
  CHECK(window.fresh(1));
  window.mark(1);
  CHECK_FALSE(window.fresh(1));
  CHECK(window.fresh(2));
  CHECK(window.highest() == 1);
}

TEST_CASE("a number left of the window is refused, at its edge accepted", "[esp][rfc4303][replay]") {
  ReplayWindow window{false};
  window.mark(100000);
  CHECK(window.fresh(100000 - kWindow + 1));
  CHECK_FALSE(window.fresh(100000 - kWindow));
  CHECK_FALSE(window.fresh(1));
  window.mark(100000 - kWindow + 1);
  CHECK_FALSE(window.fresh(100000 - kWindow + 1));
}

TEST_CASE("packets that overtook thousands of others do not shut them out", "[esp][rfc4303][replay]") {
  static_assert(kWindow >= 4096);
  ReplayWindow window{false};
  window.mark(5000);
  for (std::uint64_t seq = 5000 - 4095; seq < 5000; ++seq) {
    REQUIRE(window.fresh(seq));
    window.mark(seq);
    REQUIRE_FALSE(window.fresh(seq));
  }
}

TEST_CASE("a leap past the whole ring forgets everything before", "[esp][rfc6479][replay]") {
  ReplayWindow window{true};
  for (std::uint64_t seq = 1; seq <= 200; ++seq) window.mark(seq);
  const auto far = std::uint64_t{1} << 40U;
  window.mark(far);
  for (auto seq = far - kWindow + 1; seq < far; ++seq) REQUIRE(window.fresh(seq));
  CHECK_FALSE(window.fresh(200));
}

TEST_CASE("without ESN the number is what the packet says", "[esp][rfc4303]") {
  ReplayWindow window{false, 0xFFFFFFF0};
  CHECK(window.widen(5) == 5);
  CHECK_FALSE(window.fresh(window.widen(5)));  // no wrap without ESN
}

TEST_CASE("the high half is inferred as RFC 4303 A2.2 says", "[esp][rfc4303][esn]") {
  constexpr std::uint64_t kHigh = 3ULL << 32U;
  SECTION("case A: the window lies within one subspace") {
    const ReplayWindow window{true, kHigh + 0x80000000};
    const auto bottom = 0x80000000U - static_cast<std::uint32_t>(kWindow) + 1;
    CHECK(window.widen(bottom) == kHigh + bottom);
    CHECK(window.widen(0xFFFFFFFF) == kHigh + 0xFFFFFFFF);
    CHECK(window.widen(bottom - 1) == kHigh + (1ULL << 32U) + bottom - 1);
    CHECK(window.widen(0) == kHigh + (1ULL << 32U));
  }
  SECTION("case A at its border") {
    const ReplayWindow window{true, kHigh + kWindow - 1};
    CHECK(window.widen(0) == kHigh);
    CHECK(window.widen(0xFFFFFFFF) == kHigh + 0xFFFFFFFF);
  }
  SECTION("case B: the window spans two subspaces") {
    const ReplayWindow window{true, kHigh + 10};
    const auto bottom = static_cast<std::uint32_t>(10 - kWindow + 1);
    CHECK(window.widen(bottom) == kHigh - (1ULL << 32U) + bottom);
    CHECK(window.widen(0xFFFFFFFF) == kHigh - 1);
    CHECK(window.widen(10) == kHigh + 10);
    CHECK(window.widen(bottom - 1) == kHigh + bottom - 1);
  }
  SECTION("before the first wrap nothing lies below zero") {
    const ReplayWindow window{true, 10};
    CHECK(window.widen(0xFFFFFFFF) == 0);
    CHECK_FALSE(window.fresh(window.widen(0xFFFFFFFF)));
    CHECK(window.widen(11) == 11);
  }
}
