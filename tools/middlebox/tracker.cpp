#include "tools/middlebox/tracker.h"

#include <algorithm>

namespace switchback::middlebox {

using namespace transports::ctcp;

namespace {

[[nodiscard]] bool after(std::uint32_t a, std::uint32_t b) noexcept { return static_cast<std::int32_t>(a - b) > 0; }
[[nodiscard]] bool before(std::uint32_t a, std::uint32_t b) noexcept { return after(b, a); }

}  // namespace

std::uint32_t Tracker::highest_acknowledged(const Segment& segment) const noexcept {
  auto highest = segment.header.acknowledgement;
  for (std::size_t i = 0; i < segment.header.options.sack_count; ++i) {
    const auto right = segment.header.options.sack[i].right;
    if (after(right, highest)) highest = right;
  }
  return highest;
}

/// Why the segment is invalid; empty if it passes. `update` says whether it may widen the windows.
std::string_view Tracker::judge(const Segment& segment, const Half& sender, const Half& receiver,
                                bool& update) const noexcept {
  const auto& header = segment.header;
  const auto end = header.sequence + sequence_octets(segment);
  if (!header.has(kAck) && !header.has(kRst)) return "data without ACK";
  update = true;
  if (rules_ == TrackerRules::exact && after(end, sender.maximum_end)) return "beyond the receiver's window";
  if (after(header.sequence, sender.maximum_end)) {
    // Since 6.1 one more window is let pass ("N bytes more than expected").
    if (rules_ != TrackerRules::linux_now || after(end, sender.maximum_end + receiver.maximum_window))
      return "beyond the receiver's window";
    update = false;
  }
  if (receiver.known && header.has(kAck) && after(highest_acknowledged(segment), receiver.end)) {
    return "acknowledges what was not seen";
  }
  if (header.has(kRst) && before(header.sequence, sender.end - receiver.maximum_window)) return "RST out of window";
  const bool old = receiver.maximum_window != 0 && !after(end, sender.end - receiver.maximum_window - 1);
  const bool late = header.has(kAck) && receiver.known &&
                    before(highest_acknowledged(segment), receiver.end - std::max(sender.maximum_window, kLateAck));
  if (old || late) {
    if (rules_ == TrackerRules::linux_old || rules_ == TrackerRules::exact)
      return old ? "older than the window" : "acknowledges too far back";
    update = false;
  }
  return {};
}

/// When the flow will be forgotten, after a segment that passed.
void Tracker::arm(const Segment& segment, std::uint32_t end, Instant now) noexcept {
  constexpr std::chrono::seconds kEstablished{432000}, kUnacknowledged{300}, kMaxRetrans{300}, kClosed{10};
  constexpr unsigned kRepetitions = 3;
  const auto& header = segment.header;
  closed_ = closed_ || header.has(kRst);
  const Last seen{segment.direction, header.sequence, header.acknowledgement, end, header.window};
  repeated_ = last_ == seen ? repeated_ + 1 : 0;
  last_ = seen;
  Duration timeout = kEstablished;
  if (repeated_ >= kRepetitions) {
    timeout = kMaxRetrans;
  } else if (halves_[0].unacknowledged || halves_[1].unacknowledged) {
    timeout = kUnacknowledged;
  }
  expires_ = now + (closed_ ? kClosed : timeout);
}

void Tracker::handle(Segment segment, Instant now, Output& out) {
  if (rules_ != TrackerRules::asa && expires_ && now > *expires_) {
    out.decisions.push_back({"forget",
                             halves_[0].unacknowledged || halves_[1].unacknowledged
                                 ? "data was not acknowledged for too long"
                                 : "idle for too long",
                             segment.direction, segment.header.sequence, 0});
    *this = Tracker{rules_};
  }
  auto& sender = halves_[index(segment.direction)];
  auto& receiver = halves_[index(opposite(segment.direction))];
  const auto& header = segment.header;
  if (header.has(kSyn)) {
    if (header.has(kFin)) {
      out.decisions.push_back({"invalid", "SYN with FIN", segment.direction, header.sequence, 0});
      return;
    }
    const auto end = header.sequence + 1;
    sender = {
        true, false, end, end, std::max<std::uint32_t>(header.window, 1), header.options.window_scale.value_or(0)};
    closed_ = false;
    last_.reset();
    arm(segment, end, now);
    // RFC 7323 §2.2: windows are scaled only if both SYNs say so.
    if (header.has(kAck)) {
      established_scale_ = header.options.window_scale.has_value() && receiver.scale != 0;
      if (after(header.acknowledgement + header.window, receiver.maximum_end)) {
        receiver.maximum_end = header.acknowledgement + header.window;
      }
    }
    out.forward.push_back(std::move(segment));
    return;
  }
  if (!sender.known) {
    out.decisions.push_back({"invalid", "not a SYN", segment.direction, header.sequence, segment.payload.size()});
    return;
  }
  bool update = false;
  if (const auto why = judge(segment, sender, receiver, update); !why.empty()) {
    out.decisions.push_back({"invalid", why, segment.direction, header.sequence, segment.payload.size()});
    return;
  }
  if (update && !header.has(kRst)) {
    const auto end = header.sequence + sequence_octets(segment);
    const auto highest = highest_acknowledged(segment);
    const auto window = std::uint32_t{header.window} << (established_scale_ ? sender.scale : 0U);
    sender.maximum_window = std::max(sender.maximum_window, window + (highest - header.acknowledgement));
    if (after(end, sender.end)) {
      sender.end = end;
      sender.unacknowledged = true;
    }
    if (header.has(kAck) && header.acknowledgement == receiver.end) receiver.unacknowledged = false;
    if (receiver.maximum_window != 0 && after(end, sender.maximum_end)) {
      receiver.maximum_window += end - sender.maximum_end;
    }
    if (after(highest + window, receiver.maximum_end))
      receiver.maximum_end = highest + window + (window == 0 ? 1U : 0U);
  }
  arm(segment, header.sequence + sequence_octets(segment), now);
  out.forward.push_back(std::move(segment));
}

}  // namespace switchback::middlebox
