#include "transports/ctcp/range_set.h"

#include <algorithm>
#include <cassert>

namespace switchback::transports::ctcp {

std::size_t RangeSet::first_ending_at_or_after(std::uint64_t position) const noexcept {
  const auto at = std::lower_bound(ranges_.begin(), ranges_.end(), position,
                                   [](const Range& range, std::uint64_t value) { return range.end < value; });
  return static_cast<std::size_t>(at - ranges_.begin());
}

void RangeSet::add(std::uint64_t begin, std::uint64_t end, Instant now) {
  assert(begin < end);
  const auto at = first_ending_at_or_after(begin);
  const bool joins_before = at < ranges_.size() && ranges_[at].end == begin;
  const auto next = joins_before ? at + 1 : at;
  const bool joins_after = next < ranges_.size() && ranges_[next].begin == end;
  if (joins_before && joins_after) {
    ranges_[at].end = ranges_[next].end;
    ranges_.erase(ranges_.begin() + static_cast<std::ptrdiff_t>(next));
  } else if (joins_before) {
    ranges_[at].end = end;
  } else if (joins_after) {
    ranges_[next].begin = begin;
  } else {
    ranges_.insert(ranges_.begin() + static_cast<std::ptrdiff_t>(at), Range{begin, end, now});
  }
}

std::optional<RangeSet::Range> RangeSet::first_missing(std::uint64_t begin, std::uint64_t end) const noexcept {
  for (auto at = first_ending_at_or_after(begin); begin < end; ++at) {
    if (at == ranges_.size() || ranges_[at].begin >= end) return Range{begin, end, {}};
    if (ranges_[at].begin > begin) return Range{begin, ranges_[at].begin, {}};
    begin = std::max(begin, ranges_[at].end);
  }
  return std::nullopt;
}

const RangeSet::Range* RangeSet::holding(std::uint64_t position) const noexcept {
  const auto at = first_ending_at_or_after(position);
  return at < ranges_.size() && ranges_[at].begin <= position ? &ranges_[at] : nullptr;
}

const RangeSet::Range* RangeSet::after(std::uint64_t position) const noexcept {
  for (auto at = first_ending_at_or_after(position); at < ranges_.size(); ++at) {
    if (ranges_[at].begin > position) return &ranges_[at];
  }
  return nullptr;
}

void RangeSet::forget_below(std::uint64_t position) noexcept {
  const auto keep = first_ending_at_or_after(position);
  ranges_.erase(ranges_.begin(), ranges_.begin() + static_cast<std::ptrdiff_t>(keep));
  if (!ranges_.empty() && ranges_.front().begin < position) ranges_.front().begin = position;
}

}  // namespace switchback::transports::ctcp
