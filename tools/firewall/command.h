// The command line's meaning: options in, text or a complaint out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/firewall/sheet.h"

namespace switchback::firewall {

enum class ExitStatus : int { success = 0, failure = 1, usage = 2 };  // the client's, as far as they apply

/// As typed; not validated.
struct Options {
  std::string vendor, profile, headend_directory, mode = "bypass", part = "all";
  std::vector<std::string> addresses, clients;
  std::vector<std::uint16_t> ports;
  Request request;
};

/// One line on standard error that names the program; returns the status.
int complain(const std::string& message, ExitStatus status);
/// What CLI11 cannot check is checked here. Returns the exit status.
[[nodiscard]] int print(Options& options);

}  // namespace switchback::firewall
