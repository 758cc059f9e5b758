// From what was found out to what is wrong and what to do: the doctor's knowledge. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "client/doctor_facts.h"

namespace switchback::client::doctor {

enum class Severity : std::uint8_t {
  fatal,    // no tunnel is possible
  problem,  // something does not work or works badly
  note,     // worth knowing; the tunnel copes
  good
};
[[nodiscard]] std::string_view to_string(Severity severity) noexcept;

struct Finding {
  std::string id;  // stable: see docs/client.md
  Severity severity = Severity::note;
  std::vector<std::string> ways;  // names of WayKind, with the family
  std::string sentence;
  std::vector<std::string> evidence;
  std::string remedy;  // what to do; empty: nothing
};

/// Most important first; never empty: with nothing wrong there is one finding, "clean".
[[nodiscard]] std::vector<Finding> diagnose(const Facts& facts);

/// "UDP 4500", "protocol 50 (ESP)", "TCP 10000".
[[nodiscard]] std::string wire_of(const WayFacts& way);

}  // namespace switchback::client::doctor
