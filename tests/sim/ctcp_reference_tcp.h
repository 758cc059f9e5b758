// A small ordinary TCP: in order, go-back on timeout, fast retransmit, no SACK. What a proxy or a kernel would speak.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/time.h"
#include "transports/ctcp/segment.h"

namespace switchback::test {

/// A segment on the simulated wire.
struct Wire {
  transports::ctcp::TcpHeader header;
  Bytes payload;
  [[nodiscard]] transports::ctcp::TcpSegmentView view() const { return {header, payload}; }
};

class ReferenceTcp {
 public:
  ReferenceTcp(std::uint16_t local, std::uint16_t remote, bool listening, std::uint32_t isn, std::size_t segment_bytes)
      : local_{local}, remote_{remote}, listening_{listening}, isn_{kTurn + isn}, segment_bytes_{segment_bytes} {
    una_ = next_ = isn_;
    if (!listening_) syn_due_ = true;
  }

  void write(ByteView octets) { unsent_.insert(unsent_.end(), octets.begin(), octets.end()); }
  /// Octets received in order since the last call.
  [[nodiscard]] Bytes read() { return std::exchange(readable_, {}); }
  [[nodiscard]] bool established() const { return established_; }
  [[nodiscard]] bool idle() const { return unsent_.empty() && una_ == next_; }
  [[nodiscard]] std::size_t backlog() const { return unsent_.size(); }

  void handle(const Wire& in, Instant now) {
    using namespace transports::ctcp;
    const auto& h = in.header;
    if (h.has(kSyn)) {
      received_ = kTurn + h.sequence + 1;
      scale_ = h.options.window_scale.value_or(0);
      peer_window_ = h.window;
      if (listening_) {
        syn_due_ = true;
      } else if (!established_) {
        una_ = next_ = isn_ + 1;
        established_ = true;
        ack_due_ = true;
      }
      if (h.options.timestamps) timestamps_ = true, echo_ = h.options.timestamps->value;
      return;
    }
    if (!h.has(kAck) || received_ == 0) return;
    if (h.options.timestamps) echo_ = h.options.timestamps->value;
    if (!established_) {
      una_ = next_ = isn_ + 1;
      established_ = true;
    }
    peer_window_ = std::uint64_t{h.window} << scale_;
    const auto ack = unwrap(h.acknowledgement, una_);
    if (ack > una_ && ack <= una_ + sent_.size()) {
      sent_.erase(sent_.begin(), sent_.begin() + static_cast<std::ptrdiff_t>(ack - una_));
      una_ = ack;
      next_ = std::max(next_, una_);
      duplicates_ = 0;
      timer_ = now;
      if (recover_ > una_) resend_ = true;  // partial acknowledgement, RFC 6582
    } else if (ack == una_ && in.payload.empty() && !sent_.empty() && ++duplicates_ == 3 && una_ >= recover_) {
      recover_ = next_;
      resend_ = true;
    }
    if (in.payload.empty()) return;
    ack_due_ = true;
    ++acks_due_;
    const auto begin = unwrap(h.sequence, received_);
    if (begin > received_ + kWindow) return;
    if (begin + in.payload.size() > received_) held_[begin] = std::max(held_[begin], in.payload, shorter);
    while (!held_.empty() && held_.begin()->first <= received_) {
      const auto& [at, octets] = *held_.begin();
      if (at + octets.size() > received_) {
        append(readable_, ByteView{octets}.subspan(received_ - at));
        received_ = at + octets.size();
      }
      held_.erase(held_.begin());
    }
  }

  [[nodiscard]] std::optional<Instant> next_deadline() const {
    if (!established_ && !listening_) return syn_at_ + kSynTimeout;
    return established_ && !sent_.empty() ? std::optional{timer_ + kTimeout} : std::nullopt;
  }

  [[nodiscard]] std::vector<Wire> poll(Instant now) {
    using namespace transports::ctcp;
    std::vector<Wire> out;
    if (!established_ && !listening_ && now >= syn_at_ + kSynTimeout) syn_due_ = true;
    if (syn_due_) {
      syn_due_ = false;
      syn_at_ = now;
      Wire syn{make(kSyn, isn_, now), {}};
      if (listening_) syn.header.flags |= kAck;
      syn.header.window = 64240;
      syn.header.options.mss = 1460;
      syn.header.options.window_scale = 7;
      out.push_back(syn);
    }
    if (!established_) return out;
    if (!sent_.empty() && now >= timer_ + kTimeout) resend_ = true, timer_ = now, recover_ = next_;
    if (resend_ && !sent_.empty()) {
      resend_ = false;
      out.push_back({make(kAck, una_, now), to_bytes(ByteView{sent_}.first(std::min(segment_bytes_, sent_.size())))});
    }
    while (!unsent_.empty() && sent_.size() + segment_bytes_ <= std::min<std::uint64_t>(peer_window_, kInFlight)) {
      const auto count = std::min(segment_bytes_, unsent_.size());
      const Bytes octets(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(count));
      unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(count));
      if (sent_.empty()) timer_ = now;
      append(sent_, octets);
      out.push_back({make(kAck, next_, now), octets});
      next_ += count;
      ack_due_ = false;
      acks_due_ = 0;
    }
    for (; ack_due_ || acks_due_ > 0; acks_due_ -= acks_due_ > 0 ? 1U : 0U) {
      ack_due_ = false;
      out.push_back({make(kAck, next_, now), {}});
      if (acks_due_ == 0) break;
    }
    return out;
  }

 private:
  static constexpr std::uint64_t kTurn = std::uint64_t{1} << 32U;
  static constexpr std::uint64_t kWindow = 4U << 20U;
  static constexpr std::uint64_t kInFlight = 256 * 1024;
  static constexpr Duration kSynTimeout = std::chrono::seconds{1};
  static constexpr Duration kTimeout = std::chrono::milliseconds{250};
  static bool shorter(const Bytes& a, const Bytes& b) { return a.size() < b.size(); }

  transports::ctcp::TcpHeader make(std::uint8_t flags, std::uint64_t position, Instant now) const {
    transports::ctcp::TcpHeader header;
    header.source_port = local_;
    header.destination_port = remote_;
    header.sequence = static_cast<std::uint32_t>(position);
    header.acknowledgement = static_cast<std::uint32_t>(received_);
    header.flags = flags;
    header.window = static_cast<std::uint16_t>(kWindow >> 7U);
    const auto clock = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
    if (timestamps_ || !listening_) header.options.timestamps = {static_cast<std::uint32_t>(clock), echo_};
    return header;
  }

  std::uint16_t local_, remote_;
  bool listening_;
  std::uint64_t isn_;
  std::size_t segment_bytes_;
  std::uint64_t una_ = 0, next_ = 0, received_ = 0, recover_ = 0, peer_window_ = 0;
  std::uint8_t scale_ = 0;
  bool established_ = false, syn_due_ = false, ack_due_ = false, resend_ = false, timestamps_ = false;
  unsigned duplicates_ = 0, acks_due_ = 0;
  std::uint32_t echo_ = 0;
  Instant timer_{}, syn_at_{};
  Bytes sent_, readable_;
  std::deque<std::uint8_t> unsent_;
  std::map<std::uint64_t, Bytes> held_;
};

}  // namespace switchback::test
