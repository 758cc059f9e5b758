// The file that remembers between runs which transport worked on which network.
#pragma once

#include <string>

#include "common/path/history.h"

namespace switchback::client {

/// Where the history of one profile is kept: names of users and headends do not stand in file names.
[[nodiscard]] std::string history_path(const std::string& directory, const std::string& profile,
                                       const std::string& headend);

/// A file that is missing, damaged, not ours or far too long is an empty history.
[[nodiscard]] path::History load_history(const std::string& file);
/// Written whole or not at all, mode 0600. What cannot be written is logged: it costs a memory and nothing else.
void save_history(const std::string& file, const path::History& history);

}  // namespace switchback::client
