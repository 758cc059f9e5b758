// States that change only along a table, which documents can draw and tests compare with the drawing.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>

namespace switchback {

template <class State>
struct Transition {
  State from, to;
};
// clang 14, which builds the fuzz targets, does not deduce for aggregates.
template <class State>
Transition(State, State) -> Transition<State>;

template <class State, std::size_t N>
[[nodiscard]] constexpr bool allowed(const std::array<Transition<State>, N>& table, State from, State to) noexcept {
  return std::any_of(table.begin(), table.end(), [&](const auto& row) { return row.from == from && row.to == to; });
}

/// A state and the one place where its transitions are checked: by may_follow(from, to), which stands beside State.
template <class State>
class Tracked {
 public:
  explicit constexpr Tracked(State initial) noexcept : state_{initial} {}
  constexpr void enter(State next) noexcept {
    assert(may_follow(state_, next));
    state_ = next;
  }
  [[nodiscard]] constexpr State get() const noexcept { return state_; }
  [[nodiscard]] constexpr bool is(State state) const noexcept { return state_ == state; }
  template <class... States>
  [[nodiscard]] constexpr bool any_of(States... states) const noexcept {
    return ((state_ == states) || ...);
  }

 private:
  State state_;
};

}  // namespace switchback
