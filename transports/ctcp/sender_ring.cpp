#include "transports/ctcp/sender_ring.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace switchback::transports::ctcp {
namespace {

// Re-sends are at most a quarter of what is sent, averaged over this many segments.
constexpr double kBudgetPerSegment = 0.25;
constexpr double kBudgetCeiling = 256;
// Where a device is proven to discard all past a gap, each loss costs what is under way: up to as much again as is sent
// buys it back, but only for flows of little bandwidth, since they have no congestion control.
constexpr double kExtraPerSegment = 0.75;
constexpr double kExtraCeiling = 64;
constexpr double kExtraOctetsPerSecond = 256 * 1024;
constexpr double kExtraOctetsCeiling = 64 * 1024;
// Of our timestamps.
constexpr Duration kTimestampGrain = std::chrono::milliseconds{1};
// Segments past a hole that show it is a loss and no reordering, RFC 5681 §3.2 and RFC 6675 §2.
constexpr unsigned kDuplicateThreshold = 3;
// Segments of one block that were known to have arrived: a peer that tells them in ever other words must not have us
// look at the whole ring each time.
constexpr unsigned kMostLooks = 1024;
// At most so many go back at a time where no budget bounds them.
constexpr std::size_t kReliableBurst = 64;
// SACK blocks so recent forbid to rewind: the peer has octets past the gap.
constexpr Duration kSackMemory = std::chrono::milliseconds{500};

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

bool SenderRing::has_room(std::size_t bytes, std::size_t segments) const noexcept {
  return count_ + segments <= limits_.segments && place(bytes).has_value();
}

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
  sent.starts_frame = !header.empty();
  push(sent);
  next_ += bytes;
  return true;
}

std::optional<SenderRing::Piece> SenderRing::poll_new(Instant now) {
  if (emitted_ == count_) return std::nullopt;
  auto& sent = at(emitted_);
  if (emitted_ == 0) last_advance_ = now;
  ++emitted_;
  sent.first = sent.last = now;
  highest_sent_ = std::max(highest_sent_, sent.end());
  if (sent.salvaged) {
    ++counters_.resent;
  } else {
    ++counters_.sent;
    earn(now);
  }
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
    if (tokens_ >= 1) {
      tokens_ -= 1;
    } else if (budget() >= 1) {
      extra_ -= 1;
      extra_octets_ -= sent.bytes;
    } else {
      ++counters_.over_budget;
      return;
    }
  }
  sent.queued = true;
  resend_.push_back(sent.begin);
}

void SenderRing::earn(Instant now) noexcept {
  tokens_ = std::min(kBudgetCeiling, tokens_ + kBudgetPerSegment);
  if (!evidence_.discarding()) {
    extra_ = kExtraCeiling;  // all of it when the verdict falls, in the midst of a recovery
    extra_octets_ = kExtraOctetsCeiling;
  } else {
    const auto elapsed = std::chrono::duration<double>(now - last_earned_).count();
    extra_ = std::min(kExtraCeiling, extra_ + kExtraPerSegment);
    extra_octets_ = std::min(kExtraOctetsCeiling, extra_octets_ + std::max(elapsed, 0.0) * kExtraOctetsPerSecond);
  }
  last_earned_ = now;
}

/// Segments that may be sent again now.
double SenderRing::budget() const noexcept {
  if (!evidence_.discarding() || emitted_ == 0) return tokens_;
  const auto each = std::max(1.0, static_cast<double>(at(emitted_ - 1).end() - una_) / static_cast<double>(emitted_));
  return std::floor(tokens_) + std::max(0.0, std::min(extra_, extra_octets_ / each));
}

std::optional<Instant> SenderRing::stall_at() const noexcept {
  if (emitted_ == 0) return std::nullopt;
  const auto& front = at(0);
  const auto once = std::max(kStallFloor, overdue());
  auto wait = std::min(kStallCeiling, once * (1U << std::clamp(backoff_, 1U, 9U)) / 2);
  if (!limits_.reliable && front.resends >= kResends) wait = kLastResort;
  auto due = front.last + wait;
  // The second segment that follows calls for an ACK without delay, RFC 5681 §4.2.
  if (backoff_ < 2 && emitted_ > 2)
    due = std::min(due, std::max(at(2).last, front.last) + std::max(kStallFloor, round_trip_.overdue()));
  // After an acknowledgement the next may be on its way: they come in trains, and from devices that held long.
  return std::max(due, last_advance_ + std::max(kAckDelay, srtt()) / 4 + std::chrono::milliseconds{5});
}

std::optional<Instant> SenderRing::waiting_since() const noexcept {
  return emitted_ > 0 ? std::optional{last_advance_} : std::nullopt;
}

std::optional<Instant> SenderRing::next_deadline() const noexcept {
  auto deadline = earliest(stall_at(), settle_at_);
  if (scan_wanted_) deadline = earliest(deadline, next_scan_);
  return deadline;
}

void SenderRing::handle_deadline(Instant now) {
  if (scan_wanted_ && now >= next_scan_) scan(now);
  if (settle_at_ && now >= *settle_at_) settle(now);
  const auto stall = stall_at();
  if (!stall || now < *stall || at(0).queued) return;
  ++counters_.stalls;
  ++backoff_;
  if (at(0).resends + 1U == kResends) ++counters_.resends_exhausted;
  recover(true, now);
}

void SenderRing::mark_sacked(const Acknowledgement::Block& block, Instant now) {
  if (block.right > una_) last_sack_ = now;
  if (block.right <= block.left || block.left < una_ || block.right > highest_sent_) return;  // also D-SACK, RFC 2883
  // A block is told again and again as it grows: only what is new of it is looked at.
  auto from = block.left;
  for (const auto& known : last_blocks_) {
    if (known.left <= from && from < known.right) from = std::min(known.right, block.right);
  }
  auto i = index_of(from);
  if (i > 0 && at(i - 1).begin >= block.left && at(i - 1).end() > from) --i;  // known to a part only
  for (unsigned again = 0; i < emitted_ && at(i).end() <= block.right; ++i) {
    auto& sent = at(i);
    ++counters_.sack_looks;
    if (sent.sacked) {
      if (++again == kMostLooks) return;
      continue;
    }
    sent.sacked = true;
    sent.queued = false;
    ++sacked_;
    ++counters_.sacked_segments;
    if (sent.resends == 0) sample_rtt(now - sent.first);
  }
}

/// The first segment was sent once only, and before the gap in front of it was filled: had it arrived, and had nothing
/// discarded it, it would have been acknowledged by now or be so with the next ACKs of the same train.
bool SenderRing::gap_in_front() const noexcept {
  return emitted_ > 0 && sacked_ == 0 && at(0).resends == 0 && !at(0).queued && at(0).first < filled_at_;
}

void SenderRing::advance(const Acknowledgement& ack, Instant now) {
  const auto to = ack.position;
  bool recovered = false;
  bool measurable = false;
  Instant newest{};
  // When that was sent which it answers, and whether that was the segment sent again rather than its first time: RFC
  // 3522 §3.2. Without timestamps the time tells, unless devices that hold segments have taught a round trip far too
  // long.
  const auto answered_at = [&](const Sent& sent) { return ack.echo_age ? now - *ack.echo_age : sent.last; };
  const auto answers_resend = [&](const Sent& sent) {
    return ack.echo_age ? answered_at(sent) > sent.first + kTimestampGrain : now - sent.last >= srtt() * 3 / 4;
  };
  if (to > next_) {
    // Octets from before a rewind got through after all: go on behind them.
    while (count_ > 0) pop_front();
    emitted_ = 0;
    next_ = to;
    evidence_.refute();
  }
  while (emitted_ > 0 && at(0).end() <= to) {
    const auto& sent = at(0);
    if (sent.sacked) evidence_.passed();
    if (sent.resends > 0) {
      recovered = true;
      if (answers_resend(sent)) {  // else it was sent again for nothing
        filled_at_ = std::max(filled_at_, answered_at(sent));
        evidence_.filled();
      }
    } else if (sent.first < filled_at_) {
      recovered = true;
      if (!sent.sacked) evidence_.held();
    } else {
      newest = sent.first;
      measurable = true;
    }
    pop_front();
  }
  una_ = to;
  last_advance_ = now;
  backoff_ = 0;
  duplicates_ = 0;
  if (measurable && !recovered) {
    sample_rtt(now - newest);  // Karn, RFC 6298 §3
  } else if (emitted_ == 0 && ack.echo_age) {
    // Where all that is sent is sent twice, this tells why; and what filled a gap was held by nobody. Else, amid a
    // recovery, it may come from a device, and be old.
    sample_rtt(*ack.echo_age);
  }
  if (gap_in_front()) {
    settle_at_ = now + srtt() / 8 + std::chrono::milliseconds{2};
  } else {
    settle_at_.reset();
    if (recovered) evidence_.complete();
  }
}

/// The ACKs that a filled gap let loose have come, and stopped in front of another: RFC 6582 §3.2 step 3.
void SenderRing::settle(Instant now) {
  settle_at_.reset();
  if (!gap_in_front()) return;
  evidence_.stopped();
  if (evidence_.discarding()) return go_back(now);
  const auto burst = std::min<std::size_t>(evidence_.burst() / 4, emitted_);
  for (std::size_t i = 0; i < burst; ++i) {
    if (at(i).resends == 0) queue(at(i), false);
  }
}

/// The first segment is missing.
void SenderRing::recover(bool free_of_charge, Instant now) {
  duplicates_ = 0;
  settle_at_.reset();
  if (evidence_.discarding() && sacked_ == 0 && !evidence_.trial()) {
    go_back(now);
    if (emitted_ == 0) return;
  }
  queue(at(0), free_of_charge);
  const auto burst = std::min<std::size_t>(evidence_.burst(), emitted_);
  for (std::size_t i = 1; i < burst && sacked_ == 0; ++i) {
    if (at(i).resends < kQuickResends || limits_.reliable) queue(at(i), false);
  }
}

/// Sends the first segment again and all that were discarded because of it. What the budget does not allow is given up:
/// the latest go out at the positions of the first ones, and the others are lost, as with UDP.
void SenderRing::go_back(Instant now) {
  const auto skip = [&](std::size_t i) { return i > 0 && i <= evidence_.capacity(); };
  std::size_t wanted = 0;
  for (std::size_t i = 0; i < emitted_; ++i) wanted += !skip(i) && !at(i).queued ? 1U : 0U;
  if (!limits_.reliable && static_cast<double>(wanted) > budget() &&
      rewind(static_cast<std::size_t>(std::max(0.0, budget())), now)) {
    return;
  }
  ++counters_.go_backs;
  for (std::size_t i = 0, done = 0; i < emitted_ && (!limits_.reliable || done < kReliableBurst); ++i) {
    if (skip(i) || at(i).sacked || (at(i).resends >= kResends && !limits_.reliable)) continue;
    queue(at(i), false);
    ++done;
  }
}

void SenderRing::handle_ack(const Acknowledgement& ack, Instant now) {
  if (ack.position > una_) {
    advance(ack, now);
  } else if (ack.position == una_ && ack.pure && emitted_ > 0 && now - at(0).first >= srtt() * 3 / 4) {
    // Sooner it cannot be about what was sent after the first segment: after a rewind, ACKs of the forgotten ones.
    ++duplicates_;
    ++counters_.duplicate_acks;
    if (settle_at_) settle(now);
  }
  if (!ack.sack.empty() && !std::equal(ack.sack.begin(), ack.sack.end(), last_blocks_.begin(), last_blocks_.end())) {
    for (const auto& block : ack.sack) mark_sacked(block, now);
    last_blocks_.assign(ack.sack.begin(), ack.sack.end());
  }
  if (emitted_ > 0) repair(now);
}

void SenderRing::repair(Instant now) {
  // A device that discards does so with what is reordered, too.
  if (duplicates_ >= (evidence_.discarding() ? 1 : kDuplicateThreshold)) {
    const auto& front = at(0);
    const auto wait = front.resends == 0 ? Duration::zero() : round_trip_.overdue();
    const bool may = limits_.reliable || front.resends < (evidence_.discarding() ? kResends : kQuickResends);
    if (may && !front.sacked && !front.queued && now - front.last >= wait) {
      recover(false, now);
      if (emitted_ == 0) return;
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
  const auto again = overdue();
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

/// Gives up all but the latest `keep` segments, which are to be sent anew from the ACK point on.
bool SenderRing::rewind(std::size_t keep, Instant now) {
  // Never back to where the stream's prefix could be lost, nor into a frame; not while the peer has what is past the
  // gap; and at most once in a round trip.
  if (!may_rewind_ || una_ <= first_ + 8 || !at(0).starts_frame || at(0).begin != una_ || sacked_ > 0 ||
      now - last_sack_ < kSackMemory || now - last_rewind_ < srtt()) {
    return false;
  }
  while (count_ > 0 && (count_ > keep || !at(0).starts_frame)) pop_front();
  emitted_ = 0;
  next_ = una_;
  for (std::size_t i = 0; i < count_; ++i) {
    auto& sent = at(i);
    sent.begin = next_;
    sent.resends = 0;
    sent.queued = false;
    sent.salvaged = true;
    next_ += sent.bytes;
  }
  const auto paid = std::min(std::floor(tokens_), static_cast<double>(count_));
  tokens_ -= paid;
  extra_ -= static_cast<double>(count_) - paid;
  extra_octets_ -= paid < static_cast<double>(count_) ? static_cast<double>(next_ - una_) : 0.0;
  duplicates_ = 0;
  backoff_ = 0;
  resend_.clear();
  next_resend_ = 0;
  last_blocks_.clear();
  scan_wanted_ = false;
  settle_at_.reset();
  last_rewind_ = now;
  ++counters_.rewinds;
  return true;
}

}  // namespace switchback::transports::ctcp
