#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>

#include "common/base/log.h"
#include "common/base/unique_fd.h"

namespace switchback::log {
namespace {

// What `action` writes to standard error. Lines are far smaller than a pipe holds.
template <class Action>
std::string captured(Action action) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const UniqueFd reading{ends[0]};
  UniqueFd writing{ends[1]};
  std::fflush(stderr);
  const UniqueFd saved{::dup(STDERR_FILENO)};
  ::dup2(writing.get(), STDERR_FILENO);
  action();
  std::fflush(stderr);
  ::dup2(saved.get(), STDERR_FILENO);
  writing = UniqueFd{};
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(reading.get(), buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

TEST_CASE("a line is level, event and key=value", "[base][log]") {
  configure(Level::info, Sink::standard_error);
  CHECK(captured([] {
          info("tunnel_up", {{"session", 7}, {"peer", "alice"}, {"nat", true}});
        }) == "info tunnel_up session=7 peer=alice nat=yes\n");
  CHECK(captured([] { debug("hidden"); }).empty());
}

TEST_CASE("a value cannot begin a line or a field of its own", "[base][log]") {
  configure(Level::info, Sink::standard_error);
  CHECK(captured([] {
          warning("w", {{"id", "a b"}, {"empty", ""}, {"x", "y=z"}});
        }) == "warning w id=\"a b\" empty=\"\" x=\"y=z\"\n");
  CHECK(captured([] {
          warning("w", {{"id", "a\nerror forged"}, {"q", "say \"x\""}});
        }) == "warning w id=\"a\\x0aerror forged\" q=\"say \\\"x\\\"\"\n");
  CHECK(captured([] { error("e", {{"format", "{} %s %n {:x}"}}); }) == "error e format=\"{} %s %n {:x}\"\n");
}

TEST_CASE("levels are read by name, others are refused with a sentence", "[base][log]") {
  CHECK(parse_level("debug").value() == Level::debug);
  CHECK(parse_level("warning").value() == Level::warning);
  REQUIRE_FALSE(parse_level("Loud"));
  CHECK_THAT(parse_level("Loud").error().message, Catch::Contains("Loud"));
}

}  // namespace
}  // namespace switchback::log
