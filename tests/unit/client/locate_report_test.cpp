#include "client/locate_report.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

using namespace switchback;
using namespace switchback::client::doctor;
using namespace switchback::client::locate;

namespace {

Hop router(std::uint8_t limit, const char* address, std::uint32_t asked, std::uint32_t answered) {
  Hop hop;
  hop.limit = limit;
  if (answered > 0) hop.address = *IpAddress::parse(address);
  hop.asked = hop.asked_in_all = asked;
  hop.answered = hop.answered_in_all = answered;
  hop.kind = answered > 0 ? HopKind::open : HopKind::silent;
  return hop;
}

/// Loss towards the headend between the second router and the third.
LocateResult lossy() {
  LocateResult result;
  result.local = *Endpoint::parse("198.51.100.2:4500");
  result.remote = *Endpoint::parse("192.0.2.1:4500");
  result.took = std::chrono::seconds{60};
  result.packets = 14000;
  auto& out = result.out;
  out.evidence.hops = {router(1, "10.0.0.1", 1000, 1000), router(2, "10.0.1.1", 1000, 1000),
                       router(3, "10.0.2.1", 1000, 979)};
  out.evidence.complete = true;
  out.evidence.whole = {6000, 126, 1};
  out.findings.lossy = true;
  out.findings.interval = {0.016, 0.027};
  out.findings.places.push_back({{2, 3}, 0.021, {0.016, 0.027}, Certainty::sure, 0.999});
  result.back.evidence.whole = {4000, 0, 1};
  result.back.evidence.complete = true;
  result.back.findings.interval = {0, 0.0009};
  return result;
}

}  // namespace

TEST_CASE("the sentence says between whom, in which direction, how much and how sure", "[locate]") {
  auto result = lossy();
  auto said = locate_sentences(result);
  REQUIRE(said.size() == 2);
  CHECK(
      said[0] ==
      "Between 10.0.1.1 and 10.0.2.1, towards the headend, 2.1 % of the packets (95 %: 1.6 to 2.7 %) get lost: that is "
      "sure.");
  CHECK(said[1] == "From the headend nothing was lost of 4000 packets: at most 0.09 % is (95 % confidence).");
  CHECK(loses(result));
  CHECK(locate_remedy(result).find("provider of these routers") != std::string::npos);

  result.out.findings.places[0].certainty = Certainty::likely;
  CHECK(locate_sentences(result)[0].find("likely, not sure") != std::string::npos);
  result.out.findings.places[0].certainty = Certainty::unknown;
  result.out.findings.places[0].where = {1, 3};
  CHECK(locate_sentences(result)[0].find("somewhere between 10.0.0.1 and 10.0.2.1") != std::string::npos);
  result.out.findings.places[0].where = {0, 4};
  CHECK(locate_sentences(result)[0].find("where, cannot be told yet") != std::string::npos);
  result.out.findings.places[0] = {{0, 1}, 0.021, {0.016, 0.027}, Certainty::sure, 1};
  CHECK(locate_sentences(result)[0].starts_with("Between this host and 10.0.0.1, towards"));
  CHECK(locate_remedy(result).find("cable") != std::string::npos);
  result.out.evidence.hops.clear();
  result.out.no_hops = "no router answers";
  result.out.findings.places[0].certainty = Certainty::unknown;
  CHECK(locate_sentences(result)[0].find("Where is not known: no router answers.") != std::string::npos);
}

TEST_CASE("the way back is told from the headend's side", "[locate]") {
  auto result = lossy();
  std::swap(result.out, result.back);
  const auto said = locate_sentences(result);
  CHECK(said[0].starts_with("Towards the headend nothing was lost"));
  CHECK(said[1].starts_with("Between 10.0.1.1 and 10.0.2.1, from the headend, 2.1 %"));
  result.back.findings.places[0].where = {3, 4};
  CHECK(locate_sentences(result)[1].starts_with("Between 10.0.2.1 and this host"));
}

TEST_CASE("the table has every router with what is to be known of it", "[locate]") {
  auto result = lossy();
  auto& hops = result.out.evidence.hops;
  hops[0].kind = HopKind::limited;
  hops[0].answers_per_second = 1.04;
  hops[1] = router(2, "", 60, 0);
  hops[2].several = true;
  const auto text = locate_text(result);
  CAPTURE(text);
  CHECK(text.find("10.0.0.1") != std::string::npos);
  CHECK(text.find("answers at most 1.0 times a second") != std::string::npos);
  CHECK(text.find("(does not answer)") != std::string::npos);
  CHECK(text.find("several routers take turns here") != std::string::npos);
  CHECK(text.find("6000     126") != std::string::npos);
  result.back.no_hops = "the headend does not report on traces";
  CHECK(locate_text(result).find("no routers: the headend does not report on traces") != std::string::npos);
}

TEST_CASE("the JSON is one line with both directions", "[locate]") {
  const auto line = locate_json(lossy());
  CHECK(line.find('\n') == std::string::npos);
  const auto json = nlohmann::json::parse(line);
  CHECK(json["out"]["lost"] == 126);
  CHECK(json["out"]["places"][0]["from"] == "10.0.1.1");
  CHECK(json["out"]["places"][0]["to_hop"] == 3);
  CHECK(json["out"]["places"][0]["certainty"] == "sure");
  CHECK(json["out"]["hops"].size() == 3);
  CHECK(json["back"]["lossy"] == false);
  CHECK(json["sentences"].size() == 2);
}
