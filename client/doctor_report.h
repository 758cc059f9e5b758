// What the doctor says: as text for people, and as JSON for programs (docs/client.md has its schema).
#pragma once

#include <string>
#include <vector>

#include "client/doctor_diagnosis.h"
#include "client/doctor_facts.h"

namespace switchback::client::doctor {

[[nodiscard]] std::string to_text(const Facts& facts, const std::vector<Finding>& findings);
/// One line, with "version": 1 at its head.
[[nodiscard]] std::string to_json(const Facts& facts, const std::vector<Finding>& findings);

}  // namespace switchback::client::doctor
