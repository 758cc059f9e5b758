#include "transports/ctcp/receiver.h"

#include <algorithm>

namespace switchback::transports::ctcp {
namespace {

stream::ScannerLimits scanner_limits(const ReceiverConfig& config) noexcept {
  stream::ScannerLimits limits;
  if (config.in_order || config.complete) {
    limits.in_order = config.in_order;
    limits.bytes = config.window;
    limits.fragments = StreamReceiver::kMaximumRanges;
    limits.maximum_frame_bytes = stream::kMaximumFrameBytes;
  }
  if (config.complete && !config.in_order) {
    // What is missing will come, however long it takes; of what is held, the window is the bound.
    limits.fragments = config.window;
    limits.age = std::chrono::hours{24};
  }
  return limits;
}

}  // namespace

StreamReceiver::StreamReceiver(std::uint64_t first, const ReceiverConfig& config)
    : config_{config},
      scanner_{config.expect_prefix, scanner_limits(config)},
      first_{first},
      floor_{first},
      ack_point_{first},
      highest_{first} {
  if (config_.in_order) config_.complete = true;
  if (config_.complete) config_.ack_high = false;
}

void StreamReceiver::move_ack_point() noexcept {
  if (config_.ack_high) {
    ack_point_ = std::max(ack_point_, highest_);
  } else if (const auto* range = ranges_.holding(ack_point_)) {
    ack_point_ = std::max(ack_point_, range->end);
  }
}

void StreamReceiver::prove_proxy() noexcept {
  if (config_.complete || config_.ack_high) return;
  config_.ack_high = true;
  move_ack_point();
  ack_now_ = true;
  duplicates_owed_ = 0;
}

void StreamReceiver::handle_data(std::uint64_t begin, ByteView payload, const stream::SessionMarks& marks,
                                 Duration srtt, Instant now) {
  if (payload.empty() || finished_) return;
  ++counters_.segments;
  give_up_ = std::max(kHoleFloor, srtt * 4);
  const auto end = begin + payload.size();
  floor_ = std::max(floor_, ack_point_ > config_.window ? ack_point_ - config_.window : 0);
  if (begin < floor_ || end > ack_point_ + config_.window) {
    ++counters_.outside_window;
    ack_now_ = true;  // RFC 9293 §3.10.7.4: unacceptable segments are answered
    return;
  }
  if (!ranges_.ranges().empty() && ranges_.ranges().front().end < floor_) ranges_.forget_below(floor_);

  const auto before = ack_point_;
  bool novel = false;
  for (auto at = begin; const auto missing = ranges_.first_missing(at, end);) {
    const bool whole = missing->begin == begin && missing->end == end;
    novel = true;
    scanner_.give(missing->begin - first_, payload.subspan(missing->begin - begin, missing->end - missing->begin),
                  whole, config_.uncut_bytes, marks, now);
    ranges_.add(missing->begin, missing->end, now);
    at = missing->end;
    if (at == end) break;
  }
  highest_ = std::max(highest_, end);
  if (!novel) {
    ++counters_.duplicate_segments;
    // Not at once: several of these would look like duplicate ACKs, and to a sender that has rewound like a new hole.
    if (!delayed_ack_) delayed_ack_ = now + kDelayedAck;
    return;
  }
  move_ack_point();
  if (ranges_.size() > kMaximumRanges && !config_.complete) {
    give_up_first_hole();
    forget_oldest();
  }

  if (ack_point_ > before) {
    // A second segment, or a hole filled, is acknowledged at once: RFC 5681 §4.2.
    const bool filled = ack_point_ > end;
    if (filled || ++unacknowledged_ >= 2) {
      ack_now_ = true;
    } else if (!delayed_ack_) {
      delayed_ack_ = now + kDelayedAck;
    }
  } else if (begin >= before) {
    ++counters_.out_of_order;
    latest_ = begin;
    duplicates_owed_ = std::min(duplicates_owed_ + 1, kMaximumDuplicates);
  }
  // Octets that fill a hole given up before change nothing that is acknowledged.
}

bool StreamReceiver::handle_fin(std::uint64_t position) noexcept {
  if (finished_) {
    ack_now_ = true;
    return false;
  }
  if (position != ack_point_) {
    ack_now_ = true;
    return false;
  }
  finished_ = true;
  ++ack_point_;
  highest_ = std::max(highest_, ack_point_);
  ack_now_ = true;
  return true;
}

std::optional<Instant> StreamReceiver::give_up_at() const noexcept {
  if (config_.complete || config_.ack_high || ack_point_ >= highest_) return std::nullopt;
  const auto* beyond = ranges_.after(ack_point_);
  return beyond != nullptr ? std::optional{beyond->since + give_up_} : std::nullopt;
}

void StreamReceiver::give_up_first_hole() noexcept {
  const auto* beyond = ranges_.after(ack_point_);
  if (beyond == nullptr) return;
  ack_point_ = beyond->end;
  ++counters_.holes_given_up;
  ack_now_ = true;
}

/// Holes that were passed are remembered for what may still fill them. Who makes too many of them loses the oldest.
void StreamReceiver::forget_oldest() noexcept {
  const auto oldest = ranges_.ranges().front().end;
  if (oldest > ack_point_) return;
  floor_ = std::max(floor_, oldest);
  ranges_.forget_below(oldest + 1);
}

std::optional<Instant> StreamReceiver::next_deadline() const noexcept { return earliest(delayed_ack_, give_up_at()); }

void StreamReceiver::handle_deadline(Instant now) {
  if (delayed_ack_ && now >= *delayed_ack_) {
    delayed_ack_.reset();
    ack_now_ = true;
  }
  for (auto at = give_up_at(); at && now >= *at; at = give_up_at()) give_up_first_hole();
}

StreamReceiver::AckDue StreamReceiver::ack_due() const noexcept {
  if (duplicates_owed_ > 0) return AckDue::duplicate;
  return ack_now_ ? AckDue::plain : AckDue::none;
}

void StreamReceiver::ack_sent(bool duplicate) noexcept {
  if (duplicate && duplicates_owed_ > 0) --duplicates_owed_;
  ack_now_ = false;
  delayed_ack_.reset();
  unacknowledged_ = 0;
}

std::uint8_t StreamReceiver::sack_blocks(std::array<SackBlock, 4>& out, std::size_t room) const noexcept {
  std::size_t count = 0;
  const auto put = [&](const RangeSet::Range& range) {
    out[count++] = {static_cast<std::uint32_t>(range.begin), static_cast<std::uint32_t>(range.end)};
  };
  if (ack_point_ >= highest_) return 0;
  const auto* latest = latest_ > ack_point_ ? ranges_.holding(latest_) : nullptr;
  if (latest != nullptr && latest->begin > ack_point_ && count < room) put(*latest);
  // Then the highest others: what they show missing was sent last and is most likely still there to be sent again.
  const auto& all = ranges_.ranges();
  for (auto range = all.rbegin(); range != all.rend() && range->begin > ack_point_ && count < room; ++range) {
    if (latest == nullptr || range->begin != latest->begin) put(*range);
  }
  return static_cast<std::uint8_t>(count);
}

}  // namespace switchback::transports::ctcp
