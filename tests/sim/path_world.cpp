#include "tests/sim/path_world.h"

#include <algorithm>
#include <cstdio>

namespace switchback::test {

using namespace path;
using namespace std::chrono_literals;

SelectorConfig PathWorld::default_config() {
  SelectorConfig config;
  for (const auto transport :
       {TransportKind::udp, TransportKind::esp, TransportKind::ctcp, TransportKind::tls, TransportKind::tcp}) {
    config.candidates.push_back({transport, IpFamily::v4});
  }
  config.network = NetworkId{7};
  return config;
}

SelectorConfig PathWorld::dual_config() {
  auto config = default_config();
  const auto v4 = config.candidates;
  config.candidates.clear();
  for (auto candidate : v4) {
    config.candidates.push_back(candidate);
    candidate.family = IpFamily::v6;
    config.candidates.push_back(candidate);
  }
  return config;
}

PathWorld::PathWorld(std::uint64_t seed, SelectorConfig config, History history)
    : random{seed}, selector{config, std::move(history)} {
  for (const auto& candidate : config.candidates) used_[index_of(candidate)] = true;
  for (auto& one : links_) {
    one.delay = std::chrono::milliseconds{1 + random.below(60)};
    one.working_since = clock.now();
  }
  for (std::size_t i = 0; i < kLinks; ++i) links_[i].routed = used_[i];
  last_out = last_in = clock.now();
}

void PathWorld::say(const std::string& what) const {
  std::printf("%9.3f %s\n", std::chrono::duration<double>(clock.now().time_since_epoch() % 10h).count(), what.c_str());
}

void PathWorld::start() {
  traffic_since_ = last_out = last_in = clock.now();
  selector.handle_start(clock.now());
  next_tick_ = clock.now() + kTick;
  settle();
}

void PathWorld::cut(TransportKind transport, bool out, bool in, bool says_so, std::optional<IpFamily> family) {
  if (trace) say("-- cut " + std::string{to_string(transport)} + (out ? " out" : "") + (in ? " in" : ""));
  for (const auto each : {IpFamily::v4, IpFamily::v6}) {
    if (family && *family != each) continue;
    auto& one = link(transport, each);
    if (out) one.up_out = false;
    if (in) one.up_in = false;
    one.refuses = says_so;
  }
  if (!says_so) return;
  std::vector<PathId> hit;
  for (const auto& [id, flow] : flows_) {
    if (flow.candidate.transport != transport || flow.closed) continue;
    if (!family || *family == flow.candidate.family) hit.push_back(id);
  }
  for (const auto id : hit) {
    selector.handle_signal(id, flows_[id].datagrams() ? Signal::unreachable : Signal::reset, 1, clock.now());
    settle();
  }
}

void PathWorld::heal(TransportKind transport) {
  if (trace) say("-- heal " + std::string{to_string(transport)});
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    change(link(transport, family), [](Link& one) {
      one.up_out = one.up_in = true;
      one.refuses = false;
      one.loss = 0;
    });
  }
}

void PathWorld::lossy(TransportKind transport, double loss) {
  if (trace) say("-- loss " + std::string{to_string(transport)} + ' ' + std::to_string(loss));
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    change(link(transport, family), [loss](Link& one) { one.loss = loss; });
  }
}

void PathWorld::change_network(bool v4, bool v6) {
  if (trace) say(std::string{"-- network with"} + (v4 ? " v4" : "") + (v6 ? " v6" : ""));
  for (auto& [id, flow] : flows_) flow.broken = true;
  for (std::size_t i = 0; i < kLinks; ++i) {
    change(links_[i], [&](Link& one) { one.routed = used_[i] && (i < kTransportKinds ? v4 : v6); });
    links_[i].working_since = clock.now();
  }
  selector.handle_network_changed(NetworkId{100 + random.below(3)}, v4, v6, clock.now());
  settle();
}

void PathWorld::offer(const std::vector<TransportKind>& kinds) {
  if (trace) say("-- offer of " + std::to_string(kinds.size()));
  for (std::size_t i = 0; i < kLinks; ++i) {
    const auto transport = TransportKind{static_cast<std::uint8_t>(i % kTransportKinds)};
    change(links_[i],
           [&](Link& one) { one.offered = std::find(kinds.begin(), kinds.end(), transport) != kinds.end(); });
  }
  selector.handle_offer(kinds, clock.now());
  settle();
}

void PathWorld::rebind_nat() {
  if (trace) say("-- NAT forgets");
  for (auto& [id, flow] : flows_) (flow.datagrams() ? flow.unmapped : flow.broken) = true;
}

void PathWorld::kill_active() {
  const auto active = selector.active();
  if (!active) return;
  const auto transport = flows_[*active].candidate.transport;
  if (transport != TransportKind::tls && transport != TransportKind::tcp) return;
  flows_[*active].broken = true;
  selector.handle_path_failed(*active, clock.now());
  settle();
}

bool PathWorld::any_works() const {
  return std::any_of(links_.begin(), links_.end(), [](const Link& one) { return one.works(); });
}

std::optional<TransportKind> PathWorld::active_transport() const {
  const auto active = selector.active();
  if (!active) return std::nullopt;
  return flows_.at(*active).candidate.transport;
}

/// Two states, of which one loses everything (Gilbert 1960).
bool PathWorld::loses(Link& one, bool out) {
  if (one.burst <= 1) return random.chance(one.loss);
  auto& losing = one.losing[out ? 0 : 1];
  losing = random.chance(losing ? 1 - 1 / one.burst : one.loss / (one.burst * (1 - one.loss)));
  return losing;
}

void PathWorld::send(bool out, PathId id, Kind kind, std::uint64_t number, Bytes body) {
  auto& flow = flows_[id];
  auto& one = links_[index_of(flow.candidate)];
  auto& side = out ? flow.client : flow.headend;
  if (kind == Kind::data || kind == Kind::control) ++side.totals.sent_packets;
  if (kind == Kind::data) ++side.data_sent;
  if (flow.closed || flow.broken) return;
  if (out && kind == Kind::open && one.refuses) {
    flying_.push({clock.now() + one.delay, order_++, false, id, Kind::refused, 0, {}});
    return;
  }
  if (out) flow.unmapped = flow.unmapped && !one.up_out;
  if (!out && flow.unmapped) return;
  if (!one.routed || (out ? !one.up_out : !one.up_in)) return;
  if (loses(one, out)) return;
  const auto jitter =
      one.jitter == Duration::zero()
          ? Duration::zero()
          : Duration{static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(one.jitter.count())))};
  flying_.push({clock.now() + one.delay + jitter, order_++, out, id, kind, number, std::move(body)});
}

void PathWorld::send_control(bool out, PathId id, const ControlMessage& message) {
  Bytes body;
  build_control(message, body);
  send(out, id, Kind::control, 0, std::move(body));
}

void PathWorld::tick() {
  ++ticks_;
  const auto now = clock.now();
  for (auto& [id, flow] : flows_) {
    if (flow.closed || flow.open) continue;
    if (ticks_ % 5 == 0) send(true, id, Kind::open);
  }
  if (authenticating_ && ticks_ % 10 == 0) send(true, *authenticating_, Kind::auth);
  if (traffic) {
    ++number_out_;
    ++number_in_;
    if (sending_) send(true, *sending_, Kind::data, number_out_);
    if (twin_) send(true, *twin_, Kind::data, number_out_);
    if (follower.in_use()) send(false, *follower.in_use(), Kind::data, number_in_);
    if (follower.twin()) send(false, *follower.twin(), Kind::data, number_in_);
  } else {
    traffic_since_ = now;
  }
  for (auto& [id, flow] : flows_) {
    for (const bool out : {true, false}) {
      auto& side = out ? flow.client : flow.headend;
      while (!flow.closed && flow.open) {
        const auto message = side.answerer.poll(side.totals, {}, now);
        if (!message) break;
        send_control(out, id, *message);
      }
    }
  }
  for (auto& [id, flow] : flows_) {
    if (flow.closed || !flow.open || !traffic) continue;
    const auto& totals = flow.client.totals;
    selector.handle_activity(
        id, {flow.client.data_sent, totals.received_packets, totals.received_octets, totals.sent_packets}, now);
  }
  check();
}

void PathWorld::control(bool at_headend, PathId id, Flow& flow, const ControlMessage& message) {
  const auto now = clock.now();
  auto& side = at_headend ? flow.headend : flow.client;
  if (const auto* probe = std::get_if<Probe>(&message); probe != nullptr && at_headend) {
    (void)follower.handle_claim(id, probe->claim);
  }
  const auto decision = at_headend ? follower.decision() : selector.decision();
  if (const auto reply = side.answerer.handle_message(message, side.totals, decision, now, now)) {
    send_control(!at_headend, id, *reply);
  }
  if (at_headend) return;
  if (const auto* answer = std::get_if<ProbeAnswer>(&message)) {
    selector.handle_probe_answer(id, *answer, now);
  } else if (const auto* report = std::get_if<Report>(&message)) {
    selector.handle_report(id, *report, side.totals.received_packets, now);
  }
}

void PathWorld::deliver(const Message& message) {
  auto& flow = flows_[message.path];
  if (flow.closed) return;
  const auto now = clock.now();
  auto& totals = (message.out ? flow.headend : flow.client).totals;
  if (message.kind == Kind::data || message.kind == Kind::control) {
    ++totals.received_packets;
    totals.last_in = now;
  }
  switch (message.kind) {
    case Kind::open: send(false, message.path, Kind::open_ok); break;
    case Kind::open_ok:
      if (flow.open) break;
      flow.open = true;
      selector.handle_path_opened(message.path, now);
      break;
    case Kind::refused:
      if (!flow.open) selector.handle_path_failed(message.path, now);
      break;
    case Kind::auth: send(false, message.path, Kind::auth_ok); break;
    case Kind::auth_ok:
      authenticating_.reset();
      authenticated_ = true;
      selector.handle_authenticated(message.path, now);
      break;
    case Kind::data:
      totals.received_octets += 1000;
      if (message.number > (message.out ? newest_out_ : newest_in_)) {
        (message.out ? newest_out_ : newest_in_) = message.number;
        (message.out ? last_out : last_in) = now;
      }
      break;
    case Kind::control: {
      const auto parsed = parse_control(message.body);
      if (!parsed) {
        broken = "a control message did not parse";
        return;
      }
      control(message.out, message.path, flow, *parsed);
      break;
    }
  }
}

void PathWorld::drain() {
  while (const auto action = selector.poll_action()) {
    if (const auto* open = std::get_if<OpenPath>(&*action)) {
      flows_[open->path].candidate = open->candidate;
      const bool datagrams = flows_[open->path].datagrams();
      if (authenticated_ && datagrams) {  // nothing to wait for but the probe
        flows_[open->path].open = true;
        selector.handle_path_opened(open->path, clock.now());
      } else {
        send(true, open->path, Kind::open);
      }
      if (!next_tick_) next_tick_ = clock.now() + kTick;
    } else if (const auto* close = std::get_if<ClosePath>(&*action)) {
      flows_[close->path].closed = true;
      follower.handle_closed(close->path);
      if (authenticating_ == close->path) authenticating_.reset();
      if (sending_ == close->path || twin_ == close->path) broken = "a path was closed that data goes on";
    } else if (const auto* auth = std::get_if<Authenticate>(&*action)) {
      authenticating_ = auth->path;
      send(true, auth->path, Kind::auth);
    } else if (const auto* probe = std::get_if<SendProbe>(&*action)) {
      if (!authenticated_) broken = "a probe before the session is authenticated";
      send_control(true, probe->path,
                   Probe{probe->id, 0, flows_[probe->path].client.totals.sent_packets, probe->claim});
    } else if (const auto* move = std::get_if<MoveTo>(&*action)) {
      sending_ = move->path;
    } else if (const auto* start = std::get_if<StartTwin>(&*action)) {
      if (twin_) broken = "two twins";
      twin_ = start->path;
      ++twins;
    } else if (const auto* stop = std::get_if<StopTwin>(&*action)) {
      if (twin_ != stop->path) broken = "a twin was stopped that was none";
      twin_.reset();
    }
  }
  while (const auto event = selector.poll_event()) {
    ++events;
    if (event->kind == EventKind::suspected) ++suspicions;
    if (event->kind == EventKind::moved && event->from) {
      moves.push_back(*event);
      if (event->reason != Reason::requested) move_times_.push_back(clock.now());
    }
    if (trace) say(describe(*event));
    if (describe(*event).empty()) broken = "an event without a text";
  }
}

/// After an input: everything is drained, and nothing that is due is left.
void PathWorld::settle() {
  drain();
  const auto deadline = selector.next_deadline();
  if (deadline && *deadline <= clock.now()) {
    selector.handle_deadline(clock.now());
    drain();
    const auto again = selector.next_deadline();
    if (again && *again <= clock.now()) broken = "a deadline that is never dealt with";
  }
}

void PathWorld::check() {
  const auto now = clock.now();
  std::erase_if(move_times_, [&](Instant at) { return now - at >= 60s; });
  most_moves = std::max(most_moves, static_cast<std::uint32_t>(move_times_.size()));
  if (!traffic) return;
  Instant since = now;
  for (const auto& one : links_) {
    if (one.works()) since = std::min(since, one.working_since);
  }
  since = std::max(since, traffic_since_);
  for (const auto last : {last_out, last_in}) {
    const auto stuck = now - std::max(last, since);
    if (trace && stuck > longest_stuck && stuck > 2s) say("-- stuck " + std::to_string(stuck / 1ms) + " ms");
    longest_stuck = std::max(longest_stuck, stuck);
  }
}

void PathWorld::run_until(Instant end) {
  if (traffic && !next_tick_) {
    traffic_since_ = clock.now();
    next_tick_ = clock.now() + kTick;
  }
  while (broken.empty()) {
    auto next = earliest(selector.next_deadline(), next_tick_);
    if (!flying_.empty()) next = earliest(next, flying_.top().due);
    if (!next || *next > end) break;
    clock.advance_to(*next);
    if (!flying_.empty() && flying_.top().due <= clock.now()) {
      const auto message = flying_.top();
      flying_.pop();
      deliver(message);
    } else if (next_tick_ && *next_tick_ <= clock.now()) {
      tick();
      const bool busy = traffic || authenticating_ || std::any_of(flows_.begin(), flows_.end(), [](const auto& flow) {
                          return !flow.second.open && !flow.second.closed;
                        });
      if (busy) {
        next_tick_ = clock.now() + kTick;
      } else {
        next_tick_.reset();
      }
    } else {
      selector.handle_deadline(clock.now());
    }
    settle();
    std::erase_if(flows_, [&](const auto& flow) { return flow.second.closed && flows_.size() > 100; });
  }
  clock.advance_to(end);
}

}  // namespace switchback::test
