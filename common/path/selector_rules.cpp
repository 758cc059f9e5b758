// The rules of the selector. Each looks at what is, not at what happened: an input changes facts, then every rule runs,
// so that no order of inputs can leave something undone.
#include <algorithm>
#include <tuple>

#include "common/path/selector.h"

namespace switchback::path {
namespace {

std::size_t index_of(Signal signal) { return static_cast<std::size_t>(signal); }

}  // namespace

void Selector::work(Instant now) {
  if (state_.any_of(SelectorState::idle, SelectorState::stopped)) return;
  for (auto& path : paths_) {
    if (!path.state.is(PathState::gone)) expire(path, now);
  }
  busy_ = busy(now);
  if (auto* path = carrier(); path != nullptr) watch(*path, now);
  authenticate(now);
  choose(now);
  fulfil(now);
  climb(now);
  race(now);
  give_up_or_retry(now);
  send_probes(now);
  std::erase_if(paths_, [](const Path& path) { return path.state.is(PathState::gone); });
}

// ---------------------------------------------------------------------------------------------- what time brings

void Selector::expire(Path& path, Instant now) {
  const auto& times = config_.timings;
  const auto wait = patience(path);
  for (auto& probe : path.probes) {
    if (probe.state != SentProbe::waiting || now < probe.at + wait) continue;
    probe.state = SentProbe::overdue;  // an answer is still welcome
    ++path.missed;
    ++path.signals[index_of(Signal::probe_missing)].total;
    if (path.state.any_of(PathState::active, PathState::standby) && path.next_probe) {
      path.next_probe = std::min(*path.next_probe, now);
    }
  }
  switch (path.state.get()) {
    case PathState::opening:
      if (now >= path.since + times.open_timeout) lose(path, EventKind::failed, Reason::timeout, now);
      break;
    case PathState::answered:
      if (authenticating_ == path.id && now >= authenticate_until()) {
        lose(path, EventKind::failed, Reason::timeout, now);
      }
      break;
    case PathState::validating:
      if (now >= path.since + validate_timeout(path)) lose(path, EventKind::failed, Reason::unanswered, now);
      break;
    case PathState::standby:
      if (path.missed >= threshold(Signal::probe_missing).count) {
        lose(path, EventKind::failed, Reason::unanswered, now);
      }
      break;
    case PathState::active: {
      auto& entry = entries_[path.candidate];
      if (entry.stalls != 0 && now >= path.since + times.forgive_after) entry.stalls = 0;
      break;
    }
    case PathState::grace:
      if (now >= path.since + times.grace) lose(path, EventKind::closed, Reason::grace_over, now);
      break;
    default: break;
  }
}

/// Silence and missing probes make the path in use suspect; after the time for verification they decide.
void Selector::watch(Path& path, Instant now) {
  if (path.state.is(PathState::active)) {
    Figures figures = figures_of(path);
    const auto limit = silence_limit(path);
    if (path.unconfirmed_since && now >= *path.unconfirmed_since + limit) {
      auto& window = path.signals[index_of(Signal::report_missing)];
      window.count = 1;
      ++window.total;
      figures.count = 1;
      figures.threshold = threshold(Signal::report_missing).count;
      figures.quiet = now - *path.unconfirmed_since;
      figures.limit = limit;
      return suspect(path, Signal::report_missing, figures, now);
    }
    if (path.missed >= threshold(Signal::probe_missing).count) {
      path.signals[index_of(Signal::probe_missing)].count = path.missed;
      figures.count = path.missed;
      figures.threshold = threshold(Signal::probe_missing).count;
      suspect(path, Signal::probe_missing, figures, now);
    }
    return;
  }
  if (path.state.is(PathState::suspect) && path.verdict_at && now >= *path.verdict_at) stall(path, now);
}

// ---------------------------------------------------------------------------------------------- choosing

/// Of the paths that answered, the best one carries IKE_AUTH.
void Selector::authenticate(Instant now) {
  if (authenticated_ || authenticating_) return;
  Path* best = nullptr;
  for (auto& path : paths_) {
    if (path.state.is(PathState::answered) && (best == nullptr || rank(path) < rank(*best))) best = &path;
  }
  if (best == nullptr) return;
  authenticating_ = best->id;
  authenticate_since_ = now;
  actions_.push_back(Authenticate{best->id});
}

/// Which path carries data, and which one twins it.
void Selector::choose(Instant now) {
  auto* carrying = carrier();
  if (carrying != nullptr && carrying->state.is(PathState::active)) {
    held_ = false;
    if (twin_) stop_twin(now);
    return;
  }
  const auto* best = best_standby(false);
  auto* twin = twin_ ? find(*twin_) : nullptr;
  auto* standby = twin != nullptr && twin->state.is(PathState::standby) ? twin
                  : best != nullptr                                     ? find(best->id)
                                                                        : nullptr;
  if (standby == nullptr) held_ = false;
  if (carrying != nullptr) {
    // Data goes out twice before anything is proven: first on whatever is open, then on what is validated.
    if (twin != nullptr && standby != nullptr && twin != standby) {
      stop_twin(now);
      twin = nullptr;
    }
    auto* beside = standby;
    for (auto& path : paths_) {
      if (beside == nullptr && path.state.is(PathState::validating)) beside = &path;
    }
    const bool moves_next = standby != nullptr && carrying->state.is(PathState::stalled);
    if (twin == nullptr && beside != nullptr && !moves_next) start_twin(*beside, now);
    if (!moves_next) return;
  }
  if (standby == nullptr) return;
  if (const auto wait = head_start_until(); wait && now < *wait) return;
  const auto allowed_at = move_allowed_at();
  if (carrying == nullptr || !allowed_at || now >= *allowed_at) {
    return move_to(*standby, carrying == nullptr ? Reason::start : Reason::stall, now);
  }
  if (!held_) record(*standby, EventKind::held, now, Reason::stall, figures_of(*carrying), carrying->suspicion);
  held_ = true;
  if (!twin_) start_twin(*standby, now);
  if (state_.is(SelectorState::outage)) enter(SelectorState::doubting);
}

/// At the start a better path that is open already has a moment to be validated too: the one with the shortest way
/// would win otherwise, and the session move up soon after. Nothing if there is nothing to wait for.
std::optional<Instant> Selector::head_start_until() const noexcept {
  const auto* standby = best_standby(false);
  if (!state_.is(SelectorState::racing) || carrier() != nullptr || standby == nullptr) return std::nullopt;
  std::optional<Instant> until;
  for (const auto& path : paths_) {
    if (!path.state.is(PathState::validating) || rank(path) >= rank(*standby)) continue;
    until = std::max(until.value_or(Instant{}), path.since + config_.timings.head_start);
  }
  return until;
}

/// What the user asked for: opened beside the path in use, and moved to when it is validated.
void Selector::fulfil(Instant now) {
  if (!request_ || !authenticated_) {
    if (request_ && now >= request_->until) decline(now);
    return;
  }
  auto* active = carrier();
  const bool calm = active != nullptr && active->state.is(PathState::active);
  if (calm && requested(*active)) {
    preferred_ = request_->transport;
    request_.reset();
    return;
  }
  for (auto& path : paths_) {
    if (!calm || !path.state.is(PathState::standby) || !requested(path) || path.missed != 0) continue;
    preferred_ = request_->transport;
    request_.reset();
    return move_to(path, Reason::requested, now);
  }
  bool tried = false;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].candidate.transport != request_->transport) continue;
    const bool queued = std::find(queue_.begin(), queue_.end(), i) != queue_.end();
    if (calm && !request_->begun && !queued && usable(entries_[i]) && !being_tried(i, true)) {
      open(i, Reason::requested, now);
    }
    tried = tried || queued || being_tried(i, true);
  }
  if (calm) request_->begun = true;  // in need other things come first
  if ((calm && !tried) || now >= request_->until) decline(now);
}

void Selector::decline(Instant now) {
  Event event;
  event.at = now;
  event.kind = EventKind::declined;
  event.candidate.transport = request_->transport;
  event.reason = Reason::requested;
  events_.push_back(event);
  log_.add(event);
  request_.reset();
  for (auto& path : paths_) {
    const bool open = path.tried() || path.state.is(PathState::standby);
    if (open && path.reason == Reason::requested && twin_ != path.id) {
      lose(path, EventKind::closed, Reason::superseded, now);
    }
  }
}

/// Upwards: tries better transports one at a time, and moves when one has been stable for long enough.
void Selector::climb(Instant now) {
  auto* active = carrier();
  if (!state_.is(SelectorState::settled) || active == nullptr || !active->state.is(PathState::active)) return;
  if (const auto* better = best_standby(true); better != nullptr && better->missed == 0 && now >= up_at(*better)) {
    return move_to(*find(better->id), Reason::better_transport, now);
  }
  if (const auto next = next_to_climb(*active); next && now >= climb_at(entries_[*next])) {
    open(*next, Reason::better_transport, now);
  }
}

/// When a better path may take over, if it goes on answering.
Instant Selector::up_at(const Path& better) const noexcept {
  auto at = better.since + config_.timings.stable_before_up;
  if (last_move_) at = std::max(at, *last_move_ + config_.timings.dwell_before_up);
  if (const auto allowed_at = move_allowed_at()) at = std::max(at, *allowed_at);
  return at;
}

/// When a candidate may be tried again in the background.
Instant Selector::climb_at(const Entry& entry) const noexcept {
  Instant at{};
  if (entry.failed_at) {
    const auto most = busy_ ? config_.timings.retry_busy : config_.timings.retry_last;
    at = *entry.failed_at + std::min(entry.retry_interval, most);
  }
  if (entry.left_alone_until) at = std::max(at, *entry.left_alone_until);
  return at;
}

/// The candidate to try next: better than what is in use and than what is warming up already; of several, the one whose
/// time comes first. Nothing while another is being tried.
std::optional<std::size_t> Selector::next_to_climb(const Path& active) const noexcept {
  auto limit = rank(active);
  for (const auto& path : paths_) {
    if (path.tried()) return std::nullopt;
    if (path.state.is(PathState::standby)) limit = std::min(limit, rank(path));
  }
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!usable(entries_[i]) || rank(entries_[i]) >= limit) continue;
    if (!found || climb_at(entries_[i]) < climb_at(entries_[*found])) found = i;
  }
  return found;
}

void Selector::give_up_or_retry(Instant now) {
  const auto* carrying = carrier();
  const bool carried = carrying != nullptr && !carrying->state.is(PathState::stalled);
  if (state_.any_of(SelectorState::racing, SelectorState::doubting) && !carried && nothing_answers()) {
    enter(SelectorState::outage);
    // Without a session the wait counts from the start: nobody sits before it for hours.
    if (carrying != nullptr) outage_since_ = now;
    for (auto& entry : entries_) entry.outage_pause = config_.timings.outage_retry_first;
    Event event;
    event.at = now;
    event.kind = EventKind::outage;
    if (carrying != nullptr) {
      event.path = carrying->id;
      event.candidate = entries_[carrying->candidate].candidate;
      event.signal = carrying->suspicion;
      event.figures = figures_of(*carrying);
    }
    events_.push_back(event);
    log_.add(event);
  }
  // Each candidate has its own pause: one that takes its time to fail does not keep the others waiting.
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!to_be_retried(i) || now < outage_retry_at(entries_[i])) continue;
    queue_.push_back(i);
    if (!next_start_) next_start_ = now;
  }
  if (!state_.any_of(SelectorState::racing, SelectorState::outage)) return;
  if (state_.is(SelectorState::outage)) {
    race_reason_ = Reason::outage;
    race_stagger_ = config_.timings.hard_stagger;
  }
  race(now);
}

// ---------------------------------------------------------------------------------------------- trying

/// Queues every usable candidate that is not being tried, best first. Those left alone come last: in need they count
/// too. @param own_too  whether the transport in use may be opened a second time: a fresh flow helps where a device or
/// a NAT forgot the old one
void Selector::start_race(Instant now, bool own_too, Duration stagger) {
  race_stagger_ = stagger;
  const auto* carrying = carrier();
  const auto favourite = history_.last_good(config_.network);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!usable(entries_[i]) || being_tried(i, true)) continue;
    if (!own_too && carrying != nullptr && carrying->candidate == i) continue;
    order.push_back(i);
  }
  const auto key = [&](std::size_t index) {
    const auto& entry = entries_[index];
    const bool own = carrying != nullptr && carrying->candidate == index;
    const bool left_alone = entry.left_alone_until && now < *entry.left_alone_until;
    const bool favoured = favourite && favourite->transport == entry.candidate.transport;
    return std::make_tuple(own, left_alone, !favoured, rank(entry), entry.candidate.family != IpFamily::v6);
  };
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  queue_.assign(order.begin(), order.end());
  next_start_ = now;
}

void Selector::race(Instant now) {
  // Once a path is validated beside the one in doubt, what is no better than it would only be opened to be closed.
  if (const auto* standby = best_standby(false); standby != nullptr && state_.is(SelectorState::doubting)) {
    std::erase_if(queue_, [&](std::size_t index) {
      const auto& entry = entries_[index];
      return rank(entry) >= rank(*standby) && !(request_ && request_->transport == entry.candidate.transport);
    });
  }
  while (!queue_.empty() && next_start_ && now >= *next_start_) {
    const auto index = queue_.front();
    queue_.pop_front();
    if (!usable(entries_[index]) || being_tried(index, true)) continue;
    open(index, race_reason_, now);
    const bool sibling =
        !queue_.empty() && entries_[queue_.front()].candidate.transport == entries_[index].candidate.transport;
    next_start_ = now + (sibling ? config_.timings.family_stagger : race_stagger_);
  }
}

void Selector::open(std::size_t candidate, Reason reason, Instant now) {
  if (paths_.size() >= kMaxPaths) {
    entries_[candidate].failed_at = now;
    return;
  }
  auto& path = paths_.emplace_back();
  path.id = PathId{next_path_++};
  path.candidate = candidate;
  path.reason = reason;
  path.since = now;
  actions_.push_back(OpenPath{path.id, entries_[candidate].candidate});
  record(path, EventKind::tried, now, reason);
}

void Selector::validated(Path& path, Instant now) {
  auto figures = figures_of(path);
  enter(path, PathState::standby, now);
  record(path, EventKind::up, now, path.reason, figures);
}

/// A path that carries no data is of no use any more.
void Selector::lose(Path& path, EventKind kind, Reason reason, Instant now) {
  auto& entry = entries_[path.candidate];
  if (kind == EventKind::failed) {
    // What is tried in need says little about how often to try in calm.
    if (path.reason == Reason::better_transport && entry.failed_at) {
      entry.retry_interval = std::min(entry.retry_interval * 2, config_.timings.retry_last);
    }
    entry.failed_at = now;
    entry.outage_pause = std::min(entry.outage_pause * 2, config_.timings.outage_retry_last);
    if (!queue_.empty()) next_start_ = now;  // RFC 8305 §5: a failure starts the next attempt at once
  }
  record(path, kind, now, reason, figures_of(path));
  if (authenticating_ == path.id) authenticating_.reset();
  if (twin_ == path.id) stop_twin(now);
  enter(path, PathState::gone, now);
  actions_.push_back(ClosePath{path.id, reason});
}

void Selector::close_tried(Instant now, bool worse_only) {
  queue_.clear();
  next_start_.reset();
  const auto* carrying = carrier();
  for (auto& path : paths_) {
    if (!path.tried() && !path.state.is(PathState::standby)) continue;
    if (worse_only && carrying != nullptr && (rank(path) < rank(*carrying) || requested(path))) continue;
    lose(path, EventKind::closed, Reason::superseded, now);
  }
}

// ---------------------------------------------------------------------------------------------- doubting and moving

void Selector::raise(Path& path, Signal signal, std::uint32_t count, Instant now) {
  const auto& limit = threshold(signal);
  auto& window = path.signals[index_of(signal)];
  const bool first = window.total == 0;
  window.total += count;
  if (limit.within == Duration::zero() || signal == Signal::loss || now - window.begun > limit.within) {
    window.begun = now;
    window.count = 0;
  }
  window.count += std::min(count, std::uint32_t{1'000'000} - std::min(window.count, std::uint32_t{1'000'000}));
  if (window.count < limit.count) return;
  Figures figures = figures_of(path);
  figures.count = window.count;
  figures.threshold = limit.count;
  if (limit.verdict == Verdict::note) {
    if (first) record(path, EventKind::noted, now, Reason::none, figures, signal);
    return;
  }
  if (!path.state.is(PathState::active)) return;
  suspect(path, signal, figures, now);
  if (limit.verdict == Verdict::stalled) stall(path, now);
}

void Selector::suspect(Path& path, Signal signal, const Figures& figures, Instant now) {
  enter(path, PathState::suspect, now);
  path.suspicion = signal;
  path.ailing_since = path.unconfirmed_since.value_or(now);
  path.missed = 0;
  path.next_probe = path.dead ? std::nullopt : std::optional{now};
  // Long enough for several probes to come back: one that is lost or late must not decide.
  path.verdict_at = now + std::max(config_.timings.verify_floor, patience(path) + 3 * config_.timings.probe_again);
  record(path, EventKind::suspected, now, Reason::none, figures, signal);
  if (state_.is(SelectorState::settled)) enter(SelectorState::doubting);
  race_reason_ = Reason::stall;
  const bool hard = signal == Signal::reset || signal == Signal::fin || signal == Signal::unreachable ||
                    signal == Signal::transport_failed || signal == Signal::network_changed;
  start_race(now, false, hard ? config_.timings.hard_stagger : config_.timings.stall_stagger);
}

void Selector::clear(Path& path, Instant now) {
  record(path, EventKind::cleared, now, Reason::none, figures_of(path), path.suspicion);
  if (path.suspicion == Signal::loss) path.loss_out.reset();
  path.suspicion.reset();
  path.ailing_since.reset();
  path.verdict_at.reset();
  path.unconfirmed_since.reset();
  path.signals = [&] {
    auto signals = path.signals;
    for (auto& window : signals) window.count = 0;
    return signals;
  }();
  auto& entry = entries_[path.candidate];
  entry.left_alone_until.reset();
  enter(path, PathState::active, now);
  if (!state_.is(SelectorState::settled)) enter(SelectorState::settled);
  if (twin_) stop_twin(now);
  close_tried(now, true);
}

void Selector::stall(Path& path, Instant now) {
  const auto figures = figures_of(path);
  enter(path, PathState::stalled, now);
  record(path, EventKind::stalled, now, Reason::none, figures, path.suspicion);
  path.verdict_at.reset();
  path.unconfirmed_since.reset();
  if (preferred_ == entries_[path.candidate].candidate.transport) preferred_.reset();
  if (path.dead) path.next_probe.reset();
  // What helps where everything else is blocked and the device on the way forgot this flow: the same transport afresh.
  if (best_standby(false) == nullptr && usable(entries_[path.candidate]) && !being_tried(path.candidate, true)) {
    const bool queued = std::find(queue_.begin(), queue_.end(), path.candidate) != queue_.end();
    if (!queued) queue_.push_back(path.candidate);
    if (!next_start_) next_start_ = now;
  }
}

void Selector::move_to(Path& path, Reason reason, Instant now) {
  auto* from = carrier();
  record(path, EventKind::moved, now, reason);
  std::optional<PathId> left;
  if (from != nullptr) {
    left = from->id;
    auto& entry = entries_[from->candidate];
    // Where nothing worked, the transport is not to blame.
    if (from->state.is(PathState::stalled) && !state_.is(SelectorState::outage)) {
      const auto& times = config_.timings;
      const auto doublings = std::min(entry.stalls, std::uint32_t{8});
      entry.left_alone_until = now + std::min(times.leave_alone * (1U << doublings), times.leave_alone_last);
      ++entry.stalls;
    }
    from->next_probe.reset();
    enter(*from, PathState::grace, now);
  }
  enter(path, PathState::active, now);
  if (twin_) {
    actions_.push_back(StopTwin{*twin_});
    twin_.reset();
  }
  held_ = false;
  auto& entry = entries_[path.candidate];
  entry.left_alone_until.reset();
  entry.failed_at.reset();
  entry.retry_interval = config_.timings.retry_first;
  actions_.push_back(MoveTo{path.id, left});
  decide(now);
  if (left) {
    ++moves_;
    last_move_ = now;
    if (reason != Reason::requested) recent_moves_.push_back(now);  // the bound is about what it does by itself
    while (recent_moves_.size() > std::max(config_.timings.moves_most, 1U)) recent_moves_.pop_front();
  }
  history_.worked(config_.network, entry.candidate);
  if (!state_.is(SelectorState::settled)) enter(SelectorState::settled);
  close_tried(now, true);
}

/// Packets lost where the probes, which are small, come through.
void Selector::doubt_mtu(Path& path, const LossMeter& loss, Instant now) {
  if (!path.carries() || !doubts_mtu(loss)) return;
  if (path.mtu_doubted && now - *path.mtu_doubted < kMtuDoubtEvery) return;
  path.mtu_doubted = now;
  actions_.push_back(CheckMtu{path.id});
}

/// When the bound on moves allows another; nothing if it does now.
std::optional<Instant> Selector::move_allowed_at() const noexcept {
  if (recent_moves_.size() < std::max(config_.timings.moves_most, 1U)) return std::nullopt;
  return recent_moves_.front() + config_.timings.moves_period;
}

void Selector::start_twin(Path& path, Instant now) {
  twin_ = path.id;
  actions_.push_back(StartTwin{path.id});
  record(path, EventKind::twinned, now, Reason::none);
  decide(now);
}

void Selector::stop_twin(Instant now) {
  const auto id = *twin_;
  twin_.reset();
  actions_.push_back(StopTwin{id});
  if (const auto* path = find(id)) record(*path, EventKind::untwinned, now, Reason::none);
  decide(now);
}

/// The choice changed: the peer is told on the paths that it is about, at once and until it has heard.
void Selector::decide(Instant now) {
  ++decision_;
  for (auto& path : paths_) {
    const bool concerned = path.state.any_of(PathState::active, PathState::suspect) || twin_ == path.id;
    if (concerned && !path.dead) path.next_probe = now;
  }
}

// ---------------------------------------------------------------------------------------------- probes and states

Duration Selector::probe_interval(const Path& path, Instant now) const noexcept {
  const auto& times = config_.timings;
  const bool untold = path.told < decision_;
  switch (path.state.get()) {
    case PathState::validating: return path.probe_interval;
    case PathState::suspect: return times.probe_again;
    case PathState::standby: return twin_ == path.id && untold ? times.probe_again : times.probe_every;
    case PathState::stalled: return times.stalled_probe_every;
    case PathState::active: {
      if (untold || path.missed != 0) return times.probe_again;
      const bool idle = !path.last_data || now - *path.last_data > times.idle_after;
      return idle ? times.probe_idle_every : times.probe_every;
    }
    default: return times.probe_every;
  }
}

void Selector::send_probes(Instant now) {
  for (auto& path : paths_) {
    if (path.state.is(PathState::gone) || !path.next_probe || now < *path.next_probe) continue;
    auto& slot = path.probes[path.next_slot];
    path.next_slot = (path.next_slot + 1) % kProbesRemembered;
    slot = {next_probe_id_++, decision_, now, SentProbe::waiting, path.activity.sent_all};
    ++path.asked;
    ++path.asked_total;
    actions_.push_back(SendProbe{path.id, slot.id, claim_of(path)});
    path.next_probe = now + probe_interval(path, now);
    if (path.state.is(PathState::validating)) {
      path.probe_interval = std::min(path.probe_interval * 2, config_.timings.probe_every);
    }
  }
}

void Selector::enter(Path& path, PathState next, Instant now) {
  path.state.enter(next);
  path.since = now;
  path.asked = path.answers = 0;
  if (next == PathState::validating) {
    path.probe_interval = config_.timings.probe_again;
    path.next_probe = now;
  }
  if (next == PathState::active || next == PathState::standby) {
    path.missed = 0;
    path.unconfirmed_since.reset();
  }
}

void Selector::enter(SelectorState next) {
  if (state_.is(SelectorState::outage)) {  // over: what is better is tried again soon, whatever failed meanwhile
    for (auto& entry : entries_) entry.retry_interval = config_.timings.retry_first;
  }
  state_.enter(next);
}

bool Selector::being_tried(std::size_t candidate, bool standby_too) const noexcept {
  return std::any_of(paths_.begin(), paths_.end(), [&](const Path& path) {
    return path.candidate == candidate && (path.tried() || (standby_too && path.state.is(PathState::standby)));
  });
}

bool Selector::anything_tried() const noexcept {
  return !queue_.empty() || std::any_of(paths_.begin(), paths_.end(), [](const Path& path) {
    return path.tried() || path.state.is(PathState::standby);
  });
}

const Selector::Path* Selector::best_standby(bool better_only) const noexcept {
  const auto* carrying = carrier();
  const Path* best = nullptr;
  for (const auto& path : paths_) {
    if (!path.state.is(PathState::standby)) continue;
    if (better_only && carrying != nullptr && rank(path) >= rank(*carrying)) continue;
    if (best == nullptr || rank(path) < rank(*best)) best = &path;
  }
  return best;
}

}  // namespace switchback::path
