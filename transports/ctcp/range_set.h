// Ranges of a stream that have been received, merged, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/time.h"

namespace switchback::transports::ctcp {

/// Disjoint, ascending, never touching ranges [begin, end) of 64-bit stream positions.
class RangeSet {
 public:
  struct Range {
    std::uint64_t begin = 0, end = 0;
    Instant since{};  // when the gap in front of it was first seen
  };

  /// Adds [begin, end). Pre: begin < end, and none of it is in the set.
  void add(std::uint64_t begin, std::uint64_t end, Instant now);
  /// The first part of [begin, end) that is missing; nothing if it is all there.
  [[nodiscard]] std::optional<Range> first_missing(std::uint64_t begin, std::uint64_t end) const noexcept;
  /// The range that holds `position` or ends there; nothing if none does.
  [[nodiscard]] const Range* holding(std::uint64_t position) const noexcept;
  /// The first range that begins after `position`.
  [[nodiscard]] const Range* after(std::uint64_t position) const noexcept;
  /// Forgets what ends before `position`, and cuts what reaches across it.
  void forget_below(std::uint64_t position) noexcept;
  [[nodiscard]] const std::vector<Range>& ranges() const noexcept { return ranges_; }
  [[nodiscard]] std::size_t size() const noexcept { return ranges_.size(); }

 private:
  [[nodiscard]] std::size_t first_ending_at_or_after(std::uint64_t position) const noexcept;
  std::vector<Range> ranges_;
};

}  // namespace switchback::transports::ctcp
