#include "tools/middlebox/inspector.h"

#include <algorithm>
#include <iterator>

namespace switchback::middlebox {

using namespace transports::ctcp;

void Inspector::handle(Segment segment, Instant now, Output& out) {
  if (dead_) {
    out.decisions.push_back(
        {"drop", "flow killed", segment.direction, segment.header.sequence, segment.payload.size()});
    return;
  }
  auto& half = halves_[index(segment.direction)];
  const auto& header = segment.header;
  if (header.has(kSyn)) {
    handshake(half, std::move(segment), out);
    return;
  }
  if (!half.space.known()) {
    out.decisions.push_back({"drop", "no handshake seen", segment.direction, header.sequence, segment.payload.size()});
    return;
  }
  half.latest = {segment.direction, header, {}, {}};
  if (header.has(kRst)) {
    out.forward.push_back(std::move(segment));
    return;
  }
  if (acknowledges_unseen(segment, out)) return;
  learn_window(segment);
  const auto begin = half.space.position(header.sequence);
  if (!segment.payload.empty() && past_window(half, begin)) {
    out.decisions.push_back(
        {"drop", "past the receiver's window", segment.direction, header.sequence, segment.payload.size()});
    return;
  }
  if (rules_.ack_on_behalf && behind_what_was_told(segment, now, out)) return;
  if (rules_.ack_on_behalf && !half.keeper.room(segment.payload.size())) {
    out.decisions.push_back({"drop", "the receiver has not acknowledged too much", segment.direction, header.sequence,
                             segment.payload.size()});
    return;
  }
  if (sequence_octets(segment) == 0) {
    out.forward.push_back(std::move(segment));
  } else if (begin <= half.expected) {
    in_order(half, begin, std::move(segment), now, out);
  } else {
    past_gap(half, begin, std::move(segment), now, out);
  }
}

void Inspector::handshake(Half& half, Segment segment, Output& out) {
  const auto& header = segment.header;
  half.space.begin(header.sequence);
  half.expected = half.space.position(header.sequence) + 1;
  half.latest = {segment.direction, header, {}, {}};
  half.scale = header.options.window_scale;
  auto& other = halves_[index(opposite(segment.direction))];
  // RFC 7323 §2.2: the window of a SYN-ACK is not scaled.
  if (header.has(kAck) && other.space.known()) {
    other.edge = unwrap(header.acknowledgement, other.expected) + header.window;
  }
  out.forward.push_back(std::move(segment));
}

void Inspector::learn_window(const Segment& segment) {
  const auto& own = halves_[index(segment.direction)];
  auto& other = halves_[index(opposite(segment.direction))];
  if (!segment.header.has(kAck) || !other.space.known()) return;
  // Windows are scaled if both SYNs said so.
  const std::uint64_t window = std::uint64_t{segment.header.window} << (other.scale ? own.scale.value_or(0) : 0U);
  const auto edge = unwrap(segment.header.acknowledgement, other.expected) + window;
  other.edge = std::max(other.edge.value_or(0), edge);
}

bool Inspector::past_window(const Half& half, std::uint64_t begin) const noexcept {
  if (!rules_.discard_past_window) return false;
  const auto most = rules_.window_most == InspectorRules::kUnlimited ? begin : half.expected + rules_.window_most;
  return begin > std::min(half.edge.value_or(begin), most);
}

/// Whether the segment was dropped for it.
bool Inspector::acknowledges_unseen(const Segment& segment, Output& out) {
  auto& other = halves_[index(opposite(segment.direction))];
  if (!segment.header.has(kAck) || !other.space.known() || rules_.ack_of_unseen == InspectorRules::Unseen::pass) {
    return false;
  }
  const auto acknowledged = unwrap(segment.header.acknowledgement, other.expected);
  if (acknowledged <= other.expected) return false;
  if (rules_.ack_of_unseen == InspectorRules::Unseen::skip) {
    out.decisions.push_back({"skip", "acknowledged without having been seen", opposite(segment.direction),
                             static_cast<std::uint32_t>(other.expected), acknowledged - other.expected});
    other.expected = acknowledged;
    advance(other, opposite(segment.direction), Instant{}, out);
    return false;
  }
  out.decisions.push_back({"drop", "acknowledges what was not seen", segment.direction, segment.header.acknowledgement,
                           acknowledged - other.expected});
  return true;
}

void Inspector::in_order(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out) {
  const auto end = begin + sequence_octets(segment);
  if (!consistent(half, begin, segment, out)) return;
  if (end <= half.expected && rules_.discard_old) {
    out.decisions.push_back(
        {"drop", "seen before", segment.direction, segment.header.sequence, segment.payload.size()});
    return;
  }
  const auto sent = Segment{segment.direction, segment.header, {}, {}};
  forward(half, begin, std::move(segment), now, out);
  if (end > half.expected) {
    half.expected = end;
    advance(half, sent.direction, now, out);
  }
  // A FIN is the receiver's own matter: nobody keeps it to send it again.
  if (rules_.ack_on_behalf && !sent.header.has(kFin)) acknowledge(half, sent, out);
}

void Inspector::past_gap(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out) {
  const auto direction = segment.direction;
  const auto octets = segment.payload.size();
  if (!half.gap_since) {
    half.gap_since = now;
    out.decisions.push_back({"gap_open", "a segment is missing", direction, static_cast<std::uint32_t>(half.expected),
                             begin - half.expected});
  }
  if (rules_.duplicate_acks) duplicate_ack(half, segment, out);
  switch (rules_.past_gap) {
    case InspectorRules::PastGap::discard:
      out.decisions.push_back({"drop", "past a hole", direction, segment.header.sequence, octets});
      return;
    case InspectorRules::PastGap::hold:
      if (half.held.size() >= rules_.queue_segments) {
        out.decisions.push_back({"drop", "queue full", direction, segment.header.sequence, octets});
        return;
      }
      out.decisions.push_back({"hold", "past a hole", direction, segment.header.sequence, octets});
      half.held.emplace(begin, std::move(segment));
      break;
    case InspectorRules::PastGap::pass: {
      // Joined with what it touches, so that the map stays as small as there are holes.
      auto end = begin + sequence_octets(segment);
      auto at = half.passed.lower_bound(begin);
      if (at != half.passed.begin() && std::prev(at)->second >= begin) --at;
      auto first = begin;
      while (at != half.passed.end() && at->first <= end) {
        first = std::min(first, at->first);
        end = std::max(end, at->second);
        at = half.passed.erase(at);
      }
      half.passed[first] = end;
      if (!consistent(half, begin, segment, out)) return;
      forward(half, begin, std::move(segment), now, out);
      break;
    }
  }
  half.past_octets += octets;
  if (half.past_octets > rules_.queue_octets) {
    expire(half, direction, "too many octets past a hole", now, out);
  } else if (std::max(half.held.size(), half.passed.size()) > kPlacesMost) {
    expire(half, direction, "too many segments past a hole", now, out);
  }
}

/// After `expected` moved: what was held and joins on goes out, and the hole may be closed.
void Inspector::advance(Half& half, Direction direction, Instant now, Output& out) {
  while (!half.held.empty() && half.held.begin()->first <= half.expected) {
    auto segment = std::move(half.held.begin()->second);
    const auto begin = half.held.begin()->first;
    half.held.erase(half.held.begin());
    if (!consistent(half, begin, segment, out)) continue;
    half.expected = std::max(half.expected, begin + sequence_octets(segment));
    forward(half, begin, std::move(segment), now, out);
  }
  while (!half.passed.empty() && half.passed.begin()->first <= half.expected) {
    half.expected = std::max(half.expected, half.passed.begin()->second);
    half.passed.erase(half.passed.begin());
  }
  if (!half.gap_since) return;
  if (half.held.empty() && half.passed.empty()) {
    out.decisions.push_back(
        {"gap_fill", "the hole was filled", direction, static_cast<std::uint32_t>(half.expected), half.past_octets});
    half.gap_since.reset();
    half.past_octets = 0;
  } else if (now != Instant{}) {
    half.gap_since = now;  // another hole further on, with its own time
    half.past_octets = 0;
    for (const auto& [at, segment] : half.held) half.past_octets += segment.payload.size();
    for (const auto& [from, to] : half.passed) half.past_octets += to - from;
  }
}

/// An ACK to the sender of `to`, as if the receiver had sent it. @param echo  of the sender's timestamps
Segment Inspector::answer(const Half& half, const Segment& to, std::uint32_t echo) const {
  Segment ack;
  ack.direction = opposite(to.direction);
  ack.header.source_port = to.header.destination_port;
  ack.header.destination_port = to.header.source_port;
  ack.header.flags = kAck;
  ack.header.sequence = to.header.acknowledgement;
  ack.header.acknowledgement = static_cast<std::uint32_t>(half.expected);
  ack.header.window = halves_[index(ack.direction)].latest.header.window;
  if (const auto& theirs = to.header.options.timestamps) ack.header.options.timestamps = Timestamps{theirs->echo, echo};
  return ack;
}

/// RFC 7323 §4.3: it echoes what the receiver echoed last, since nothing has joined on since.
void Inspector::duplicate_ack(const Half& half, const Segment& segment, Output& out) {
  const auto& other = halves_[index(opposite(segment.direction))].latest.header;
  out.decisions.push_back(
      {"dupack", "asks for what is missing", segment.direction, static_cast<std::uint32_t>(half.expected), 0});
  out.forward.push_back(answer(half, segment, other.options.timestamps.value_or(Timestamps{}).echo));
}

// ---------------------------------------------------------------- on behalf of the receiver

void Inspector::acknowledge(Half& half, const Segment& segment, Output& out) {
  auto ack = answer(half, segment, segment.header.options.timestamps.value_or(Timestamps{}).value);
  out.decisions.push_back(
      {"ack", "on behalf of the receiver", segment.direction, ack.header.acknowledgement, half.expected - half.told});
  half.told = half.expected;
  half.told_window = ack.header.window;
  out.forward.push_back(std::move(ack));
}

bool Inspector::behind_what_was_told(Segment& segment, Instant now, Output& out) {
  const auto direction = opposite(segment.direction);  // of the data that is acknowledged
  auto& half = halves_[index(direction)];
  auto& header = segment.header;
  if (!header.has(kAck) || half.told == 0) return false;
  const auto upto = unwrap(header.acknowledgement, half.told);
  const bool pure = sequence_octets(segment) == 0;
  if (half.keeper.acknowledged(upto, pure, now)) send_again(half, direction, out);
  if (upto > half.told) return false;
  if (pure && header.window == half.told_window) return true;  // the sender knows all that
  half.told_window = header.window;
  header.acknowledgement = static_cast<std::uint32_t>(half.told);
  header.options.sack = {};
  header.options.sack_count = 0;
  segment.changed = true;
  return false;
}

/// The oldest of what was acknowledged on the receiver's behalf, to the receiver.
void Inspector::send_again(const Half& half, Direction direction, Output& out) {
  const auto oldest = half.keeper.oldest();
  if (!oldest) return;
  Segment segment;
  segment.direction = direction;
  segment.header = half.latest.header;
  segment.header.flags = kAck | kPsh;
  segment.header.sequence = static_cast<std::uint32_t>(oldest->begin);
  segment.header.options.sack = {};
  segment.header.options.sack_count = 0;
  segment.payload = to_bytes(oldest->payload);
  out.decisions.push_back({"resend", "acknowledged on behalf of the receiver, who misses it", direction,
                           segment.header.sequence, segment.payload.size()});
  out.forward.push_back(std::move(segment));
}

// ---------------------------------------------------------------- first copies

void Inspector::forward(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out) {
  if (rules_.inconsistent != InspectorRules::Inconsistent::ignore) remember(half, begin, segment.payload);
  if (rules_.ack_on_behalf) half.keeper.keep(begin, segment.payload, now);
  out.forward.push_back(std::move(segment));
}

/// False: the segment is dropped for what it says otherwise than its first copy.
bool Inspector::consistent(Half& half, std::uint64_t begin, Segment& segment, Output& out) {
  if (rules_.inconsistent == InspectorRules::Inconsistent::ignore) return true;
  auto corrected = segment.payload;
  if (!differs(half, begin, segment.payload, corrected)) return true;
  const auto& header = segment.header;
  if (rules_.inconsistent == InspectorRules::Inconsistent::discard) {
    out.decisions.push_back(
        {"drop", "retransmission with other octets", segment.direction, header.sequence, segment.payload.size()});
    return false;
  }
  out.decisions.push_back(
      {"rewrite", "the first copy counts", segment.direction, header.sequence, segment.payload.size()});
  segment.payload = std::move(corrected);
  segment.changed = true;
  return true;
}

bool Inspector::differs(const Half& half, std::uint64_t begin, ByteView payload, ByteSpan corrected) const {
  bool other = false;
  auto at = half.copies.upper_bound(begin);
  if (at != half.copies.begin()) --at;
  for (; at != half.copies.end() && at->first < begin + payload.size(); ++at) {
    const auto from = std::max(at->first, begin);
    const auto to = std::min(at->first + at->second.size(), begin + payload.size());
    if (from >= to) continue;
    const auto octets = static_cast<std::ptrdiff_t>(to - from);
    const auto mine = static_cast<std::ptrdiff_t>(from - begin);
    const auto first = at->second.begin() + static_cast<std::ptrdiff_t>(from - at->first);
    if (std::equal(first, first + octets, payload.begin() + mine)) continue;
    other = true;
    std::copy_n(first, octets, corrected.begin() + mine);
  }
  return other;
}

void Inspector::remember(Half& half, std::uint64_t begin, ByteView payload) {
  if (payload.empty() || !half.copies.emplace(begin, to_bytes(payload)).second) return;
  half.copied += payload.size();
  while (half.copied > kCopiedOctets) {
    half.copied -= half.copies.begin()->second.size();
    half.copies.erase(half.copies.begin());
  }
}

std::optional<Instant> Inspector::next_deadline() const {
  std::optional<Instant> next;
  if (dead_) return next;
  for (const auto& half : halves_) {
    if (half.gap_since) next = earliest(next, *half.gap_since + rules_.gap_timeout);
    next = earliest(next, half.keeper.next_deadline());
  }
  return next;
}

void Inspector::handle_deadline(Instant now, Output& out) {
  for (const auto direction : {Direction::outward, Direction::inward}) {
    auto& half = halves_[index(direction)];
    if (!dead_ && half.gap_since && now >= *half.gap_since + rules_.gap_timeout) {
      expire(half, direction, "the hole was not filled in time", now, out);
    }
    if (!dead_ && half.keeper.handle_deadline(now)) send_again(half, direction, out);
  }
}

std::size_t Inspector::kept_octets() const noexcept {
  std::size_t sum = 0;
  for (const auto& half : halves_) {
    if (rules_.past_gap == InspectorRules::PastGap::hold) sum += half.past_octets;
    sum += half.copied + half.keeper.octets() + half.held.size() * sizeof(Segment);
  }
  return sum;
}

void Inspector::expire(Half& half, Direction direction, std::string_view why, Instant now, Output& out) {
  const auto at = static_cast<std::uint32_t>(half.expected);
  switch (rules_.expiry) {
    case InspectorRules::Expiry::drop_queue:
      out.decisions.push_back({"drop_queue", why, direction, at, half.held.size()});
      half.held.clear();
      half.past_octets = 0;
      half.gap_since = now;  // the hole is still there
      return;
    case InspectorRules::Expiry::skip: {
      const auto next = half.held.empty() ? (half.passed.empty() ? half.expected : half.passed.begin()->first)
                                          : half.held.begin()->first;
      out.decisions.push_back({"skip", why, direction, at, next - half.expected});
      half.expected = next;
      half.gap_since = now;
      half.past_octets = 0;
      advance(half, direction, now, out);
      if (half.held.empty() && half.passed.empty()) half.gap_since.reset();
      return;
    }
    case InspectorRules::Expiry::reset: {
      auto onward = half.latest;
      onward.header.sequence = at;
      out.forward.push_back(reset_onward(onward));
      out.forward.push_back(reset_back(half.latest));
      [[fallthrough]];
    }
    case InspectorRules::Expiry::silence:
      dead_ = true;
      out.decisions.push_back({"kill", why, direction, at, half.past_octets});
      halves_ = {};
      return;
  }
}

}  // namespace switchback::middlebox
