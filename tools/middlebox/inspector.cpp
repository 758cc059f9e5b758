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
    half.space.begin(header.sequence);
    half.expected = half.space.position(header.sequence) + 1;
    half.latest = {segment.direction, header, {}, {}};
    out.forward.push_back(std::move(segment));
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
  const auto begin = half.space.position(header.sequence);
  const auto octets = sequence_octets(segment);
  if (octets == 0) {
    out.forward.push_back(std::move(segment));
  } else if (begin <= half.expected) {
    in_order(half, begin, std::move(segment), now, out);
  } else {
    past_gap(half, begin, std::move(segment), now, out);
  }
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
  if (rules_.compare && differs(half, begin, segment.payload)) {
    out.decisions.push_back({"drop", "retransmission with other octets", segment.direction, segment.header.sequence,
                             segment.payload.size()});
    return;
  }
  if (end <= half.expected && rules_.discard_old) {
    out.decisions.push_back(
        {"drop", "seen before", segment.direction, segment.header.sequence, segment.payload.size()});
    return;
  }
  const auto direction = segment.direction;
  if (rules_.compare) remember(half, begin, segment.payload);
  out.forward.push_back(std::move(segment));
  if (end > half.expected) {
    half.expected = end;
    advance(half, direction, now, out);
  }
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
      if (rules_.compare) remember(half, begin, segment.payload);
      out.forward.push_back(std::move(segment));
      break;
    }
  }
  half.past_octets += octets;
  if (half.past_octets > rules_.queue_octets) expire(half, direction, "too many octets past a hole", now, out);
}

/// After `expected` moved: what was held and joins on goes out, and the hole may be closed.
void Inspector::advance(Half& half, Direction direction, Instant now, Output& out) {
  while (!half.held.empty() && half.held.begin()->first <= half.expected) {
    auto segment = std::move(half.held.begin()->second);
    const auto end = half.held.begin()->first + sequence_octets(segment);
    half.held.erase(half.held.begin());
    half.expected = std::max(half.expected, end);
    out.forward.push_back(std::move(segment));
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

void Inspector::duplicate_ack(const Half& half, const Segment& segment, Output& out) {
  const auto& other = halves_[index(opposite(segment.direction))].latest.header;
  Segment ack;
  ack.direction = opposite(segment.direction);
  ack.header.source_port = segment.header.destination_port;
  ack.header.destination_port = segment.header.source_port;
  ack.header.flags = kAck;
  ack.header.sequence = segment.header.acknowledgement;
  ack.header.acknowledgement = static_cast<std::uint32_t>(half.expected);
  ack.header.window = other.window;
  if (segment.header.options.timestamps) {
    ack.header.options.timestamps =
        Timestamps{segment.header.options.timestamps->echo, other.options.timestamps.value_or(Timestamps{}).echo};
  }
  out.decisions.push_back(
      {"dupack", "asks for what is missing", segment.direction, static_cast<std::uint32_t>(half.expected), 0});
  out.forward.push_back(std::move(ack));
}

bool Inspector::differs(const Half& half, std::uint64_t begin, ByteView payload) const {
  auto at = half.copies.upper_bound(begin);
  if (at != half.copies.begin()) --at;
  for (; at != half.copies.end() && at->first < begin + payload.size(); ++at) {
    const auto from = std::max(at->first, begin);
    const auto to = std::min(at->first + at->second.size(), begin + payload.size());
    if (from >= to) continue;
    const auto octets = static_cast<std::ptrdiff_t>(to - from);
    const auto mine = payload.begin() + static_cast<std::ptrdiff_t>(from - begin);
    if (!std::equal(mine, mine + octets, at->second.begin() + static_cast<std::ptrdiff_t>(from - at->first)))
      return true;
  }
  return false;
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
  }
  return next;
}

void Inspector::handle_deadline(Instant now, Output& out) {
  for (const auto direction : {Direction::outward, Direction::inward}) {
    auto& half = halves_[index(direction)];
    if (!dead_ && half.gap_since && now >= *half.gap_since + rules_.gap_timeout) {
      expire(half, direction, "the hole was not filled in time", now, out);
    }
  }
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
