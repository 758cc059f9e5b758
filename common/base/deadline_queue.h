// Deadlines of many sessions in one ordered set, so that one timer of the event loop serves them all. Pure.
#pragma once

#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "common/base/time.h"

namespace switchback {

/// At most one deadline for each key; setting, clearing and taking cost O(log n).
template <class Key>
class DeadlineQueue {
 public:
  /// Replaces the key's deadline; none clears it.
  void set(const Key& key, std::optional<Instant> when) {
    const auto found = of_.find(key);
    if (found != of_.end()) {
      if (when == found->second) return;
      ordered_.erase({found->second, key});
      of_.erase(found);
    }
    if (!when) return;
    ordered_.insert({*when, key});
    of_.emplace(key, *when);
  }
  void clear(const Key& key) { set(key, std::nullopt); }

  [[nodiscard]] std::optional<Instant> next() const noexcept {
    if (ordered_.empty()) return std::nullopt;
    return ordered_.begin()->first;
  }
  /// Takes the earliest key whose deadline has come; it has none afterwards.
  [[nodiscard]] std::optional<Key> take_due(Instant now) {
    if (ordered_.empty() || ordered_.begin()->first > now) return std::nullopt;
    const auto key = ordered_.begin()->second;
    ordered_.erase(ordered_.begin());
    of_.erase(key);
    return key;
  }
  [[nodiscard]] std::size_t size() const noexcept { return of_.size(); }

 private:
  std::set<std::pair<Instant, Key>> ordered_;
  std::unordered_map<Key, Instant> of_;
};

}  // namespace switchback
