#include <algorithm>
#include <catch2/catch.hpp>

#include "common/path/pmtu.h"

using namespace switchback;
using namespace switchback::path;
using namespace std::chrono_literals;

namespace {

/// A path that carries packets up to `carries` and says nothing about others.
struct Line {
  PmtuSearch search;
  Instant now{std::chrono::hours{1}};
  std::uint16_t carries;
  unsigned probes = 0;

  Line(PmtuConfig config, std::uint16_t carried) : search{config, 100}, carries{carried} { search.handle_start(now); }
  void answer() {
    while (const auto probe = search.poll_probe()) {
      ++probes;
      if (probe->packet_octets <= carries) search.handle_answer(probe->id, probe->packet_octets, now);
    }
  }
  void run_for(Duration time) {
    const auto end = now + time;
    answer();
    while (search.next_deadline() && *search.next_deadline() <= end) {
      now = *search.next_deadline();
      search.handle_deadline(now);
      REQUIRE((!search.next_deadline() || *search.next_deadline() > now));
      answer();
    }
    now = end;
  }
};

}  // namespace

TEST_CASE("every path MTU from the minimum to 9000 is found within the precision, v4 and v6", "[path][rfc8899]") {
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    for (const auto interface : {std::uint16_t{1500}, std::uint16_t{9000}}) {
      const auto config = PmtuConfig::for_path(family, interface);
      for (unsigned size = config.minimum; size <= config.maximum; size += 61) {
        Line line{config, static_cast<std::uint16_t>(size)};
        line.run_for(60s);
        INFO(size << " of " << interface);
        CHECK(line.search.state() == PmtuState::complete);
        CHECK(line.search.mtu() <= size);
        CHECK(line.search.mtu() + config.precision >= size);
      }
    }
  }
}

TEST_CASE("common sizes are found exactly and soon", "[path][rfc8899]") {
  const std::array<std::pair<std::uint16_t, unsigned>, 5> cases{
      {{1500, 2}, {1492, 14}, {1400, 20}, {1280, 24}, {9000, 3}}};
  for (const auto& [size, most_probes] : cases) {
    Line line{PmtuConfig::for_path(IpFamily::v4, size > 1500 ? 9000 : 1500), size};
    line.run_for(25s);
    INFO(size);
    CHECK(line.search.mtu() == size);
    CHECK(line.search.state() == PmtuState::complete);
    CHECK(line.probes <= most_probes);
  }
}

TEST_CASE("a path that carries nothing is sent the minimum and no more", "[path][rfc8899]") {
  Line line{PmtuConfig::for_path(IpFamily::v4, 1500), 0};
  line.run_for(50s);
  CHECK(line.search.mtu() == 576);
  CHECK(line.probes < 40);
  line.run_for(600s);
  CHECK(line.probes < 400);
}

TEST_CASE("a lost probe is asked again before its size is given up", "[path][rfc8899]") {
  PmtuSearch search{PmtuConfig::for_path(IpFamily::v4, 1500), 1};
  const Instant t0{std::chrono::hours{1}};
  search.handle_start(t0);
  const auto first = search.poll_probe();
  REQUIRE(first.has_value());
  CHECK_FALSE(search.poll_probe().has_value());
  search.handle_deadline(t0 + 1s);
  const auto second = search.poll_probe();
  REQUIRE(second.has_value());
  CHECK(second->packet_octets == first->packet_octets);
  CHECK(second->id != first->id);
  search.handle_answer(first->id, first->packet_octets, t0 + 1100ms);  // late, and good
  CHECK(search.state() == PmtuState::searching);
}

TEST_CASE("answers to probes that were not sent change nothing", "[path][rfc8899]") {
  PmtuSearch search{PmtuConfig::for_path(IpFamily::v4, 1500), 10};
  const Instant t0{std::chrono::hours{1}};
  search.handle_answer(10, 1200, t0);
  CHECK(search.state() == PmtuState::disabled);
  search.handle_start(t0);
  search.handle_answer(9, 1200, t0);
  search.handle_answer(11, 1200, t0);
  search.handle_answer(10, 1500, t0);
  CHECK(search.state() == PmtuState::base);
}

TEST_CASE("a black hole is noticed, and the size falls to what is carried", "[path][rfc8899]") {
  Line line{PmtuConfig::for_path(IpFamily::v4, 1500), 1500};
  line.run_for(5s);
  CHECK(line.search.poll_changed() == std::uint16_t{1500});
  line.carries = 1400;
  line.search.handle_large_lost(line.now);
  line.run_for(60s);
  CHECK(line.search.black_holes() == 1);
  CHECK(line.search.mtu() == 1400);
  line.carries = 1300;  // and without being told, by the confirmation
  line.run_for(120s);
  CHECK(line.search.black_holes() == 2);
  CHECK(line.search.mtu() + 4 >= 1300);
  CHECK(line.search.mtu() <= 1300);
}

TEST_CASE("the raise timer finds a path that has become better", "[path][rfc8899]") {
  Line line{PmtuConfig::for_path(IpFamily::v4, 1500), 1400};
  line.run_for(60s);
  CHECK(line.search.mtu() == 1400);
  line.carries = 1500;
  line.run_for(660s);
  CHECK(line.search.mtu() == 1500);
  CHECK(line.search.black_holes() == 0);
}

TEST_CASE("a forged hint that packets are too big is disproved by the next answer", "[path][rfc8899]") {
  Line line{PmtuConfig::for_path(IpFamily::v4, 1500), 1500};
  line.run_for(5s);
  for (int i = 0; i < 50; ++i) {
    line.search.handle_hint(600, line.now);
    line.run_for(100ms);
  }
  CHECK(line.search.mtu() == 1500);
  CHECK(line.search.black_holes() == 0);
  line.carries = 1300;  // a true one
  line.search.handle_hint(1300, line.now);
  line.run_for(4s);
  CHECK(line.search.mtu() <= 1300);
}

TEST_CASE("nothing becomes its own successor in the search, and every state is reached", "[path][rfc8899]") {
  std::array<bool, kPmtuStates> reached{};
  for (const auto& row : kPmtuTransitions) {
    CHECK(row.from != row.to);
    CHECK(row.to != PmtuState::disabled);
    reached[static_cast<std::size_t>(row.to)] = true;
  }
  CHECK(std::count(reached.begin(), reached.end(), true) == kPmtuStates - 1);
}
