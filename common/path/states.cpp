#include "common/path/states.h"

#include "common/path/stall.h"

namespace switchback::path {

std::string_view to_string(SelectorState state) noexcept {
  switch (state) {
    case SelectorState::idle: return "idle";
    case SelectorState::racing: return "racing";
    case SelectorState::settled: return "settled";
    case SelectorState::doubting: return "doubting";
    case SelectorState::outage: return "outage";
    case SelectorState::stopped: return "stopped";
  }
  return "unknown";
}

std::string_view to_string(PathState state) noexcept {
  switch (state) {
    case PathState::opening: return "opening";
    case PathState::answered: return "answered";
    case PathState::validating: return "validating";
    case PathState::standby: return "standby";
    case PathState::active: return "active";
    case PathState::suspect: return "suspect";
    case PathState::stalled: return "stalled";
    case PathState::grace: return "grace";
    case PathState::gone: return "gone";
  }
  return "unknown";
}

std::string_view to_string(Signal signal) noexcept {
  switch (signal) {
    case Signal::probe_missing: return "probe_missing";
    case Signal::report_missing: return "report_missing";
    case Signal::loss: return "loss";
    case Signal::duplicate_acks: return "duplicate_acks";
    case Signal::ack_behind: return "ack_behind";
    case Signal::zero_window: return "zero_window";
    case Signal::reset: return "reset";
    case Signal::fin: return "fin";
    case Signal::unreachable: return "unreachable";
    case Signal::transport_failed: return "transport_failed";
    case Signal::resegmented: return "resegmented";
    case Signal::network_changed: return "network_changed";
  }
  return "unknown";
}

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::note: return "note";
    case Verdict::suspect: return "suspect";
    case Verdict::stalled: return "stalled";
  }
  return "unknown";
}

}  // namespace switchback::path
