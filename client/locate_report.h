// What the search for lost packets found, for people and for machines. Pure.
#pragma once

#include <string>
#include <vector>

#include "client/doctor_locate.h"

namespace switchback::client::doctor {

/// One or two plain sentences: how much, in which direction, between whom, how sure; the same for both directions.
[[nodiscard]] std::vector<std::string> locate_sentences(const LocateResult& result);
/// What may be done about it; empty where nothing is lost.
[[nodiscard]] std::string locate_remedy(const LocateResult& result);

/// Tables, then the sentences. Pre: result.failure is empty.
[[nodiscard]] std::string locate_text(const LocateResult& result);
/// One object on one line, without a newline.
[[nodiscard]] std::string locate_json(const LocateResult& result);

/// Something gets lost that is worth a word.
[[nodiscard]] bool loses(const LocateResult& result) noexcept;

}  // namespace switchback::client::doctor
