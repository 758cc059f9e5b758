#include "client/locate_trail.h"

#include <algorithm>
#include <cmath>

#include "client/locate_statistics.h"

namespace switchback::client::locate {
namespace {

/// Answers short by less than this are left to the estimate, which knows that routers need not answer.
constexpr double kShort = 0.92;
/// How much slower than a limiter answers it is asked: its clock and ours differ, and others ask too.
constexpr double kMargin = 1.4;
/// A limiter lets some answers pass before it begins.
constexpr Duration kBucket = std::chrono::milliseconds{1000};
/// Asked so often without an answer, a router counts as silent.
constexpr std::uint32_t kSilentAfter = 12;

double seconds(Duration time) noexcept { return std::chrono::duration<double>(time).count(); }

}  // namespace

std::string_view to_string(HopKind kind) noexcept {
  switch (kind) {
    case HopKind::open: return "open";
    case HopKind::limited: return "limited";
    case HopKind::erratic: return "erratic";
    case HopKind::silent: return "silent";
  }
  return {};
}

Trail::Trail(std::uint8_t routers, TrailConfig config, Instant now) : config_{config} {
  const auto fair = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(routers / config.per_second));
  for (std::uint8_t i = 0; i < routers; ++i) {
    Hop hop;
    hop.limit = static_cast<std::uint8_t>(i + 1);
    hops_.push_back(hop);
    State state;
    state.every = std::max(config.fastest, fair);
    state.next = now + state.every * (i + 1) / routers;  // spread, not in bursts
    state.since = now;
    states_.push_back(state);
  }
}

std::optional<std::uint8_t> Trail::poll(Instant now) {
  std::size_t due = states_.size();
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (states_[i].next <= now && (due == states_.size() || states_[i].next < states_[due].next)) due = i;
  }
  if (due == states_.size()) return std::nullopt;
  auto& state = states_[due];
  // After a delay of ours nothing is made up for: that would be a burst.
  state.next = std::max(state.next + state.every, now + state.every / 2);
  return hops_[due].limit;
}

std::optional<Instant> Trail::next_deadline() const noexcept {
  std::optional<Instant> soonest;
  for (const auto& state : states_) {
    if (!soonest || state.next < *soonest) soonest = state.next;
  }
  return soonest;
}

void Trail::handle_outcome(std::uint8_t limit, std::uint32_t asked, std::uint32_t answered, Instant sent,
                           Instant /*now*/) {
  if (limit == 0 || limit > hops_.size()) return;
  auto& hop = hops_[limit - 1U];
  auto& state = states_[limit - 1U];
  hop.asked_in_all += asked;
  hop.answered_in_all += answered;
  if (sent < state.since) return;
  hop.asked += asked;
  hop.answered = std::min(hop.asked, hop.answered + answered);  // a late one may be of the pace before
  if (answered > 0 && hop.kind == HopKind::silent) hop.kind = HopKind::open;
  if (sent < state.since + kBucket) return;
  if (!state.late_since) state.late_since = sent;
  state.late_asked += asked;
  state.late_answered += answered;
}

void Trail::handle_identity(std::uint8_t limit, const IpAddress& address, Duration rtt) {
  if (limit == 0 || limit > hops_.size() || address.empty()) return;
  auto& hop = hops_[limit - 1U];
  if (!hop.address.empty() && hop.address != address) hop.several = true;
  hop.address = address;
  if (!hop.least_rtt || rtt < *hop.least_rtt) hop.least_rtt = rtt;
}

/// The share of answers that loss would leave: what comes from further off, or the whole way there and back, has to
/// pass here too.
double Trail::expected(std::size_t index, double survival) const noexcept {
  double most = survival;
  for (std::size_t i = index + 1; i < hops_.size(); ++i) {
    if (hops_[i].asked < config_.judge_asked) continue;
    most = std::max(most, wilson(hops_[i].answered, hops_[i].asked, k99).low);
  }
  return most;
}

void Trail::judge(double survival, Instant now) {
  for (std::size_t i = 0; i < hops_.size(); ++i) {
    auto& hop = hops_[i];
    auto& state = states_[i];
    if (hop.asked < config_.judge_asked || now - state.since < config_.judge_after) continue;
    if (hop.answered_in_all == 0) {
      if (hop.asked_in_all >= kSilentAfter && state.every < config_.silent_every) {
        state.every = config_.silent_every;
        state.next = now + state.every;
      }
      continue;
    }
    if (hop.asked < state.judged_asked + config_.judge_asked / 2) continue;
    state.judged_asked = hop.asked;
    // What a limiter's full bucket let through at first would hide it: the later part is judged where there is enough.
    const bool late = state.late_asked >= config_.judge_asked;
    const double answered = late ? state.late_answered : hop.answered;
    const double asked = late ? state.late_asked : hop.asked;
    if (wilson(answered, asked, k99).high >= kShort * expected(i, survival)) continue;
    if (state.slowed >= config_.slower_at_most) {
      hop.kind = HopKind::erratic;
      continue;
    }
    slow_down(i, now);
  }
}

/// Everything that it answered at a faster pace is forgotten: there the limiter decided.
void Trail::slow_down(std::size_t index, Instant now) {
  auto& hop = hops_[index];
  auto& state = states_[index];
  const bool late = state.late_answered > 0 && state.late_since && now - *state.late_since >= kBucket;
  const double time = seconds(now - (late ? *state.late_since : state.since));
  const double rate = std::max(late ? state.late_answered : hop.answered, 1U) / std::max(time, 0.1);
  const auto wanted = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(kMargin / rate));
  ++state.slowed;
  hop.answers_per_second = rate;
  hop.kind = HopKind::limited;
  hop.asked = hop.answered = 0;
  state.every = std::clamp(std::max(wanted, state.every * 3 / 2), config_.fastest, config_.slowest);
  state.next = now + state.every;  // its bucket fills meanwhile
  state.since = now;
  state.late_asked = state.late_answered = 0;
  state.late_since.reset();
  state.judged_asked = 0;
}

}  // namespace switchback::client::locate
