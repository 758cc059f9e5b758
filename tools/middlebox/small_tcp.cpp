#include "tools/middlebox/small_tcp.h"

#include <algorithm>

namespace switchback::middlebox {

using namespace transports::ctcp;

SmallTcp::SmallTcp(const SmallTcpConfig& config) noexcept
    : config_{config},
      syn_due_{!config.listening},
      una_{kTurn + config.isn},
      next_{una_},
      congestion_window_{10.0 * config.segment_octets},  // RFC 6928
      random_{config.random_cuts} {}

std::size_t SmallTcp::room() const noexcept {
  const auto held = sent_.size() + unsent_.size();
  return held >= config_.buffer_octets ? 0 : config_.buffer_octets - held;
}

std::uint64_t SmallTcp::window() const noexcept {
  if (!config_.congestion_control) return peer_window_;
  return std::min(peer_window_, static_cast<std::uint64_t>(congestion_window_));
}

TcpHeader SmallTcp::header(std::uint8_t flags, std::uint64_t position) const noexcept {
  TcpHeader made;
  made.source_port = config_.local_port;
  made.destination_port = config_.remote_port;
  made.sequence = static_cast<std::uint32_t>(position);
  made.acknowledgement = static_cast<std::uint32_t>(expected_);
  made.flags = flags;
  const auto held = received_.size() + ahead_octets_;
  const auto free = held >= config_.buffer_octets ? 0 : config_.buffer_octets - held;
  made.window = static_cast<std::uint16_t>(std::min<std::size_t>(free >> (scaling_ ? kScale : 0U), 65535));
  return made;
}

void SmallTcp::handle(const TcpSegmentView& segment, Instant now) {
  const auto& in = segment.header;
  if (in.has(kRst)) {
    reset_ = true;
    timer_.reset();
    return;
  }
  if (in.has(kSyn)) {
    if (established_) {
      ++acks_due_;
      return;
    }
    if (config_.listening == in.has(kAck)) return;  // a SYN is for listeners, a SYN-ACK for the other kind
    expected_ = kTurn + in.sequence + 1;
    peer_scale_ = in.options.window_scale.value_or(0);
    scaling_ = in.options.window_scale.has_value();
    peer_mss_ = in.options.mss.value_or(kDefaultMss);
    peer_window_ = in.window;
    if (config_.listening) {
      syn_due_ = true;
    } else {
      una_ = next_ = kTurn + config_.isn + 1;
      established_ = true;
      timer_.reset();
      ++acks_due_;
    }
    return;
  }
  if (expected_ == 0 || !in.has(kAck)) return;
  const auto upto = unwrap(in.acknowledgement, una_);
  if (!established_) {
    if (upto != kTurn + config_.isn + 1) return;
    una_ = next_ = upto;
    established_ = true;
    timer_.reset();
  }
  const auto window_before = peer_window_;
  peer_window_ = std::uint64_t{in.window} << (scaling_ ? peer_scale_ : 0U);
  if (upto > una_ && upto <= next_) {
    acknowledged(upto, now);
  } else if (upto == una_ && segment.payload.empty() && !in.has(kFin) && peer_window_ == window_before &&
             in_flight() > 0 && ++duplicates_ == 3 && una_ >= recover_) {
    // RFC 5681 §3.2
    slow_start_threshold_ = std::max(static_cast<double>(in_flight()) / 2, 2.0 * config_.segment_octets);
    congestion_window_ = slow_start_threshold_ + 3.0 * config_.segment_octets;
    recover_ = next_;
    resend_ = true;
  }
  const auto begin = unwrap(in.sequence, expected_);
  if (!segment.payload.empty()) take(begin, segment.payload);
  if (in.has(kFin) && begin + segment.payload.size() == expected_ && !peer_finished_) {
    peer_finished_ = true;
    ++expected_;
    ++acks_due_;
  }
}

void SmallTcp::acknowledged(std::uint64_t upto, Instant now) {
  const auto count = upto - una_;
  sent_.pop(std::min<std::size_t>(count, sent_.size()));  // FIN has no octet
  una_ = upto;
  duplicates_ = timeouts_ = 0;
  if (measured_at_ && upto >= measured_) {  // RFC 6298 §2
    const auto sample = now - *measured_at_;
    measured_at_.reset();
    if (smoothed_ == Duration{}) {
      smoothed_ = sample;
      variation_ = sample / 2;
    } else {
      const auto distance = smoothed_ > sample ? smoothed_ - sample : sample - smoothed_;
      variation_ = (variation_ * 3 + distance) / 4;
      smoothed_ = (smoothed_ * 7 + sample) / 8;
    }
    timeout_ = std::max(smoothed_ + 4 * variation_, kSmallestTimeout);
  }
  if (una_ < recover_) {
    resend_ = true;  // RFC 6582: a partial acknowledgement shows the next hole
  } else if (congestion_window_ < slow_start_threshold_) {
    congestion_window_ += static_cast<double>(std::min<std::uint64_t>(count, config_.segment_octets));
  } else {
    if (recover_ != 0) congestion_window_ = std::min(congestion_window_, slow_start_threshold_);
    recover_ = 0;
    congestion_window_ += static_cast<double>(config_.segment_octets) * config_.segment_octets / congestion_window_;
  }
  timer_ = in_flight() > 0 ? std::optional{now + timeout_} : std::nullopt;
}

void SmallTcp::take(std::uint64_t begin, ByteView payload) {
  ++acks_due_;
  if (begin > expected_ + config_.buffer_octets) return;
  if (begin > expected_) {
    if (ahead_octets_ + payload.size() > config_.buffer_octets) return;
    auto& place = ahead_[begin];
    if (place.size() >= payload.size()) return;
    ahead_octets_ += payload.size() - place.size();
    place = to_bytes(payload);
    return;
  }
  if (received_.size() >= config_.buffer_octets) return;
  const auto join = [&](std::uint64_t at, ByteView octets) {
    if (at + octets.size() <= expected_) return;
    received_.push(octets.subspan(expected_ - at));
    expected_ = at + octets.size();
  };
  join(begin, payload);
  while (!ahead_.empty() && ahead_.begin()->first <= expected_) {
    join(ahead_.begin()->first, ahead_.begin()->second);
    ahead_octets_ -= ahead_.begin()->second.size();
    ahead_.erase(ahead_.begin());
  }
  if (received_.size() >= config_.buffer_octets / 2) window_closed_ = true;
}

void SmallTcp::consume(std::size_t octets) {
  received_.pop(octets);
  if (window_closed_ && received_.size() < config_.buffer_octets / 4) {
    window_closed_ = false;
    ++acks_due_;  // a window update
  }
}

void SmallTcp::handle_deadline(Instant now) {
  if (!timer_ || now < *timer_) return;
  timer_.reset();
  if (!established_) {
    syn_due_ = true;
    return;
  }
  if (++timeouts_ > 10) {
    reset_ = true;
    return;
  }
  // RFC 5681 §3.1, RFC 6298 §5.5
  slow_start_threshold_ = std::max(static_cast<double>(in_flight()) / 2, 2.0 * config_.segment_octets);
  congestion_window_ = config_.segment_octets;
  timeout_ = std::min<Duration>(timeout_ * 2, std::chrono::seconds{60});
  recover_ = next_;
  measured_at_.reset();
  resend_ = true;
  timer_ = now + timeout_;
}

void SmallTcp::send_piece(std::uint64_t position, std::size_t octets, std::vector<Out>& out) const {
  out.push_back({header(kAck, position), to_bytes(sent_.view().subspan(position - una_, octets))});
}

/// Whether what is there is too short and not old enough to be sent.
bool SmallTcp::waits(std::size_t most, Instant now) noexcept {
  if (config_.coalesce_wait == Duration{} || finishing_ || unsent_.size() >= most) {
    waiting_since_.reset();
    return false;
  }
  if (!waiting_since_) waiting_since_ = now;
  if (now < *waiting_since_ + config_.coalesce_wait) return true;
  waiting_since_.reset();
  return false;
}

void SmallTcp::poll(Instant now, std::vector<Out>& out) {
  if (reset_) {
    waiting_since_.reset();
    return;
  }
  if (syn_due_) {
    syn_due_ = false;
    auto syn = header(config_.listening ? kSyn | kAck : kSyn, kTurn + config_.isn);
    if (!config_.listening) syn.acknowledgement = 0;
    syn.window = 64240;
    syn.options.mss = config_.announced_mss;
    if (!config_.listening || scaling_) syn.options.window_scale = kScale;
    out.push_back({syn, {}});
    timer_ = now + timeout_;
    return;
  }
  if (!established_) return;
  const std::size_t most = std::min<std::size_t>(config_.segment_octets, peer_mss_);
  if (resend_) {
    resend_ = false;
    if (!sent_.empty()) {
      send_piece(una_, std::min(most, sent_.size()), out);
    } else if (fin_sent_ && in_flight() > 0) {
      out.push_back({header(kFin | kAck, una_), {}});
    }
    measured_at_.reset();  // Karn
  }
  while (!unsent_.empty() && in_flight() < window()) {
    if (config_.random_cuts != 0 && cut_ == 0) cut_ = 1 + random_() % most;
    const auto longest = cut_ != 0 ? std::min(cut_, most) : most;
    if (waits(longest, now)) break;
    const auto count = std::min<std::uint64_t>({longest, unsent_.size(), window() - in_flight()});
    if (count < std::min(longest, unsent_.size()) && in_flight() > 0) break;  // no silly windows
    cut_ = 0;
    sent_.push(unsent_.view().first(count));
    unsent_.pop(count);
    send_piece(next_, count, out);
    if (!measured_at_) {
      measured_at_ = now;
      measured_ = next_ + count;
    }
    next_ += count;
    acks_due_ = 0;
    if (!timer_) timer_ = now + timeout_;
  }
  if (in_flight() >= window()) waiting_since_.reset();  // what waits for an ACK waits for no time
  if (finishing_ && !fin_sent_ && unsent_.empty()) {
    fin_sent_ = true;
    out.push_back({header(kFin | kAck, next_), {}});
    ++next_;
    if (!timer_) timer_ = now + timeout_;
  }
  // One for each segment: duplicate ACKs are what the other end's fast retransmit counts.
  for (; acks_due_ > 0; --acks_due_) out.push_back({header(kAck, next_), {}});
}

}  // namespace switchback::middlebox
