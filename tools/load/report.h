// What a run has measured: lines for people as it goes on, a table at the end, JSON for machines.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/load/fleet.h"

namespace switchback::load {

/// Some lines for one phase.
[[nodiscard]] std::string render_phase(const PhaseResult& result, std::size_t wanted);
/// @param empty_rss_bytes  the headend's memory before the first session, 0 if it was not watched
[[nodiscard]] std::string render_json(const std::vector<PhaseResult>& results, std::uint64_t empty_rss_bytes);
/// One line for a terminal, to be written over by the next.
[[nodiscard]] std::string render_progress(const Progress& progress);

}  // namespace switchback::load
