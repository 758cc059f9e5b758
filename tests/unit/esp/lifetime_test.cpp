#include <catch2/catch.hpp>

#include "common/esp/lifetime.h"

using namespace switchback;
using namespace switchback::esp;
using namespace std::chrono_literals;

namespace {
const Instant kStart{1000s};
}

TEST_CASE("each limit is told once, soft before hard", "[esp][lifetime]") {
  LifetimeLimits limits;
  limits.soft_packets = 10;
  limits.hard_packets = 20;
  Lifetime lifetime{limits, kStart};
  lifetime.account(9, 900);
  CHECK_FALSE(lifetime.poll_event());
  lifetime.account(1, 100);
  CHECK(lifetime.poll_event() == LifetimeEvent::soft_reached);
  CHECK_FALSE(lifetime.poll_event());
  CHECK_FALSE(lifetime.expired());
  CHECK(lifetime.allowance(100) == 10);
  lifetime.account(10, 1000);
  CHECK(lifetime.expired());
  CHECK(lifetime.allowance(1) == 0);
  CHECK(lifetime.poll_event() == LifetimeEvent::hard_reached);
  CHECK_FALSE(lifetime.poll_event());
}

TEST_CASE("a leap over both limits tells of the hard one", "[esp][lifetime]") {
  LifetimeLimits limits;
  limits.soft_bytes = 10;
  limits.hard_bytes = 20;
  Lifetime lifetime{limits, kStart};
  lifetime.account(1, 50);
  CHECK(lifetime.poll_event() == LifetimeEvent::hard_reached);
  CHECK_FALSE(lifetime.poll_event());
}

TEST_CASE("time runs from installation", "[esp][lifetime]") {
  LifetimeLimits limits;
  limits.soft_time = 60s;
  limits.hard_time = 90s;
  Lifetime lifetime{limits, kStart};
  CHECK(lifetime.next_deadline() == kStart + 60s);
  lifetime.handle_deadline(kStart + 59s);
  CHECK_FALSE(lifetime.poll_event());
  lifetime.handle_deadline(kStart + 60s);
  CHECK(lifetime.poll_event() == LifetimeEvent::soft_reached);
  CHECK(lifetime.next_deadline() == kStart + 90s);
  lifetime.handle_deadline(kStart);  // time does not run backwards
  lifetime.handle_deadline(kStart + 90s);
  CHECK(lifetime.expired());
  CHECK(lifetime.poll_event() == LifetimeEvent::hard_reached);
  CHECK_FALSE(lifetime.next_deadline());
}

TEST_CASE("no limits, no deadline and no event", "[esp][lifetime]") {
  Lifetime lifetime{{}, kStart};
  lifetime.account(1ULL << 60U, 1ULL << 62U);
  CHECK_FALSE(lifetime.next_deadline());
  CHECK_FALSE(lifetime.poll_event());
  CHECK_FALSE(lifetime.expired());
}

TEST_CASE("the default limits end a key before its bounds", "[esp][lifetime][rfc4303]") {
  using enum crypto::AeadAlgorithm;
  for (const auto algorithm : {aes128_gcm, aes256_gcm, chacha20_poly1305}) {
    for (const bool esn : {false, true}) {
      const auto limits = default_limits(algorithm, esn);
      CHECK(limits.soft_packets < limits.hard_packets);
      CHECK(limits.soft_time < limits.hard_time);
      if (!esn) CHECK(limits.hard_packets < 0xFFFFFFFF);
      // 2^34.5 blocks of 16 octets.
      if (algorithm != chacha20_poly1305) CHECK(static_cast<double>(limits.hard_bytes) / 16 < 24296004000.0 * 1.1);
    }
  }
}
