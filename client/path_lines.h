// Which of the path selector's decisions people are shown, and how a failed start is put into one sentence.
#pragma once

#include <string>
#include <vector>

#include "client/targets.h"
#include "common/path/events.h"

namespace switchback::client {

/// Whether `connect` prints the event. What only says that something was tried stays in the log and the status.
[[nodiscard]] bool worth_a_line(const path::Event& event) noexcept;

/// Why one opening of a candidate came to nothing.
struct PathFailure {
  path::TransportKind transport = path::TransportKind::udp;
  Endpoint remote;  // where its first packet went
  std::string why;  // "no answer", "connection refused"
};
/// Adds it, in place of an earlier one of the same transport to the same remote end. Bounded.
void note_failure(std::vector<PathFailure>& failures, PathFailure failure);

/// "no answer from 192.0.2.1:500: check the address, … ; tried udp (no answer), tls (connection refused)". Names every
/// transport that failed. @param failures  not empty
[[nodiscard]] std::string why_no_path(const std::vector<PathFailure>& failures, const TransportPorts& ports);

}  // namespace switchback::client
