#include "client/path_lines.h"

#include <algorithm>

namespace switchback::client {
namespace {

constexpr std::size_t kMaxFailures = 64;

}  // namespace

bool worth_a_line(const path::Event& event) noexcept {
  using path::EventKind;
  switch (event.kind) {
    case EventKind::suspected:
    case EventKind::cleared:
    case EventKind::stalled:
    case EventKind::held:
    case EventKind::outage:
    case EventKind::noted:
    case EventKind::declined:
    case EventKind::network: return true;
    // The first path is told by the line "up: …".
    case EventKind::moved: return event.from.has_value();
    // A better transport was tried in the background, and works: a move will follow.
    case EventKind::up: return event.reason == path::Reason::better_transport;
    case EventKind::tried:
    case EventKind::opened:
    case EventKind::failed:
    case EventKind::twinned:
    case EventKind::untwinned:
    case EventKind::closed: return false;
  }
  return false;
}

void note_failure(std::vector<PathFailure>& failures, PathFailure failure) {
  for (auto& known : failures) {
    if (known.transport != failure.transport || known.remote != failure.remote) continue;
    known.why = std::move(failure.why);
    return;
  }
  if (failures.size() < kMaxFailures) failures.push_back(std::move(failure));
}

std::string why_no_path(const std::vector<PathFailure>& failures, const TransportPorts& ports) {
  std::string text = "no answer from " + failures.front().remote.to_string() +
                     ": check the address, that the headend runs, and that nothing on the way blocks ";
  std::vector<path::TransportKind> transports;
  for (const auto& failure : failures) {
    if (std::find(transports.begin(), transports.end(), failure.transport) == transports.end()) {
      transports.push_back(failure.transport);
    }
  }
  std::string wires;
  for (const auto transport : transports) {
    if (!wires.empty()) wires += transport == transports.back() ? " and " : ", ";
    wires += wire_name(transport, ports);
  }
  text += wires + "; tried ";
  const bool several_remotes = std::any_of(failures.begin(), failures.end(), [&](const PathFailure& failure) {
    return failure.remote.address != failures.front().remote.address;
  });
  bool first = true;
  for (const auto& failure : failures) {
    text += (first ? "" : ", ") + std::string{path::to_string(failure.transport)};
    if (several_remotes) text += " to " + failure.remote.address.to_string();
    text += " (" + failure.why + ")";
    first = false;
  }
  return text;
}

}  // namespace switchback::client
