#include "transports/dataplane/handover_ring.h"

#include <catch2/catch.hpp>
#include <deque>
#include <random>
#include <thread>

#include "tests/unit/dataplane/ends.h"
#include "transports/dataplane/handover.h"

using namespace switchback;
using namespace switchback::transports;

namespace {

[[nodiscard]] bool put(HandoverRing& ring, const Bytes& record) {
  const auto room = ring.reserve(record.size());
  if (room.empty()) return false;
  std::copy(record.begin(), record.end(), room.begin());
  ring.commit();
  return true;
}

[[nodiscard]] Bytes numbered(std::uint32_t number, std::size_t octets) {
  Bytes record(std::max<std::size_t>(octets, 4), static_cast<std::uint8_t>(number));
  store_be(record.data(), number);
  return record;
}

}  // namespace

TEST_CASE("records come out of a ring as they went in, whatever their sizes", "[dataplane][cores]") {
  HandoverRing ring{4096};
  std::mt19937 random{7};
  std::deque<Bytes> inside;
  for (std::uint32_t number = 0; number < 20'000; ++number) {
    auto record = numbered(number, random() % ring.largest_record() + 1);
    if (put(ring, record)) inside.push_back(std::move(record));
    // Full and empty both come about.
    while (!inside.empty() && random() % 3 != 0) {
      REQUIRE(to_bytes(ring.front()) == inside.front());
      ring.pop();
      inside.pop_front();
    }
  }
  for (; !inside.empty(); inside.pop_front(), ring.pop()) REQUIRE(to_bytes(ring.front()) == inside.front());
  CHECK(ring.empty());
}

TEST_CASE("a full ring takes nothing, and takes the largest record once it is empty", "[dataplane][cores]") {
  HandoverRing ring{1024};
  std::size_t records = 0;
  while (put(ring, Bytes(100, 1))) ++records;
  CHECK(records >= 7);
  CHECK(records <= 1024 / 100);
  for (; records > 0; --records) {
    REQUIRE(ring.front().size() == 100);
    ring.pop();
  }
  CHECK(ring.empty());
  for (int i = 0; i < 20; ++i) {  // at every place
    REQUIRE(put(ring, Bytes(ring.largest_record(), 2)));
    REQUIRE(ring.front().size() == ring.largest_record());
    ring.pop();
  }
}

TEST_CASE("what is reserved and not committed is not there", "[dataplane][cores]") {
  HandoverRing ring{1024};
  CHECK_FALSE(ring.reserve(10).empty());
  CHECK(ring.empty());
  REQUIRE(put(ring, Bytes(20, 3)));
  CHECK(ring.front().size() == 20);
}

TEST_CASE("a producer that waits for room is told once", "[dataplane][cores]") {
  HandoverRing ring{1024};
  while (put(ring, Bytes(100, 1))) {
  }
  CHECK_FALSE(ring.resumes_producer());
  CHECK(ring.wait_for_room());
  ring.pop();
  CHECK(ring.resumes_producer());
  CHECK_FALSE(ring.resumes_producer());
  // It does not wait when room has come meanwhile.
  ring.pop();
  CHECK_FALSE(ring.wait_for_room());
}

TEST_CASE("two threads hand over every record in order, sleeping whenever there is nothing to do",
          "[dataplane][cores]") {
  constexpr std::uint32_t kRecords = 100'000;
  HandoverRing ring{8192};
  Doorbell producer_bell, consumer_bell;
  const auto sleep = [](Doorbell& bell, const auto& idle) {
    bell.about_to_sleep();
    if (idle()) {
      if (!testing::readable(bell.fd())) std::abort();  // a lost wake-up
      bell.silence();
    }
    bell.awake();
  };
  std::thread producer{[&] {
    for (std::uint32_t number = 0; number < kRecords;) {
      if (put(ring, numbered(number, 4 + number * 37 % 900))) {
        ++number;
        if (number % 16 == 0 || number == kRecords) consumer_bell.ring();
        continue;
      }
      consumer_bell.ring();
      if (ring.wait_for_room()) sleep(producer_bell, [&] { return !ring.has_moved(); });
    }
  }};
  std::uint32_t next = 0;
  bool right = true;
  while (next < kRecords) {
    const auto record = ring.front();
    if (record.empty()) {
      sleep(consumer_bell, [&] { return ring.empty(); });
      continue;
    }
    right = right && to_bytes(record) == numbered(next, 4 + next * 37 % 900);
    ring.pop();
    if (++next % 8 == 0 && ring.resumes_producer()) producer_bell.ring();
    if (ring.empty() && ring.resumes_producer()) producer_bell.ring();
  }
  producer.join();
  CHECK(right);
  CHECK(ring.empty());
}
