// Inputs, outputs and deadlines of the selector; its rules are in selector_rules.cpp.
#include "common/path/selector.h"

#include <algorithm>

namespace switchback::path {
namespace {

constexpr std::chrono::seconds kRequestTime{10};
constexpr std::size_t kMaxQueuedEvents = 256;  // a shell that does not drain them loses the oldest

std::size_t index_of(Signal signal) { return static_cast<std::size_t>(signal); }

}  // namespace

Selector::Selector(SelectorConfig config, History history)
    : config_{std::move(config)}, history_{std::move(history)}, next_probe_id_{config_.first_probe_id} {
  for (const auto& candidate : config_.candidates) {
    if (entries_.size() == kMaxCandidates) break;
    if (config_.forced && candidate.transport != *config_.forced) continue;
    const bool known =
        std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.candidate == candidate; });
    if (known) continue;
    Entry entry;
    entry.candidate = candidate;
    entry.rank = entries_.size();
    for (const auto& other : entries_) {  // the families of a transport share the rank of the first
      if (other.candidate.transport == candidate.transport) entry.rank = std::min(entry.rank, other.rank);
    }
    entry.retry_interval = config_.timings.retry_first;
    entry.outage_pause = config_.timings.outage_retry_first;
    entries_.push_back(entry);
  }
}

void Selector::handle_start(Instant now) {
  if (!state_.is(SelectorState::idle)) return;
  enter(SelectorState::racing);
  outage_since_ = now;
  race_reason_ = Reason::start;
  start_race(now, true, config_.timings.transport_stagger);
  work(now);
}

void Selector::handle_path_opened(PathId id, Instant now) {
  auto* path = find(id);
  if (path == nullptr || !path->state.is(PathState::opening)) return;
  record(*path, EventKind::opened, now, path->reason);
  path->opened_in = now - path->since;
  enter(*path, authenticated_ ? PathState::validating : PathState::answered, now);
  work(now);
}

void Selector::handle_path_failed(PathId id, Instant now) {
  auto* path = find(id);
  if (path == nullptr) return;
  if (path->carries()) {
    path->dead = true;
    path->next_probe.reset();
    if (path->state.is(PathState::active)) raise(*path, Signal::transport_failed, 1, now);
    if (path->state.is(PathState::suspect)) stall(*path, now);
  } else {
    lose(*path, path->state.is(PathState::grace) ? EventKind::closed : EventKind::failed, Reason::refused, now);
  }
  work(now);
}

void Selector::handle_authenticated(PathId id, Instant now) {
  if (authenticated_ || state_.is(SelectorState::stopped)) return;
  authenticated_ = true;
  authenticating_.reset();
  if (auto* path = find(id); path != nullptr && path->state.is(PathState::opening)) {
    enter(*path, PathState::answered, now);
  }
  for (auto& path : paths_) {
    if (path.state.is(PathState::answered)) enter(path, PathState::validating, now);
  }
  work(now);
}

void Selector::handle_probe_answer(PathId id, const ProbeAnswer& answer, Instant now) {
  auto* path = find(id);
  if (path == nullptr) return;
  const auto sent = std::find_if(path->probes.begin(), path->probes.end(), [&](const SentProbe& probe) {
    return probe.id == answer.id && probe.state != SentProbe::answered;
  });
  if (sent == path->probes.end()) return;
  sent->state = SentProbe::answered;
  path->rtt.sample(now - sent->at);
  if (sent->sent_all != 0 && answer.received_count != 0) {  // a standard peer counts nothing
    path->loss_probed.totals(sent->sent_all, answer.received_count, now);
    doubt_mtu(*path, path->loss_probed, now);
  }
  path->missed = 0;
  // In a row means after this one: what was asked before it was lost, or comes late.
  for (auto& probe : path->probes) {
    if (probe.state == SentProbe::waiting && probe.at < sent->at) probe.state = SentProbe::overdue;
  }
  path->told = std::max(path->told, sent->decision);
  ++path->answers_total;
  path->unconfirmed_since.reset();
  // Only what was asked in this state says something about it: an answer that was under way when a path was cut does
  // not clear the suspicion.
  if (sent->at >= path->since) ++path->answers;
  const auto needed = path->suspicion ? threshold(*path->suspicion).answers : 1U;
  switch (path->state.get()) {
    case PathState::validating: validated(*path, now); break;
    case PathState::suspect:
    case PathState::stalled:
      if (!path->dead && path->answers >= std::max(needed, 1U)) clear(*path, now);
      break;
    default: break;
  }
  if (path->told >= decision_ && path->next_probe) {  // whatever was urgent is answered
    path->next_probe = std::max(*path->next_probe, sent->at + probe_interval(*path, now));
  }
  work(now);
}

void Selector::handle_report(PathId id, const Report& report, std::uint64_t received_packets, Instant now) {
  auto* path = find(id);
  if (path == nullptr) return;
  path->loss_in.totals(report.sent_count, received_packets, now);
  path->loss_out.totals(report.peer_sent_count, report.received_then, now);
  if (report.received_count > path->reported) {  // both directions work: our packets came, and this says so
    path->reported = report.received_count;
    // But not those sent since: after a cut the last report still tells of what came before it.
    const Duration quiet = std::chrono::microseconds{report.quiet_us};
    if (path->unconfirmed_since && quiet > config_.timings.quiet_usual) {
      path->unconfirmed_since = std::max(*path->unconfirmed_since, now - quiet + config_.timings.quiet_usual);
    } else {
      path->unconfirmed_since.reset();
    }
  }
  doubt_mtu(*path, path->loss_out, now);
  const auto loss = path->loss_out.ratio();
  if (path->state.is(PathState::active) && loss && path->loss_out.sent() >= kLossPackets) {
    const auto percent = static_cast<std::uint32_t>(*loss * 100);
    if (percent >= threshold(Signal::loss).count) raise(*path, Signal::loss, percent, now);
  }
  work(now);
}

void Selector::handle_signal(PathId id, Signal signal, std::uint32_t count, Instant now) {
  auto* path = find(id);
  if (path == nullptr || count == 0) return;
  if (signal == Signal::transport_failed) return handle_path_failed(id, now);
  raise(*path, signal, count, now);
  work(now);
}

void Selector::handle_activity(PathId id, const Activity& activity, Instant now) {
  auto* path = find(id);
  if (path == nullptr) return;
  if (activity.sent_packets > path->activity.sent_packets) {
    const bool was_idle = !path->last_data || now - *path->last_data > config_.timings.idle_after;
    path->last_data = now;
    if (!path->unconfirmed_since) path->unconfirmed_since = now;
    // A path that has slept may have died meanwhile: ask at once instead of at the next idle probe.
    if (was_idle && path->state.is(PathState::active)) path->next_probe = now;
  }
  if (!config_.peer_reports && activity.received_packets > path->activity.received_packets) {
    path->unconfirmed_since.reset();
  }
  path->goodput.total(activity.received_octets, now);
  path->activity = activity;
  work(now);
}

void Selector::handle_network_changed(NetworkId network, bool v4, bool v6, Instant now) {
  if (state_.any_of(SelectorState::idle, SelectorState::stopped)) {
    config_.network = network;
    v4_ = v4;
    v6_ = v6;
    return;
  }
  config_.network = network;
  v4_ = v4;
  v6_ = v6;
  Event event;
  event.at = now;
  event.kind = EventKind::network;
  event.signal = Signal::network_changed;
  events_.push_back(event);
  log_.add(event);
  for (auto& entry : entries_) {  // what was learnt on another network says nothing here
    entry.stalls = 0;
    entry.unusable = false;
    entry.left_alone_until.reset();
    entry.failed_at.reset();
    entry.retry_interval = config_.timings.retry_first;
    entry.outage_pause = config_.timings.outage_retry_first;
  }
  close_tried(now, false);
  if (auto* path = carrier(); path != nullptr && path->state.is(PathState::active)) {
    raise(*path, Signal::network_changed, 1, now);
  }
  outage_since_ = now;
  start_race(now, true, config_.timings.hard_stagger);
  work(now);
}

void Selector::handle_offer(std::span<const TransportKind> offered, Instant now) {
  for (auto& entry : entries_) {
    entry.offered = std::find(offered.begin(), offered.end(), entry.candidate.transport) != offered.end();
  }
  std::erase_if(queue_, [&](std::size_t index) { return !usable(entries_[index]); });
  for (auto& path : paths_) {
    const bool open = path.tried() || path.state.is(PathState::standby);
    if (open && !entries_[path.candidate].offered) lose(path, EventKind::closed, Reason::withdrawn, now);
  }
  work(now);
}

void Selector::handle_unusable(TransportKind transport, Instant now) {
  for (auto& entry : entries_) entry.unusable = entry.unusable || entry.candidate.transport == transport;
  std::erase_if(queue_, [&](std::size_t index) { return !usable(entries_[index]); });
  for (auto& path : paths_) {
    const bool open = path.tried() || path.state.is(PathState::standby);
    const auto& entry = entries_[path.candidate];
    if (open && entry.candidate.transport == transport && authenticating_ != path.id) {
      lose(path, EventKind::closed, Reason::withdrawn, now);
    }
  }
  work(now);
}

void Selector::handle_request(TransportKind transport, Instant now) {
  if (state_.any_of(SelectorState::idle, SelectorState::stopped)) return;
  request_ = Request{transport, now + kRequestTime, false};
  work(now);
}

void Selector::handle_stop(Instant now) {
  if (state_.is(SelectorState::stopped)) return;
  queue_.clear();
  next_start_.reset();
  if (twin_) stop_twin(now);
  for (auto& path : paths_) {
    if (!path.state.is(PathState::gone)) lose(path, EventKind::closed, Reason::stopped, now);
  }
  enter(SelectorState::stopped);
  paths_.clear();
}

void Selector::handle_deadline(Instant now) { work(now); }

std::optional<Action> Selector::poll_action() {
  if (actions_.empty()) return std::nullopt;
  const auto action = actions_.front();
  actions_.pop_front();
  return action;
}

std::optional<Event> Selector::poll_event() {
  if (events_.empty()) return std::nullopt;
  const auto event = events_.front();
  events_.pop_front();
  return event;
}

std::optional<Instant> Selector::path_deadline(const Path& path) const {
  const auto& times = config_.timings;
  std::optional<Instant> soonest = path.next_probe;
  for (const auto& probe : path.probes) {
    if (probe.state == SentProbe::waiting) soonest = earliest(soonest, probe.at + patience(path));
  }
  switch (path.state.get()) {
    case PathState::opening: return earliest(soonest, path.since + times.open_timeout);
    case PathState::answered:
      if (authenticating_ == path.id) return earliest(soonest, authenticate_until());
      return soonest;
    case PathState::validating: return earliest(soonest, path.since + validate_timeout(path));
    case PathState::active:
      if (path.unconfirmed_since) soonest = earliest(soonest, *path.unconfirmed_since + silence_limit(path));
      if (entries_[path.candidate].stalls != 0) soonest = earliest(soonest, path.since + times.forgive_after);
      return soonest;
    case PathState::suspect: return earliest(soonest, path.verdict_at);
    case PathState::grace: return path.since + times.grace;
    default: return soonest;
  }
}

std::optional<Instant> Selector::next_deadline() const {
  if (state_.any_of(SelectorState::idle, SelectorState::stopped)) return std::nullopt;
  std::optional<Instant> soonest;
  for (const auto& path : paths_) soonest = earliest(soonest, path_deadline(path));
  if (!queue_.empty()) soonest = earliest(soonest, next_start_);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (to_be_retried(i)) soonest = earliest(soonest, outage_retry_at(entries_[i]));
  }
  if (request_) soonest = earliest(soonest, request_->until);
  soonest = earliest(soonest, head_start_until());
  if (held_) soonest = earliest(soonest, move_allowed_at());
  const auto* active = carrier();
  if (state_.is(SelectorState::settled) && active != nullptr) {
    if (const auto next = next_to_climb(*active)) soonest = earliest(soonest, climb_at(entries_[*next]));
    // One that misses answers waits for them, or for being given up.
    if (const auto* better = best_standby(true); better != nullptr && better->missed == 0) {
      soonest = earliest(soonest, up_at(*better));
    }
  }
  return soonest;
}

std::optional<PathId> Selector::active() const noexcept {
  const auto* path = carrier();
  if (path == nullptr) return std::nullopt;
  return path->id;
}

std::vector<PathStatus> Selector::paths() const {
  std::vector<PathStatus> all;
  for (const auto& path : paths_) {
    PathStatus status;
    status.path = path.id;
    status.candidate = entries_[path.candidate].candidate;
    status.state = path.state.get();
    status.twin = twin_ == path.id;
    status.srtt = path.rtt.srtt();
    status.rtt_variation = path.rtt.variation();
    status.loss_out = path.loss_out.ratio();
    status.loss_in = path.loss_in.ratio();
    status.goodput_in = path.goodput.octets_per_second();
    status.probes = path.asked_total;
    status.answers = path.answers_total;
    for (std::size_t i = 0; i < kSignals; ++i) status.signals[i] = path.signals[i].total;
    all.push_back(status);
  }
  return all;
}

void Selector::record(const Path& path, EventKind kind, Instant now, Reason reason, const Figures& figures,
                      std::optional<Signal> signal) {
  Event event;
  event.at = now;
  event.kind = kind;
  event.path = path.id;
  event.candidate = entries_[path.candidate].candidate;
  event.signal = signal;
  event.reason = reason;
  event.figures = figures;
  if (kind == EventKind::moved) {
    if (const auto* from = carrier(); from != nullptr && from != &path) {
      event.from = entries_[from->candidate].candidate;
      event.signal = from->suspicion;
      event.figures = figures_of(*from);
      if (from->ailing_since) event.figures.stalled = now - *from->ailing_since;
    }
  }
  if (events_.size() == kMaxQueuedEvents) events_.pop_front();
  events_.push_back(event);
  log_.add(event);
}

Selector::Path* Selector::find(PathId id) noexcept {
  const auto found = std::find_if(paths_.begin(), paths_.end(),
                                  [&](const Path& path) { return path.id == id && !path.state.is(PathState::gone); });
  return found == paths_.end() ? nullptr : &*found;
}

const Selector::Path* Selector::carrier() const noexcept {
  const auto found = std::find_if(paths_.begin(), paths_.end(), [](const Path& path) { return path.carries(); });
  return found == paths_.end() ? nullptr : &*found;
}

Selector::Path* Selector::carrier() noexcept {
  const auto found = std::find_if(paths_.begin(), paths_.end(), [](const Path& path) { return path.carries(); });
  return found == paths_.end() ? nullptr : &*found;
}

bool Selector::usable(const Entry& entry) const noexcept {
  return entry.offered && !entry.unusable && (entry.candidate.family == IpFamily::v6 ? v6_ : v4_);
}

/// A path on a transport that the peer does not offer any more is worse than everything, one that the user asked for is
/// better.
std::size_t Selector::rank(const Entry& entry) const noexcept {
  if (!entry.offered || entry.unusable) return kMaxCandidates + 1;
  return preferred_ == entry.candidate.transport ? 0 : entry.rank + 1;
}

/// Whether somebody waits for data to go through: then it is worth more packets to be quick.
bool Selector::busy(Instant now) const noexcept {
  const auto* path = carrier();
  if (path == nullptr) return now - outage_since_ < config_.timings.outage_patient;
  return path->last_data && now - *path->last_data <= config_.timings.idle_after;
}

Instant Selector::outage_retry_at(const Entry& entry) const noexcept {
  const auto& times = config_.timings;
  const auto most = busy_ ? times.outage_retry_busy : times.outage_retry_last;
  return entry.failed_at.value_or(outage_since_) + std::min(entry.outage_pause, most);
}

Instant Selector::authenticate_until() const noexcept {
  const auto& times = config_.timings;
  const Path* trying = nullptr;
  bool others = false;
  for (const auto& path : paths_) {
    if (path.id == authenticating_) trying = &path;
    others = others || (path.state.is(PathState::answered) && path.id != authenticating_);
  }
  if (!others || trying == nullptr) return authenticate_since_ + times.authenticate_timeout;
  return authenticate_since_ + std::clamp(trying->opened_in * 8, times.authenticate_least, times.authenticate_hurry);
}

/// Whether a candidate that is not being tried waits for its next time only.
bool Selector::to_be_retried(std::size_t candidate) const noexcept {
  const auto& entry = entries_[candidate];
  const bool round = state_.is(SelectorState::racing) && entry.failed_at;  // the others have their turn in the queue
  if (!round && !state_.is(SelectorState::outage)) return false;
  if (!usable(entry) || being_tried(candidate, true)) return false;
  return std::find(queue_.begin(), queue_.end(), candidate) == queue_.end();
}

/// At the start: whether nothing has come back from anywhere, though each candidate had its time.
bool Selector::nothing_answers() const noexcept {
  if (!state_.is(SelectorState::racing)) return !anything_tried();
  const bool hope = std::any_of(paths_.begin(), paths_.end(), [](const Path& path) {
    return path.state.any_of(PathState::answered, PathState::validating, PathState::standby);
  });
  return !hope && std::all_of(entries_.begin(), entries_.end(),
                              [&](const Entry& entry) { return entry.failed_at || !usable(entry); });
}

/// Shorter where the way is known to be short: a flow that a NAT forgot right after it opened is opened again soon.
Duration Selector::validate_timeout(const Path& path) const noexcept {
  const auto& times = config_.timings;
  const bool quick = path.opened_in > Duration::zero() && path.opened_in <= times.open_quick;
  return quick ? times.validate_hurry : times.validate_timeout;
}

Duration Selector::patience(const Path& path) const noexcept {
  return std::clamp(path.rtt.patience(), config_.timings.probe_patience_floor, config_.timings.patience_ceiling);
}

Duration Selector::silence_limit(const Path& path) const noexcept {
  const auto expected = config_.timings.report_every + path.rtt.patience();
  return std::clamp(expected, config_.timings.silence_floor, config_.timings.patience_ceiling);
}

Claim Selector::claim_of(const Path& path) const noexcept {
  if (path.carries()) return {decision_, Role::in_use};
  return {decision_, twin_ == path.id ? Role::twin : Role::standby};
}

Figures Selector::figures_of(const Path& path) const noexcept {
  Figures figures;
  if (path.suspicion) {
    figures.count = path.signals[index_of(*path.suspicion)].count;
    figures.threshold = threshold(*path.suspicion).count;
  }
  figures.probes = path.asked;
  figures.answers = path.answers;
  figures.srtt = path.rtt.srtt();
  figures.loss = path.loss_out.ratio();
  return figures;
}

}  // namespace switchback::path
