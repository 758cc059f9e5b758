#include "tools/load/schedule.h"

#include <catch2/catch.hpp>
#include <set>

using namespace switchback;
using namespace switchback::load;
using namespace std::chrono_literals;

namespace {

Activity only(std::string_view text) {
  const auto phase = parse_phase(text);
  REQUIRE(phase);
  REQUIRE(phase->activities.size() == 1);
  return phase->activities.front();
}

std::vector<Phase> plan(std::initializer_list<const char*> texts) {
  std::vector<Phase> phases;
  for (const auto* text : texts) phases.push_back(parse_phase(text).value());
  return phases;
}

}  // namespace

TEST_CASE("phases are read as they are documented", "[load]") {
  const auto ramp = only("ramp=1000@200");
  CHECK(ramp.kind == Kind::ramp);
  CHECK(ramp.sessions == 1000);
  CHECK(ramp.rate == 200);
  CHECK(ramp.time == 65s);
  CHECK(only("ramp=10").rate == 100);
  CHECK(only("ramp=10@5,7").time == 7s);
  CHECK(only("hold=60").time == 60s);
  const auto active = only("active=100@2.5,30");
  CHECK(active.sessions == 100);
  CHECK(active.rate == 2.5);
  CHECK(active.time == 30s);
  CHECK(only("churn=20,30").rate == 20);
  CHECK(only("storm=500,60").kind == Kind::storm);
  CHECK(only("restart=60").time == 60s);
  CHECK(parse_phase("active=5@10,20+storm=100,20").value().activities.size() == 2);
}

TEST_CASE("a phase that is not understood is refused with the syntax", "[load]") {
  for (const auto* text :
       {"",          "hold",       "hold=",           "hold=0",      "hold=-1",     "hold=1x",    "ramp=0@1",
        "ramp=10@0", "ramp=10@1,", "active=10,30",    "active=10@1", "churn=5",     "storm=5@3",  "nap=3",
        "hold=5+",   "+hold=5",    "ramp=99999999@1", "hold=999999", "churn=nan,5", "churn=inf,5"}) {
    CAPTURE(text);
    const auto phase = parse_phase(text);
    REQUIRE_FALSE(phase);
    CHECK(phase.error().message.find("write ramp=") != std::string::npos);
  }
}

TEST_CASE("a plan uses only sessions that it has made", "[load]") {
  CHECK(check_plan(plan({"ramp=10@5", "hold=3", "active=10@1,2", "ramp=30@5"})).value() == 30);
  CHECK_FALSE(check_plan({}));
  CHECK_FALSE(check_plan(plan({"hold=3"})));
  CHECK_FALSE(check_plan(plan({"ramp=10@5", "active=11@1,2"})));
}

TEST_CASE("a pace is kept on average, and being late makes no burst", "[load]") {
  const Instant start{1h};
  Pacer pacer{100, start};
  std::size_t done = 0;
  for (auto now = start; now < start + 2s; now += 3ms) done += pacer.take(now);
  CHECK(done == 200);
  CHECK(pacer.next() >= start + 2s);
  CHECK(pacer.take(start + 10s) == 11);
  CHECK(pacer.take(start + 10s) == 0);
}

TEST_CASE("neighbours in number come from different networks, and everybody from their own address", "[load]") {
  const auto prefix = IpPrefix::parse("10.64.0.0/16").value();
  CHECK(source_address(prefix, 0)->to_string() == "10.64.0.1");
  CHECK(source_address(prefix, 1)->to_string() == "10.64.1.1");
  CHECK(source_address(prefix, 256)->to_string() == "10.64.0.2");
  std::set<IpAddress> all;
  for (std::size_t i = 0; i < 256 * 254; ++i) {
    const auto address = source_address(prefix, i);
    REQUIRE(address);
    REQUIRE(prefix.contains(*address));
    all.insert(*address);
  }
  CHECK(all.size() == 256 * 254);
  CHECK_FALSE(source_address(prefix, 256 * 254));
}

TEST_CASE("small prefixes, single addresses and IPv6 give what they have", "[load]") {
  CHECK(source_address(IpPrefix::parse("192.0.2.7").value(), 0)->to_string() == "192.0.2.7");
  CHECK_FALSE(source_address(IpPrefix::parse("192.0.2.7").value(), 1));
  CHECK(source_address(IpPrefix::parse("192.0.2.8/29").value(), 5)->to_string() == "192.0.2.14");
  CHECK_FALSE(source_address(IpPrefix::parse("192.0.2.8/29").value(), 6));
  CHECK(source_address(IpPrefix::parse("fd00::/64").value(), 9)->to_string() == "fd00::a");
}
