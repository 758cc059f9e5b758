#include "common/toml/reader.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::toml;

namespace {

Document parsed(std::string_view text) { return Document::parse(text, "f.toml").value(); }

/// What reading `line` as the number `n` in [s], of 0.5 to 10, says.
std::string number_error(const std::string& line) {
  auto document = parsed("[s]\n" + line + "\n");
  double n = 1;
  document.section("s", {"n"}).read("n", n, 0.5, 10);
  return document.error() ? document.error()->message : "accepted";
}

}  // namespace

TEST_CASE("the first error is kept, with the line of its key", "[toml]") {
  auto document = parsed("[s]\na = 1\nb = \"x\"\n");
  auto s = document.section("s", {"a", "b"});
  bool flag = true;
  int number = 7;
  CHECK_FALSE(s.read("b", number, 0, 9));
  CHECK_FALSE(s.read("a", flag));
  CHECK(flag);
  CHECK(number == 7);
  CHECK(document.error()->message == "f.toml:3: s.b: must be a whole number from 0 to 9, without quotes");
}

TEST_CASE("an absent key is no error unless it is required, and then the section's line is named", "[toml]") {
  auto document = parsed("\n[s]\n");
  auto s = document.section("s", {"name", "other"});
  std::string text = "as it was";
  CHECK_FALSE(s.read("other", text, {}));
  CHECK_FALSE(document.error());
  CHECK_FALSE(s.read("name", text, {.example = "\"x\"", .required = true}));
  CHECK(text == "as it was");
  CHECK(document.error()->message == "f.toml:2: s.name: is missing: add it to [s], for example name = \"x\"");
}

TEST_CASE("an absent section reads as an empty one", "[toml]") {
  auto document = parsed("");
  auto s = document.section("s", {"name"});
  CHECK_FALSE(s.present());
  CHECK_FALSE(s.has("name"));
  CHECK_FALSE(document.error());
  CHECK_FALSE(document.section("s", {"name"}, true).present());
  CHECK(document.error()->message == "f.toml: s: this section is missing: add [s]");
}

TEST_CASE("an integer is a number, and neither text nor infinity nor nan is one in range", "[toml]") {
  CHECK(number_error("n = 3") == "accepted");
  CHECK(number_error("n = 0.5") == "accepted");
  const std::string wrong = "f.toml:2: s.n: must be a number from 0.5 to 10, without quotes";
  CHECK(number_error("n = 0.49") == wrong);
  CHECK(number_error("n = nan") == wrong);
  CHECK(number_error("n = inf") == wrong);
  CHECK(number_error("n = \"3\"") == wrong);
}

TEST_CASE("a list that is wrong anywhere is not taken at all", "[toml]") {
  auto document = parsed("[s]\nl = [\"a\", \"\"]\n");
  std::vector<std::string> list{"before"};
  CHECK_FALSE(document.section("s", {"l"}).read("l", list, "[\"x\"]"));
  CHECK(list == std::vector<std::string>{"before"});
  CHECK(document.error()->message == "f.toml:2: s.l: must be a list of texts, for example [\"x\"]");
}

TEST_CASE("what stands in the file cannot break a message", "[toml]") {
  auto document = parsed("[s]\n\"\\u001b[2J\\n\" = 1\n");
  static_cast<void>(document.section("s", {"name"}));
  CHECK(document.error()->message == "f.toml:2: s.?[2J?: there is no such key: known in [s] are name");
  CHECK(in_quotes("a\nb") == "\"a?b\"");
  CHECK(in_quotes(std::string(61, 'x')) == "\"" + std::string(60, 'x') + "…\"");
}

TEST_CASE("a file that is too large is refused unread", "[toml]") {
  CHECK(Document::parse(std::string(kMaxFileOctets, '#'), "f.toml").has_value());
  CHECK(Document::parse(std::string(kMaxFileOctets + 1, '#'), "f.toml").error().message ==
        "f.toml: is larger than 1 MiB: shorten it");
}
