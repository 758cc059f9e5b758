// The transition tables, against docs/ike-states.md and against the RFC's own boundaries.
#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "common/ike/states.h"

using namespace switchback;
using namespace switchback::ike;

namespace {

template <class State, std::size_t N>
std::set<std::string> edges(const std::array<Transition<State>, N>& table) {
  std::set<std::string> all;
  for (const auto& row : table) {
    all.insert(std::string{to_string(row.from)} + " --> " + std::string{to_string(row.to)});
  }
  return all;
}

/// The edges drawn below a heading of the document, without their labels.
std::set<std::string> documented(const std::string& heading) {
  std::ifstream file{std::string{SB_SOURCE_DIR} + "/docs/ike-states.md"};
  std::set<std::string> all;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("## ", 0) == 0) inside = line == "## " + heading;
    const auto arrow = line.find(" --> ");
    if (!inside || arrow == std::string::npos) continue;
    std::istringstream words{line};
    std::string from, dash, to;
    words >> from >> dash >> to;
    if (to.back() == ':') to.pop_back();
    if (from != "[*]" && to != "[*]") all.insert(from + " --> " + to);
  }
  return all;
}

}  // namespace

TEST_CASE("docs/ike-states.md draws the transition tables", "[ike]") {
  CHECK(documented("The session") == edges(kSessionTransitions));
  CHECK(documented("An IKE SA") == edges(kIkeSaTransitions));
  CHECK(documented("A Child SA") == edges(kChildTransitions));
}

TEST_CASE("nothing follows the last states, and nothing is its own successor", "[ike]") {
  for (const auto& row : kSessionTransitions) CHECK((row.from != SessionState::closed && row.from != row.to));
  for (const auto& row : kIkeSaTransitions) CHECK((row.from != IkeSaState::gone && row.from != row.to));
  for (const auto& row : kChildTransitions) CHECK((row.from != ChildState::gone && row.from != row.to));
}
