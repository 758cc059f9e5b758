#include "common/path/events.h"

#include <cmath>

namespace switchback::path {
namespace {

std::string name(const Candidate& candidate) {
  return std::string{to_string(candidate.transport)} + ' ' + std::string{to_string(candidate.family)};
}

std::string milliseconds(Duration time) {
  return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(time).count()) + " ms";
}

}  // namespace

std::string_view to_string(EventKind kind) noexcept {
  switch (kind) {
    case EventKind::tried: return "tried";
    case EventKind::opened: return "opened";
    case EventKind::failed: return "failed";
    case EventKind::up: return "up";
    case EventKind::suspected: return "suspected";
    case EventKind::cleared: return "cleared";
    case EventKind::stalled: return "stalled";
    case EventKind::twinned: return "twinned";
    case EventKind::untwinned: return "untwinned";
    case EventKind::moved: return "moved";
    case EventKind::held: return "held";
    case EventKind::outage: return "outage";
    case EventKind::closed: return "closed";
    case EventKind::noted: return "noted";
    case EventKind::network: return "network";
    case EventKind::declined: return "declined";
  }
  return "unknown";
}

std::string_view to_string(Reason reason) noexcept {
  switch (reason) {
    case Reason::none: return "none";
    case Reason::start: return "start";
    case Reason::stall: return "stall";
    case Reason::better_transport: return "better_transport";
    case Reason::outage: return "outage";
    case Reason::superseded: return "superseded";
    case Reason::grace_over: return "grace_over";
    case Reason::stopped: return "stopped";
    case Reason::timeout: return "timeout";
    case Reason::unanswered: return "unanswered";
    case Reason::refused: return "refused";
    case Reason::withdrawn: return "withdrawn";
    case Reason::requested: return "requested";
  }
  return "unknown";
}

std::string describe(const Event& event) {
  std::string text{to_string(event.kind)};
  if (event.from) text += " from " + name(*event.from) + " to";
  if (event.kind != EventKind::outage && event.kind != EventKind::network) text += ' ' + name(event.candidate);
  std::string figures;
  const auto add = [&](const std::string& figure) { figures += (figures.empty() ? "" : ", ") + figure; };
  if (event.reason != Reason::none) add(std::string{to_string(event.reason)});
  if (event.signal) add(std::string{to_string(*event.signal)});
  const auto& f = event.figures;
  if (f.threshold != 0) add("count " + std::to_string(f.count) + " (threshold " + std::to_string(f.threshold) + ")");
  if (f.limit != Duration::zero()) add("quiet " + milliseconds(f.quiet) + " (limit " + milliseconds(f.limit) + ")");
  if (f.stalled != Duration::zero()) add("stalled for " + milliseconds(f.stalled));
  if (f.probes != 0) add(std::to_string(f.answers) + " of " + std::to_string(f.probes) + " probes answered");
  if (f.srtt) add("srtt " + milliseconds(*f.srtt));
  if (f.loss) add("loss " + std::to_string(std::lround(*f.loss * 100)) + " %");
  if (!figures.empty()) text += ": " + figures;
  return text;
}

}  // namespace switchback::path
