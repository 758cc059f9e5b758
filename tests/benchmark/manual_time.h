// Timing of work that destroys its input, so that what restores it stays out of the figure.
#pragma once

#include <benchmark/benchmark.h>

#include <ctime>

namespace switchback::testing {

/// For benchmarks with UseManualTime(): runs `work` and counts only its time, as the thread's processor time, so that
/// other programs do not count. Work for some microseconds: asking for the time costs some 0.3 of one.
template <class Work>
void timed(benchmark::State& state, const Work& work) {
  timespec start{}, end{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
  work();
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  state.SetIterationTime(static_cast<double>(end.tv_sec - start.tv_sec) +
                         static_cast<double>(end.tv_nsec - start.tv_nsec) * 1e-9);
}

/// Packets and octets per second in the result.
inline void count_packets(benchmark::State& state, std::size_t packets, std::size_t octets_each) {
  const auto all = static_cast<double>(state.iterations()) * static_cast<double>(packets);
  state.counters["packets"] = benchmark::Counter(all, benchmark::Counter::kIsRate);
  state.SetBytesProcessed(static_cast<std::int64_t>(all * static_cast<double>(octets_each)));
}

}  // namespace switchback::testing
