// The states of the selector and of each path, and which may follow which. docs/path-selector.md draws these tables; a
// test keeps the two alike.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "common/base/state_table.h"

namespace switchback::path {

/// The session's way to the peer as a whole.
enum class SelectorState : std::uint8_t {
  idle,      // constructed
  racing,    // nothing is up yet, candidates are being tried
  settled,   // a path carries data and nothing speaks against it
  doubting,  // the path in use is suspect or stalled, others are being tried
  outage,    // nothing works; everything is tried again and again
  stopped,
};

/// One opening of one candidate.
enum class PathState : std::uint8_t {
  opening,     // the shell was asked to open it
  answered,    // open, but the session is not authenticated yet
  validating,  // probed; nothing has gone through it both ways yet
  standby,     // a probe went both ways; carries no data, or a second copy of it
  active,      // carries the data
  suspect,     // carries the data, and probes are to show whether it still does
  stalled,     // carried the data, does so no more, and nothing has replaced it yet
  grace,       // left for another; still receives
  gone,
};

inline constexpr std::array kSelectorTransitions{
    Transition{SelectorState::idle, SelectorState::racing},
    Transition{SelectorState::idle, SelectorState::stopped},
    Transition{SelectorState::racing, SelectorState::settled},
    Transition{SelectorState::racing, SelectorState::outage},
    Transition{SelectorState::racing, SelectorState::stopped},
    Transition{SelectorState::settled, SelectorState::doubting},
    Transition{SelectorState::settled, SelectorState::stopped},
    Transition{SelectorState::doubting, SelectorState::settled},
    Transition{SelectorState::doubting, SelectorState::outage},
    Transition{SelectorState::doubting, SelectorState::stopped},
    Transition{SelectorState::outage, SelectorState::settled},
    Transition{SelectorState::outage, SelectorState::doubting},
    Transition{SelectorState::outage, SelectorState::stopped},
};

inline constexpr std::array kPathTransitions{
    Transition{PathState::opening, PathState::answered}, Transition{PathState::opening, PathState::validating},
    Transition{PathState::opening, PathState::gone},     Transition{PathState::answered, PathState::validating},
    Transition{PathState::answered, PathState::gone},    Transition{PathState::validating, PathState::standby},
    Transition{PathState::validating, PathState::gone},  Transition{PathState::standby, PathState::active},
    Transition{PathState::standby, PathState::gone},     Transition{PathState::active, PathState::suspect},
    Transition{PathState::active, PathState::stalled},   Transition{PathState::active, PathState::grace},
    Transition{PathState::active, PathState::gone},      Transition{PathState::suspect, PathState::active},
    Transition{PathState::suspect, PathState::stalled},  Transition{PathState::suspect, PathState::gone},
    Transition{PathState::stalled, PathState::active},   Transition{PathState::stalled, PathState::grace},
    Transition{PathState::stalled, PathState::gone},     Transition{PathState::grace, PathState::gone},
};

[[nodiscard]] constexpr bool may_follow(SelectorState from, SelectorState to) noexcept {
  return allowed(kSelectorTransitions, from, to);
}
[[nodiscard]] constexpr bool may_follow(PathState from, PathState to) noexcept {
  return allowed(kPathTransitions, from, to);
}

[[nodiscard]] std::string_view to_string(SelectorState state) noexcept;
[[nodiscard]] std::string_view to_string(PathState state) noexcept;

}  // namespace switchback::path
