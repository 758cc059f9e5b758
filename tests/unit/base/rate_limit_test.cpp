#include <catch2/catch.hpp>

#include "common/base/rate_limit.h"

namespace switchback {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("a bucket lets its burst through, then its rate", "[base][rate_limit]") {
  TokenBucket bucket{2.0, 3.0};
  const Instant start{seconds{100}};
  for (int i = 0; i < 3; ++i) CHECK(bucket.allow(start));
  CHECK_FALSE(bucket.allow(start));
  CHECK_FALSE(bucket.allow(start + milliseconds{499}));
  CHECK(bucket.allow(start + milliseconds{501}));
  CHECK_FALSE(bucket.allow(start + milliseconds{502}));
}

TEST_CASE("a long rest fills a bucket to its burst and no further", "[base][rate_limit]") {
  TokenBucket bucket{1.0, 2.0};
  const Instant start{seconds{1}};
  CHECK(bucket.allow(start));
  for (int i = 0; i < 2; ++i) CHECK(bucket.allow(start + seconds{1000000}));
  CHECK_FALSE(bucket.allow(start + seconds{1000000}));
}

TEST_CASE("time that runs backwards adds nothing", "[base][rate_limit]") {
  TokenBucket bucket{1.0, 1.0};
  const Instant start{seconds{100}};
  CHECK(bucket.allow(start));
  CHECK_FALSE(bucket.allow(start - seconds{50}));
  CHECK_FALSE(bucket.allow(start));
  CHECK(bucket.allow(start + seconds{1}));
}

}  // namespace
}  // namespace switchback
