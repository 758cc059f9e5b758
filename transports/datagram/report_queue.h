// What a datagram transport has to report: hints up to a bound, and one answer for every request.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "transports/transport.h"

namespace switchback::transports::datagram {

class ReportQueue {
 public:
  /// @param counters  whose path_reports counts all hints, with those that are dropped; outlives the queue
  explicit ReportQueue(TransportCounters& counters) noexcept : counters_{counters} {}

  /// Hints beyond this are only counted: anyone can send ICMP errors.
  static constexpr std::size_t kMaxHints = 16;

  void hint(PathReport what) {
    ++counters_.path_reports;
    if (hints_ >= kMaxHints) return;
    ++hints_;
    reports_.push_back({std::move(what), true});
  }
  /// `opened` or `failed`: never dropped, and no more than there were requests.
  void answer(PathReport what) { reports_.push_back({std::move(what), false}); }

  [[nodiscard]] std::optional<PathReport> next() {
    if (reports_.empty()) return std::nullopt;
    auto first = std::move(reports_.front());
    reports_.pop_front();
    if (first.is_hint) --hints_;
    return std::move(first.report);
  }

 private:
  struct Entry {
    PathReport report;
    bool is_hint;
  };
  TransportCounters& counters_;
  std::deque<Entry> reports_;
  std::size_t hints_ = 0;
};

}  // namespace switchback::transports::datagram
