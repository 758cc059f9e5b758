// The window's three steps for each packet: infer the number, ask, mark.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "common/esp/replay_window.h"

using switchback::esp::ReplayWindow;

namespace {

void take(ReplayWindow& window, std::uint32_t low) {
  const auto number = window.widen(low);
  if (window.fresh(number)) window.mark(number);
}

void replay_in_order(benchmark::State& state) {
  ReplayWindow window{true};
  std::uint32_t next = 1;
  for ([[maybe_unused]] auto _ : state) take(window, next++);
  state.SetItemsProcessed(state.iterations());
}

/// Packets overtake each other within `range`, as when a path moves.
void replay_shuffled(benchmark::State& state) {
  std::vector<std::uint32_t> order(static_cast<std::size_t>(state.range(0)));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
  std::shuffle(order.begin(), order.end(), std::mt19937{1});
  ReplayWindow window{true};
  std::uint32_t base = 1;
  std::size_t at = 0;
  for ([[maybe_unused]] auto _ : state) {
    take(window, base + order[at]);
    if (++at == order.size()) {
      at = 0;
      base += static_cast<std::uint32_t>(order.size());
    }
  }
  state.SetItemsProcessed(state.iterations());
}

void replay_refused(benchmark::State& state) {
  ReplayWindow window{true};
  for (std::uint32_t i = 1; i <= 1000; ++i) take(window, i);
  for ([[maybe_unused]] auto _ : state) {
    take(window, 500);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(replay_in_order);
BENCHMARK(replay_shuffled)->Arg(64)->Arg(4096);
BENCHMARK(replay_refused);

}  // namespace
