#include "transports/stream/frame_scanner.h"

#include <algorithm>
#include <cassert>

namespace switchback::transports::stream {
namespace {

/// Octets that must be there to compare with a mark: length, marker, first SPI.
constexpr std::size_t kIkeMarkBytes = kLengthBytes + kMarkerBytes + 8;
constexpr std::size_t kEspMarkBytes = kLengthBytes + 4;

/// The last octets of what was looked at may be the start of a mark.
constexpr std::size_t scanned_of(std::size_t size) noexcept { return size > kIkeMarkBytes ? size - kIkeMarkBytes : 0; }

template <class T>
void add_bounded(std::vector<T>& to, T value) {
  if (std::find(to.begin(), to.end(), value) != to.end()) return;
  if (to.size() == SessionMarks::kLimit) to.erase(to.begin());
  to.push_back(value);
}

}  // namespace

void SessionMarks::add(Spi spi) { add_bounded(esp_, spi.value); }
void SessionMarks::remove(Spi spi) noexcept { std::erase(esp_, spi.value); }
void SessionMarks::add(IkeSpi initiator) { add_bounded(ike_, initiator.value); }
void SessionMarks::remove(IkeSpi initiator) noexcept { std::erase(ike_, initiator.value); }

bool SessionMarks::matches(ByteView body) const noexcept {
  if (body.size() < 4) return false;
  const auto first = load_be<std::uint32_t>(body.data());
  if (first != 0) return std::find(esp_.begin(), esp_.end(), first) != esp_.end();
  if (body.size() < kMarkerBytes + 8) return false;
  return std::find(ike_.begin(), ike_.end(), load_be<std::uint64_t>(body.data() + kMarkerBytes)) != ike_.end();
}

FrameScanner::FrameScanner(bool expect_prefix, ScannerLimits limits) : limits_{limits}, expect_prefix_{expect_prefix} {
  Fragment start;
  start.anchor = Anchor::certain;
  insert(std::move(start));
}

std::size_t FrameScanner::find_from(std::uint64_t offset) const noexcept {
  const auto at = std::lower_bound(fragments_.begin(), fragments_.end(), offset,
                                   [](const Fragment& f, std::uint64_t value) { return f.begin < value; });
  return static_cast<std::size_t>(at - fragments_.begin());
}

void FrameScanner::insert(Fragment fragment) {
  const auto at = find_from(fragment.begin);
  if (at < fragments_.size() && fragments_[at].begin == fragment.begin) {
    // Two for one place, of which one only says that a frame starts here.
    auto& there = fragments_[at];
    const auto known = std::max(there.anchor, fragment.anchor);
    if (there.octets.empty()) {
      held_ += fragment.octets.size();
      there = std::move(fragment);
    }
    there.anchor = known;
    return;
  }
  held_ += fragment.octets.size();
  fragments_.insert(fragments_.begin() + static_cast<std::ptrdiff_t>(at), std::move(fragment));
}

void FrameScanner::erase(std::size_t index) noexcept {
  held_ -= fragments_[index].octets.size();
  fragments_.erase(fragments_.begin() + static_cast<std::ptrdiff_t>(index));
}

void FrameScanner::prune(std::size_t most_bytes, Instant now) noexcept {
  if (limits_.in_order) return;  // the receive window bounds what can be held
  for (std::size_t i = 0; i < fragments_.size();) {
    const bool over = held_ > most_bytes || fragments_.size() > limits_.fragments;
    if (!over && now - fragments_[i].since < limits_.age) {
      ++i;
      continue;
    }
    // The last empty fragment is where an ordered stream goes on, however long it is silent.
    if (i + 1 == fragments_.size() && fragments_[i].octets.empty()) break;
    counters_.forgotten_octets += fragments_[i].octets.size();
    erase(i);
  }
}

void FrameScanner::start() noexcept {
  ready_.clear();
  next_ready_ = 0;
  assembled_.clear();
}

void FrameScanner::give(std::uint64_t offset, ByteView octets, bool whole, std::size_t uncut_bytes,
                        const SessionMarks& marks, Instant now) {
  if (octets.empty() || !ok_) return;
  if (next_prune_ == Instant{} && !fragments_.empty()) fragments_.front().since = now;
  const auto most_bytes = marks.proven() ? limits_.bytes : std::min(limits_.bytes, limits_.unproven_bytes);
  if (now >= next_prune_ || held_ > most_bytes || fragments_.size() > limits_.fragments) {
    prune(most_bytes, now);
    next_prune_ = now + std::chrono::milliseconds{100};
  }
  if (limits_.in_order && held_ + octets.size() > limits_.bytes && find_from(offset) > 0) {
    // Only what continues the stream may exceed the bound: refusing it would stop the stream for good.
    const auto& before = fragments_[find_from(offset + 1) - 1];
    if (before.end() != offset || before.anchor != Anchor::certain) {
      counters_.forgotten_octets += octets.size();
      return;
    }
  }
  const auto end = offset + octets.size();
  // The fragment that these octets continue, and the one that they reach.
  std::optional<Fragment> before, after;
  auto at = find_from(offset + 1);
  if (at > 0 && fragments_[at - 1].end() == offset) {
    auto& candidate = fragments_[at - 1];
    if (candidate.octets.empty()) {
      before = candidate;
      erase(--at);
    } else if (candidate.anchor != Anchor::none && candidate.octets.size() >= kLengthBytes && !expect_prefix_ &&
               candidate.octets.size() + octets.size() < load_be<std::uint16_t>(candidate.octets.data()) &&
               (at == fragments_.size() || fragments_[at].begin != end)) {
      append(candidate.octets, octets);  // a long frame in many pieces: not worth a look before its end is there
      held_ += octets.size();
      candidate.since = now;
      return;
    } else if (candidate.anchor == Anchor::none && (at == fragments_.size() || fragments_[at].begin != end) &&
               (limits_.in_order || !continues_with_mark(candidate, octets, marks))) {
      // All of it is looked at and copied again only where that can tell something: who sends octets one by one behind
      // a gap must not be dear.
      append(candidate.octets, octets);
      held_ += octets.size();
      if (limits_.in_order) return;
      candidate.since = now;
      candidate.scanned = std::max(candidate.scanned, scanned_of(candidate.octets.size()));
      return;
    } else {
      before = std::move(candidate);
      held_ -= before->octets.size();
      fragments_.erase(fragments_.begin() + static_cast<std::ptrdiff_t>(--at));
    }
  }
  if (at < fragments_.size() && fragments_[at].begin == end) {
    after = std::move(fragments_[at]);
    held_ -= after->octets.size();
    fragments_.erase(fragments_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  const auto anchor = before ? before->anchor : Anchor::none;
  const auto cut = whole ? std::optional{uncut_bytes} : std::nullopt;
  const bool alone = (!before || before->octets.empty()) && (!after || after->octets.empty());
  if (alone) {
    parse(offset, octets, anchor, 0, {}, true, cut, marks, now);
    // What was known of the octets behind stays known, unless these end within a frame that reaches into them.
    if (after) {
      const auto next = find_from(end);
      const bool known = next < fragments_.size() && fragments_[next].begin == end;
      const bool reached = next > 0 && fragments_[next - 1].end() == end && !fragments_[next - 1].octets.empty();
      if (known) {
        fragments_[next].anchor = std::max(fragments_[next].anchor, after->anchor);
      } else if (!reached) {
        insert(std::move(*after));
      }
    }
    return;
  }
  const auto begin = before ? before->begin : offset;
  auto& run = assembled_.emplace_back(before ? std::move(before->octets) : Bytes{});
  append(run, octets);
  Known known;
  if (after) {
    if (after->anchor == Anchor::none) known = {run.size(), run.size() + after->scanned};
    append(run, after->octets);
  }
  parse(begin, run, anchor, before ? before->scanned : 0, known, false, after ? std::nullopt : cut, marks, now);
}

bool FrameScanner::looks_like_frames(ByteView run, bool one_segment, const SessionMarks& marks) noexcept {
  if (run.size() < kEspMarkBytes) return false;
  const std::size_t first = load_be<std::uint16_t>(run.data());
  if (first < kEspMarkBytes || first > limits_.maximum_frame_bytes) return false;
  if (marks.matches(run.subspan(kLengthBytes))) return true;
  // An SPI not known (yet): our peer ends its segments where frames end, so lengths that add up are good enough.
  if (!one_segment) return false;
  std::size_t at = 0;
  while (run.size() - at >= kEspMarkBytes) {
    ++counters_.lengths_added;
    const std::size_t length = load_be<std::uint16_t>(run.data() + at);
    if (length < kEspMarkBytes || length > run.size() - at) return false;
    at += length;
  }
  return at == run.size();
}

std::optional<std::size_t> FrameScanner::find_mark(ByteView run, std::size_t from,
                                                   const SessionMarks& marks) const noexcept {
  for (auto at = from; at + kEspMarkBytes <= run.size(); ++at) {
    const std::size_t length = load_be<std::uint16_t>(run.data() + at);
    if (length < kLengthBytes + kMarkerBytes + kIkeHeaderBytes || length > limits_.maximum_frame_bytes) continue;
    if (marks.matches(run.subspan(at + kLengthBytes))) return at;
  }
  return std::nullopt;
}

bool FrameScanner::continues_with_mark(const Fragment& fragment, ByteView octets, const SessionMarks& marks) const {
  const auto from = std::min(fragment.scanned, fragment.octets.size());
  auto run = to_bytes(ByteView{fragment.octets}.subspan(from));
  append(run, octets);
  return find_mark(run, 0, marks).has_value();
}

void FrameScanner::parse(std::uint64_t begin, ByteView run, Anchor anchor, std::size_t scanned, Known barren,
                         bool one_segment, std::optional<std::size_t> uncut_bytes, const SessionMarks& marks,
                         Instant now) {
  const auto search = [&](std::size_t from) -> std::optional<std::size_t> {
    if (from < barren.from) {
      // A mark that begins there may end within what is barren.
      const auto found = find_mark(run.first(std::min(run.size(), barren.from + kIkeMarkBytes)), from, marks);
      if (found) return found;
    }
    return find_mark(run, std::max(from, std::max(barren.from, barren.to)), marks);
  };
  const auto keep = [&](std::size_t from, std::size_t to, Anchor known, std::size_t seen) {
    Fragment rest;
    rest.begin = begin + from;
    rest.octets = to_bytes(run.subspan(from, to - from));
    rest.anchor = known;
    rest.scanned = seen;
    rest.since = now;
    insert(std::move(rest));
  };
  std::size_t at = 0;
  if (expect_prefix_ && begin == 0 && anchor == Anchor::certain) {
    const auto count = std::min(run.size(), kPrefix.size());
    if (!same_bytes(run.first(count), ByteView{kPrefix}.first(count))) {
      ok_ = false;
      return;
    }
    if (count < kPrefix.size()) return keep(0, run.size(), Anchor::certain, 0);
    expect_prefix_ = false;
    at = count;
  }
  if (anchor == Anchor::none) {
    if (limits_.in_order) return keep(0, run.size(), Anchor::none, 0);
    if (looks_like_frames(run, one_segment, marks)) anchor = Anchor::guessed;
  }
  std::size_t head = at;  // first octet of the part that is not parsed
  // Lengths from a frame on add up to the end of the segment, and so they do from each that follows: adding them up for
  // each anew would let a segment of tiny frames take as much time as hundreds of others.
  bool adds_up = false;
  while (true) {
    if (anchor == Anchor::none) {
      const auto found = search(std::max(at, scanned));
      if (!found) {
        // The last octets may be the start of a mark: they are looked at again with what follows.
        const auto seen = scanned_of(run.size());
        return keep(head, run.size(), Anchor::none, seen > head ? seen - head : 0);
      }
      ++counters_.resynchronised;
      if (*found > head) keep(head, *found, Anchor::none, *found - head);
      at = *found;
      anchor = Anchor::guessed;
    }
    const auto left = run.subspan(at);
    if (left.empty()) return keep(at, at, anchor, 0);
    if (left.size() < kLengthBytes) return keep(at, run.size(), anchor, 0);
    const std::size_t length = load_be<std::uint16_t>(left.data());
    const bool possible = length >= kLengthBytes && length <= limits_.maximum_frame_bytes;
    // A guess has to go on proving itself, or one false length would hold up all that follows.
    const bool known = anchor != Anchor::guessed || adds_up || left.size() < kEspMarkBytes ||
                       marks.matches(left.subspan(kLengthBytes));
    if (!known) adds_up = looks_like_frames(left, one_segment, marks);
    const bool doubtful =
        !known && !adds_up && !(left.size() < kIkeMarkBytes && load_be<std::uint32_t>(left.data() + kLengthBytes) == 0);
    if (!possible || doubtful) {
      ++counters_.desynchronised;
      if (limits_.in_order) {
        ok_ = false;  // RFC 9329 §3: a stream that lost its framing is over
        return;
      }
      anchor = Anchor::none;
      adds_up = false;
      head = at;
      scanned = at + 1;
      continue;
    }
    if (length > left.size()) {
      const bool sure = anchor == Anchor::certain || marks.matches(left.subspan(kLengthBytes));
      if (sure && uncut_bytes && length <= *uncut_bytes) ++counters_.cut_frames;
      return keep(at, run.size(), anchor, 0);
    }
    ready_.push_back(classify(left.subspan(kLengthBytes, length - kLengthBytes)));
    ++counters_.frames;
    at += length;
    head = at;
  }
}

std::optional<Frame> FrameScanner::poll_frame() noexcept {
  if (next_ready_ == ready_.size()) return std::nullopt;
  return ready_[next_ready_++];
}

}  // namespace switchback::transports::stream
