#include "transports/ctcp/sender_ring.h"

#include <algorithm>
#include <cassert>

namespace switchback::transports::ctcp {
namespace {

// Re-sends are at most a quarter of what is sent, averaged over this many segments.
constexpr double kBudgetPerSegment = 0.25;
constexpr double kBudgetCeiling = 256;
// Segments past a hole that show it is a loss and no reordering, RFC 5681 §3.2 and RFC 6675 §2.
constexpr unsigned kDuplicateThreshold = 3;
// Evidence of a discarding device: so many single steps in a row; a jump over more held segments than this refutes it.
constexpr unsigned kSingleSteps = 3;
constexpr unsigned kHeldSegments = 4;

}  // namespace

SenderRing::SenderRing(std::uint64_t first, SenderLimits limits)
    : limits_{limits},
      memory_{std::make_unique_for_overwrite<std::uint8_t[]>(limits.bytes)},
      slots_(64),
      first_{first},
      una_{first},
      next_{first},
      highest_sent_{first} {}

std::optional<std::size_t> SenderRing::place(std::size_t bytes) const noexcept {
  if (count_ == limits_.segments) return std::nullopt;
  if (count_ == 0) return bytes <= limits_.bytes ? std::optional<std::size_t>{0} : std::nullopt;
  const std::size_t oldest = at(0).at;
  if (write_ > oldest) {
    if (bytes <= limits_.bytes - write_) return write_;
    return bytes < oldest ? std::optional<std::size_t>{0} : std::nullopt;
  }
  return bytes < oldest - write_ ? std::optional<std::size_t>{write_} : std::nullopt;
}

bool SenderRing::has_room(std::size_t bytes) const noexcept { return place(bytes).has_value(); }

void SenderRing::push(const Sent& sent) {
  if (count_ == slots_.size()) {
    std::vector<Sent> larger(slots_.size() * 2);
    for (std::size_t i = 0; i < count_; ++i) larger[i] = at(i);
    slots_ = std::move(larger);
    head_ = 0;
  }
  at(count_++) = sent;
}

void SenderRing::pop_front() noexcept {
  if (at(0).sacked) --sacked_;
  head_ = (head_ + 1) & (slots_.size() - 1);
  --count_;
  if (emitted_ > 0) --emitted_;
}

bool SenderRing::append(ByteView header, ByteView payload) {
  const auto bytes = header.size() + payload.size();
  const auto where = place(bytes);
  if (!where || bytes == 0) return false;
  auto* to = memory_.get() + *where;
  std::copy(header.begin(), header.end(), to);
  std::copy(payload.begin(), payload.end(), to + header.size());
  write_ = *where + bytes;
  Sent sent;
  sent.begin = next_;
  sent.bytes = static_cast<std::uint32_t>(bytes);
  sent.at = static_cast<std::uint32_t>(*where);
  push(sent);
  next_ += bytes;
  return true;
}

std::optional<SenderRing::Piece> SenderRing::poll_new(Instant now) {
  if (emitted_ == count_) return std::nullopt;
  auto& sent = at(emitted_);
  if (emitted_ == 0) stall_base_ = now;
  ++emitted_;
  sent.first = sent.last = now;
  highest_sent_ = std::max(highest_sent_, sent.end());
  ++counters_.sent;
  tokens_ = std::min(kBudgetCeiling, tokens_ + kBudgetPerSegment);
  return Piece{sent.begin, {memory_.get() + sent.at, sent.bytes}, emitted_ == count_};
}

std::size_t SenderRing::index_of(std::uint64_t position) const noexcept {
  std::size_t low = 0, high = emitted_;
  while (low < high) {
    const auto middle = (low + high) / 2;
    if (at(middle).begin < position) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::optional<SenderRing::Piece> SenderRing::poll_resend(Instant now) {
  while (next_resend_ < resend_.size()) {
    const auto begin = resend_[next_resend_++];
    const auto index = index_of(begin);
    if (index == emitted_ || at(index).begin != begin) continue;  // acknowledged meanwhile
    auto& sent = at(index);
    if (!sent.queued) continue;
    sent.queued = false;
    sent.last = now;
    if (sent.resends < 255) ++sent.resends;
    ++counters_.resent;
    return Piece{sent.begin, {memory_.get() + sent.at, sent.bytes}, true};
  }
  resend_.clear();
  next_resend_ = 0;
  return std::nullopt;
}

void SenderRing::queue(Sent& sent, bool free_of_charge) {
  if (sent.queued) return;
  if (!free_of_charge && !limits_.reliable) {
    if (tokens_ < 1) {
      ++counters_.over_budget;
      return;
    }
    tokens_ -= 1;
  }
  sent.queued = true;
  resend_.push_back(sent.begin);
}

void SenderRing::sample_rtt(Duration rtt) noexcept {
  if (rtt < Duration::zero()) return;
  srtt_ = measured_ ? (srtt_ * 7 + rtt) / 8 : rtt;  // RFC 6298 §2
  measured_ = true;
}

Duration SenderRing::stall_time() const noexcept {
  const auto once = std::max(kStallFloor, srtt_ * 3 / 2 + std::chrono::milliseconds{20});
  return std::min(kStallCeiling, once * (1U << std::min(backoff_, 8U)));
}

std::optional<Instant> SenderRing::waiting_since() const noexcept {
  return emitted_ > 0 ? std::optional{stall_base_} : std::nullopt;
}

std::optional<Instant> SenderRing::next_deadline() const noexcept {
  std::optional<Instant> deadline;
  if (emitted_ > 0 && (limits_.reliable || at(0).resends < kResends)) deadline = stall_base_ + stall_time();
  if (scan_wanted_) deadline = earliest(deadline, next_scan_);
  return deadline;
}

void SenderRing::handle_deadline(Instant now) {
  if (scan_wanted_ && now >= next_scan_) scan(now);
  if (emitted_ == 0 || now < stall_base_ + stall_time()) return;
  auto& front = at(0);
  if (!limits_.reliable && front.resends >= kResends) return;
  ++counters_.stalls;
  ++backoff_;
  stall_base_ = now;
  if (discarding_ && rewind(now)) return;
  queue(front, true);
  if (front.resends + 1U == kResends) ++counters_.resends_exhausted;
}

void SenderRing::mark_sacked(const Acknowledgement::Block& block, Instant now) {
  if (block.right <= block.left || block.left < una_ || block.right > highest_sent_) return;  // also D-SACK, RFC 2883
  for (auto i = index_of(block.left); i < emitted_ && at(i).end() <= block.right; ++i) {
    auto& sent = at(i);
    if (sent.sacked) continue;
    sent.sacked = true;
    sent.queued = false;
    ++sacked_;
    ++counters_.sacked_segments;
    sack_seen_ = true;
    if (sent.resends == 0) sample_rtt(now - sent.first);
  }
}

void SenderRing::advance(std::uint64_t to, Instant now) {
  bool recovered = false;
  unsigned held = 0;
  bool measurable = false;
  Instant newest{};
  if (to > next_) {
    // Octets from before a rewind got through after all: go on behind them.
    while (count_ > 0) pop_front();
    emitted_ = 0;
    next_ = to;
    discarding_ = false;
  }
  while (emitted_ > 0 && at(0).end() <= to) {
    const auto& sent = at(0);
    if (sent.resends > 0) {
      recovered = true;
    } else {
      if (!sent.sacked && now - sent.first > srtt_ * 13 / 10) ++held;
      newest = sent.first;
      measurable = true;
    }
    pop_front();
  }
  una_ = to;
  stall_base_ = now;
  backoff_ = 0;
  duplicates_ = 0;
  if (measurable && !recovered) sample_rtt(now - newest);  // Karn, RFC 6298 §3

  const bool old_front =
      emitted_ > 0 && at(0).resends == 0 && !at(0).sacked && now - at(0).first > srtt_ * 3 / 2 && recovered;
  if (held > kHeldSegments) {
    single_steps_ = 0;
    discarding_ = false;
  } else if (old_front && may_rewind_ && !sack_seen_ && !limits_.reliable && ++single_steps_ >= kSingleSteps) {
    discarding_ = true;
  }
  if (!old_front) return;
  if (discarding_ && rewind(now)) return;
  queue(at(0), false);  // the next hole of the same recovery: RFC 6582 §3.2 step 3, partial acknowledgement
}

void SenderRing::handle_ack(const Acknowledgement& ack, Instant now) {
  if (ack.position > una_) {
    advance(ack.position, now);
  } else if (ack.position == una_ && ack.pure && emitted_ > 0 && now - at(0).first >= srtt_ * 3 / 4) {
    // Sooner it cannot be about what was sent after the first segment: after a rewind, ACKs of the forgotten ones.
    ++duplicates_;
    ++counters_.duplicate_acks;
  }
  if (!ack.sack.empty() && !std::equal(ack.sack.begin(), ack.sack.end(), last_blocks_.begin(), last_blocks_.end())) {
    for (const auto& block : ack.sack) mark_sacked(block, now);
    last_blocks_.assign(ack.sack.begin(), ack.sack.end());
  }
  if (emitted_ > 0) repair(now);
}

void SenderRing::repair(Instant now) {
  if (duplicates_ >= kDuplicateThreshold) {
    auto& front = at(0);
    const auto wait = front.resends == 0 ? Duration::zero() : srtt_ * 3 / 2 + std::chrono::milliseconds{20};
    if (!front.sacked && now - front.last >= wait) {
      if (discarding_ && rewind(now)) return;
      if (front.resends < kQuickResends || limits_.reliable) queue(front, false);
    }
  }
  if (sacked_ < kDuplicateThreshold) return;
  if (now >= next_scan_) {
    scan(now);
  } else {
    scan_wanted_ = true;
  }
}

void SenderRing::scan(Instant now) {
  scan_wanted_ = false;
  next_scan_ = now + kScanInterval;
  const auto again = srtt_ * 3 / 2 + std::chrono::milliseconds{20};
  auto above = sacked_;
  unsigned queued = 0;
  for (std::size_t i = 0; i < emitted_ && above >= kDuplicateThreshold; ++i) {
    auto& sent = at(i);
    if (sent.sacked) {
      --above;
      continue;
    }
    if (sent.queued || (sent.resends > 0 && now - sent.last < again)) continue;
    if (sent.resends >= kQuickResends && !limits_.reliable) continue;
    if (queued == kResendsPerScan) {
      scan_wanted_ = true;
      return;
    }
    queue(sent, false);
    ++queued;
  }
}

bool SenderRing::rewind(Instant now) {
  // Never back to where the stream's prefix could be lost, and at most once in a round trip.
  if (una_ <= first_ + 8 || now - last_rewind_ < srtt_) return false;
  while (count_ > 0) pop_front();
  emitted_ = 0;
  next_ = una_;
  duplicates_ = 0;
  backoff_ = 0;
  resend_.clear();
  next_resend_ = 0;
  scan_wanted_ = false;
  last_rewind_ = now;
  ++counters_.rewinds;
  return true;
}

}  // namespace switchback::transports::ctcp
