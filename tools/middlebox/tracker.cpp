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
  if (after(header.sequence, sender.maximum_end)) {
    // Since 6.1 one more window is let pass ("N bytes more than expected").
    if (lower_bounds_ || after(end, sender.maximum_end + receiver.maximum_window))
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
    if (lower_bounds_) return old ? "older than the window" : "acknowledges too far back";
    update = false;
  }
  return {};
}

void Tracker::handle(Segment segment, Instant /*now*/, Output& out) {
  auto& sender = halves_[index(segment.direction)];
  auto& receiver = halves_[index(opposite(segment.direction))];
  const auto& header = segment.header;
  if (header.has(kSyn)) {
    if (header.has(kFin)) {
      out.decisions.push_back({"invalid", "SYN with FIN", segment.direction, header.sequence, 0});
      return;
    }
    const auto end = header.sequence + 1;
    sender = {true, end, end, std::max<std::uint32_t>(header.window, 1), header.options.window_scale.value_or(0)};
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
    if (after(end, sender.end)) sender.end = end;
    if (receiver.maximum_window != 0 && after(end, sender.maximum_end)) {
      receiver.maximum_window += end - sender.maximum_end;
    }
    if (after(highest + window, receiver.maximum_end))
      receiver.maximum_end = highest + window + (window == 0 ? 1U : 0U);
  }
  out.forward.push_back(std::move(segment));
}

}  // namespace switchback::middlebox
