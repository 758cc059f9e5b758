#include "tools/load/headend_watch.h"

#include <unistd.h>

#include <catch2/catch.hpp>

using namespace switchback::load;

TEST_CASE("a thread's time is found behind whatever name it has", "[load]") {
  const auto stat = parse_thread_stat(
      "4711 (a) b (c) R 1 4711 4711 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 2 0 12345 1000000 500 0 0\n");
  REQUIRE(stat);
  CHECK(stat->name == "a) b (c");
  CHECK(stat->ticks == 300);
  for (const auto* line : {"", "4711", "4711 (a", "4711 (a) R 1 2 3", "4711 (a) R 1 1 1 0 -1 4 1 0 0 0 x 50 0"}) {
    CHECK_FALSE(parse_thread_stat(line));
  }
}

TEST_CASE("resident memory is read in octets", "[load]") {
  CHECK(parse_rss("Name:\tx\nVmRSS:\t   12345 kB\nVmSwap: 0 kB\n") == 12345U * 1024);
  CHECK_FALSE(parse_rss("Name:\tx\n"));
  CHECK_FALSE(parse_rss("VmRSS:\t  \n"));
}

TEST_CASE("a process of this machine is watched, and one that is not there is refused", "[load]") {
  const auto watch = HeadendWatch::create(std::to_string(::getpid()));
  REQUIRE(watch);
  const auto sample = watch->sample();
  REQUIRE(sample);
  CHECK(sample->rss_bytes > 0);
  CHECK_FALSE(sample->cpu_by_thread.empty());
  CHECK_FALSE(HeadendWatch::create("999999999"));
  CHECK_FALSE(HeadendWatch::create("/nonexistent/pid"));
}
