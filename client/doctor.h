// `switchback-client doctor`: tests every way to the headend and says in plain words what is wrong. Changes nothing.
#pragma once

#include <string>

#include "client/config.h"

namespace switchback::client {

struct DoctorOptions {
  std::string profile, local;
  bool json = false;
  bool idle = false;       // --long
  unsigned timeout = 120;  // seconds
  bool locate = false;     // --locate-loss, to which the rest belongs
  std::string transport = "auto";
  unsigned seconds = 60;
};

/// Prints to standard output; progress goes to standard error. Exit: success if nothing is wrong or only notes were
/// made, failure if there is a problem, authentication if the two ends refuse each other, usage for a bad profile.
[[nodiscard]] ExitStatus run_doctor(const DoctorOptions& options);

}  // namespace switchback::client
