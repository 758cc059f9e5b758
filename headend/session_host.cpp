#include "headend/session_host.h"

#include <algorithm>
#include <atomic>

#include "common/base/log.h"
#include "headend/observation.h"
#include "transports/dataplane/child_from_ike.h"

namespace switchback::headend {
namespace {

std::string joined(const std::vector<IpAddress>& addresses) {
  std::string out;
  for (const auto& address : addresses) {
    if (!out.empty()) out += ',';
    out += address.to_string();
  }
  return out;
}

std::uint64_t load(const std::atomic<std::uint64_t>& counter) noexcept {
  return counter.load(std::memory_order_relaxed);
}

IkeSpi own(IkeSpi initiator, IkeSpi responder, bool we_are_original_initiator) noexcept {
  return we_are_original_initiator ? initiator : responder;
}

/// Where peers listen for IKE, if nothing else is known.
constexpr std::uint16_t kIkePort = 500;

PathView path_view(const PathFigures& from, Instant now) {
  PathView view;
  view.path = from.path;
  view.transport = transports::transport_name(from.path.transport);
  view.state = to_string(from.use);
  view.srtt = from.srtt;
  view.loss_in = from.loss_in;
  view.loss_out = from.loss_out;
  view.goodput_in = from.goodput_in;
  view.goodput_out = from.goodput_out;
  view.mtu = from.mtu;
  view.mtu_found = from.mtu_found;
  view.sent_packets = from.sent_packets;
  view.received_packets = from.received_packets;
  view.idle = from.heard > now ? Duration{} : now - from.heard;
  for (std::size_t i = 0; i < from.signals.size(); ++i) {
    if (from.signals[i] != 0) view.signals.emplace_back(path::to_string(static_cast<path::Signal>(i)), from.signals[i]);
  }
  return view;
}

MoveView move_view(const Move& from, WallTime at) {
  MoveView view;
  view.at = at;
  view.from = from.from;
  view.to = from.to;
  view.from_transport = from.from ? transports::transport_name(from.from->transport) : std::string_view{};
  view.to_transport = transports::transport_name(from.to.transport);
  view.cause = to_string(from.cause);
  view.srtt = from.srtt;
  view.loss_in = from.loss_in;
  view.loss_out = from.loss_out;
  return view;
}

/// How long routers' errors are listened for after the last order.
constexpr Duration kListenForErrors = std::chrono::seconds{5};

/// Of a packet that is to expire on its way: whose it is, and of which of its traces.
std::uint64_t trace_token(const LiveSession& live) noexcept {
  return live.tag.value << 16U | (live.tracer->generation() & 0xFFFFU);
}

std::string_view state_name(const LiveSession& live) noexcept { return ike::to_string(live.session.state()); }

}  // namespace

SessionHost::SessionHost(transports::DataPlane& data_plane, Authorizer& authorizer, RandomSource& random,
                         ike::GateLimits gate_limits, HostLimits limits, HostPaths paths, Instant now)
    : data_plane_{data_plane},
      authorizer_{authorizer},
      random_{random},
      per_worker_(data_plane.workers()),
      limits_{limits},
      acceptor_{gate_limits, random, now},
      paths_{std::move(paths)} {}

LiveSession* SessionHost::find(SessionTag tag) noexcept {
  const auto found = sessions_.find(tag);
  return found == sessions_.end() ? nullptr : found->second.get();
}

ike::SpiShare SessionHost::choose_share() const noexcept {
  // Of equal ones the last: the first has IKE and the streams of all besides.
  const auto least = std::min_element(per_worker_.rbegin(), per_worker_.rend());
  return {static_cast<std::uint32_t>(per_worker_.size()), static_cast<std::uint32_t>(per_worker_.rend() - least - 1)};
}

void SessionHost::handle(transports::DataPlaneEvent& event, Instant now, WallTime wall) {
  if (auto* received = std::get_if<transports::IkeReceived>(&event)) return ike_message(*received, now, wall);
  if (const auto* reached = std::get_if<transports::LifetimeReached>(&event)) {
    if (auto* live = find(reached->session)) {
      live->session.handle_child_expiring(reached->child, reached->hard, now);
      pump(*live, now);
    }
  } else if (const auto* moved = std::get_if<transports::PeerMoved>(&event)) {
    if (auto* live = find(moved->session)) {
      live->paths.handle_seen(moved->path, now);
      pump_paths(*live, now);
      live->session.handle_esp_from(moved->path, now);
      pump(*live, now);
    }
  } else if (const auto* control = std::get_if<transports::ControlReceived>(&event)) {
    control_message(*control, now);
  } else if (const auto* limited = std::get_if<transports::LimitedSent>(&event)) {
    trace_sent(*limited);
  } else if (const auto* first = std::get_if<transports::FirstInbound>(&event)) {
    if (auto* live = find(first->session)) {
      live->session.handle_first_inbound_packet(first->child, now);
      pump(*live, now);
    }
  } else if (const auto* unknown = std::get_if<transports::UnknownSpi>(&event)) {
    if (auto hint = acceptor_.unknown_esp(unknown->spi, unknown->octets, now)) {
      auto to = unknown->path;
      if (to.transport == transports::kEspTransport) {  // which carries no IKE
        to = {{to.local.address, paths_.ike_port}, {to.remote.address, kIkePort}, transports::kUdpTransport};
      }
      data_plane_.send_ike(to, *std::move(hint));
    }
  } else if (const auto* hint = std::get_if<transports::PathHint>(&event)) {
    path_hint(*hint, now);
  } else if (const auto* closed = std::get_if<transports::PathClosed>(&event)) {
    path_closed(*closed, now);
  } else if (const auto* signal = std::get_if<transports::PathSignal>(&event)) {
    for (const auto tag : on_path(signal->path)) {
      if (auto* live = find(tag)) live->paths.handle_signal(signal->path, signal->signal, signal->count);
    }
  }
}

std::optional<Instant> SessionHost::next_deadline() const noexcept {
  const auto first = deadlines_.next(), second = path_deadlines_.next();
  if (!first || !second) return first ? first : second;
  return std::min(*first, *second);
}

AddressPair SessionHost::data_path(const AddressPair& ike_path) const noexcept {
  // ESP in UDP is only on the other port (RFC 7296 §2.23): who stays on this one wants protocol 50.
  if (paths_.native_esp && ike_path.transport == transports::kUdpTransport && ike_path.local.port == paths_.ike_port) {
    return {{ike_path.local.address, 0}, {ike_path.remote.address, 0}, transports::kEspTransport};
  }
  return ike_path;
}

void SessionHost::ike_message(transports::IkeReceived& received, Instant now, WallTime wall) {
  const auto spi = own_spi(received.message);
  if (!spi) return;
  auto tag = table_.by_spi(*spi);
  if (!tag) {
    if (closing_) return;
    auto decision = acceptor_.decide(received.message, received.path, now);
    if (auto* reply = std::get_if<Acceptor::Reply>(&decision)) {
      data_plane_.send_ike(received.path, std::move(reply->datagram));
      return;
    }
    if (const auto* duplicate = std::get_if<Acceptor::Duplicate>(&decision)) {
      tag = duplicate->session;
    } else if (std::holds_alternative<Acceptor::Create>(decision)) {
      tag = table_.open();
      const auto share = choose_share();
      auto live = std::make_unique<LiveSession>(*tag, config_, ike::Environment{random_, spis_, share}, paths_.rules);
      ++per_worker_[share.number];
      live->first_path = received.path;
      remember_path(*tag, received.path);
      sessions_.emplace(*tag, std::move(live));
      acceptor_.opened(*tag, received.message, received.path);
    } else {
      return;
    }
  }
  if (auto* live = find(*tag)) {
    live->session.handle_message(received.message, received.path, now, wall);
    pump(*live, now);
  }
}

void SessionHost::control_message(const transports::ControlReceived& received, Instant now) {
  auto* live = find(received.session);
  if (live == nullptr) return;
  live->paths.handle_control(received, now);
  pump_paths(*live, now);
  if (const auto question = parse_question(received.body)) answer_observe(*live, *question, received, now);
  if (const auto order = parse_order(received.body)) trace(*live, *order, received, now);
  // A NAT may have given the client another mapping: IKE has to follow, or our own requests go nowhere. The session
  // knows whether the path is of that kind, and looks before it moves.
  if (live->paths.in_use() == received.path && received.path != live->session.path()) {
    live->session.handle_esp_from(received.path, now);
    pump(*live, now);
  }
}

void SessionHost::answer_observe(LiveSession& live, const path::Observe& question,
                                 const transports::ControlReceived& received, Instant now) {
  // Few people have doctors, and each answer waits for the packet thread.
  if (!live.paths.has(received.path) || !live.observations.allow(now) || !observations_.allow(now)) return;
  std::uint64_t sent = 0;
  for (const auto& figures : live.paths.figures()) {
    if (figures.path == received.path) sent = figures.sent_packets;
  }
  auto asked = question;
  // Who has only been seen to send from an address must not have kilobytes sent there for every question. The next one
  // is answered at length if the proof comes back.
  if (asked.answer_octets != 0 && !live.paths.proven(received.path)) {
    asked.answer_octets = 0;
    live.paths.ask_for_proof(received.path, now);
    pump_paths(live, now);  // in front of the answer, so that whoever has that has been asked
  }
  Bytes body;
  path::build_control(make_observation(asked, received.path, data_plane_.observe(received.path),
                                       received.received_packets, sent, wall_now()),
                      body);
  data_plane_.send_control(live.tag, received.path, std::move(body), true);
}

void SessionHost::trace(LiveSession& live, const path::TraceOrder& order, const transports::ControlReceived& received,
                        Instant now) {
  // What goes back is no more than what came, and to where it came from.
  if (!live.paths.has(received.path) || !traces_.allow(now)) return;
  if (!live.tracer) live.tracer = std::make_unique<Tracer>();
  auto& tracer = *live.tracer;
  if (const auto packet = tracer.handle_order(order, received.path, now)) {
    Bytes body;
    path::build_control(*packet, body);
    if (packet->hop_limit == 0) {
      data_plane_.send_control(live.tag, received.path, std::move(body));
    } else {
      icmp_until_ = now + kListenForErrors;
      data_plane_.send_limited(live.tag, received.path, std::move(body), packet->hop_limit, trace_token(live));
    }
  }
  if (!hears_icmp_) tracer.set_deaf();
  auto report = tracer.poll_report(0, now);
  if (!report) return;
  for (const auto& figures : live.paths.figures()) {
    if (figures.path == received.path) report->sent_count = figures.sent_packets;
  }
  if (received.path.transport == transports::kCtcpTransport) {  // waits for the packet thread, four times a second
    if (const auto seen = data_plane_.observe(received.path)) {
      report->data_segments_sent = seen->data_sent;
      report->data_segments_received = seen->data_received;
    }
  }
  Bytes body;
  path::build_control(*report, body);
  data_plane_.send_control(live.tag, received.path, std::move(body));
}

void SessionHost::trace_sent(const transports::LimitedSent& sent) {
  auto* live = find(sent.session);
  if (live == nullptr || !live->tracer || trace_token(*live) != sent.token) return;
  live->tracer->handle_sent(sent);
  if (!sent.packet) return;
  if (const auto answer = limited_.handle_sent(sent.token, sent.hop_limit, *sent.packet, sent.at)) {
    trace_answer(*answer);
  }
}

void SessionHost::trace_answer(const path::LimitedAnswer& answer) {
  auto* live = find(SessionTag{answer.token >> 16U});
  if (live != nullptr && live->tracer && trace_token(*live) == answer.token) live->tracer->handle_answer(answer);
}

void SessionHost::handle_icmp(IpFamily family, ByteView message, const IpAddress& from, Instant now) {
  const auto quote = packet::parse_icmp_error(message, family);
  if (!quote) return;
  if (const auto answer = limited_.handle_quote(*quote, from, now)) trace_answer(*answer);
}

std::vector<SessionTag> SessionHost::on_path(const AddressPair& path) const {
  std::vector<SessionTag> tags;
  const auto [begin, end] = by_path_.equal_range(path);
  for (auto entry = begin; entry != end; ++entry) {
    if (std::find(tags.begin(), tags.end(), entry->second) == tags.end()) tags.push_back(entry->second);
  }
  return tags;
}

/// Once only: a session that loses its Child SAs makes its paths known again.
void SessionHost::remember_path(SessionTag tag, const AddressPair& path) {
  const auto [begin, end] = by_path_.equal_range(path);
  const bool known = std::any_of(begin, end, [&](const auto& entry) { return entry.second == tag; });
  if (!known) by_path_.emplace(path, tag);
}

void SessionHost::forget_path(SessionTag tag, const AddressPair& path) {
  const auto [begin, end] = by_path_.equal_range(path);
  for (auto entry = begin; entry != end; ++entry) {
    if (entry->second == tag) {
      by_path_.erase(entry);
      return;
    }
  }
}

void SessionHost::path_closed(const transports::PathClosed& closed, Instant now) {
  for (const auto tag : on_path(closed.path)) {
    auto* live = find(tag);
    if (live == nullptr) continue;
    if (!live->since && live->session.path() == closed.path) {
      // Clients try several paths and close those that they do not take.
      live->end_note = "its connection was closed";
      live->session.abandon(now);
      pump(*live, now);
      continue;
    }
    if (live->logs.allow(now)) {
      log::debug("path_closed", {{"session", tag.value},
                                 {"transport", transports::transport_name(closed.path.transport)},
                                 {"remote", closed.path.remote},
                                 {"detail", closed.detail}});
    }
    live->paths.handle_closed(closed.path, now);
    pump_paths(*live, now);
  }
}

void SessionHost::path_hint(const transports::PathHint& hint, Instant now) {
  // ICMP is not authenticated: it may have a session ask whether the peer lives, or send smaller packets, no more. It
  // tells the remote address, and of the local one only sometimes.
  std::vector<SessionTag> concerned;
  const auto same = [&](const AddressPair& path) {
    return path.remote == hint.report.path.remote && path.transport == hint.report.path.transport;
  };
  for (const auto& [tag, live] : sessions_) {
    if (same(live->session.path()) || (live->paths.in_use() && same(*live->paths.in_use()))) concerned.push_back(tag);
  }
  for (const auto tag : concerned) {
    auto* live = find(tag);
    if (live == nullptr) continue;
    for (const auto& path : live->paths.paths()) {
      if (!same(path)) continue;
      if (hint.report.kind == transports::PathReport::Kind::mtu) {
        live->paths.handle_mtu_hint(path, hint.report.mtu, link_mtu(path), now);
      } else {
        live->paths.handle_signal(path, path::Signal::unreachable, 1);
      }
    }
    pump_paths(*live, now);
    // A client that has several paths finds out by itself which of them work; its session must not end for one.
    if (hint.report.kind == transports::PathReport::Kind::mtu || live->paths.speaks_control()) continue;
    live->session.handle_hint(now);
    pump(*live, now);
  }
}

std::uint16_t SessionHost::link_mtu(const AddressPair& path) const {
  return paths_.link_mtu ? paths_.link_mtu(path) : std::uint16_t{1500};
}

void SessionHost::pump_paths(LiveSession& live, Instant now) {
  while (auto action = live.paths.poll_action()) {
    if (const auto* add = std::get_if<SessionPaths::AddPath>(&*action)) {
      remember_path(live.tag, add->path);
      live.paths.handle_added(add->path, data_plane_.add_path(live.tag, add->path), link_mtu(add->path), now);
    } else if (const auto* gone = std::get_if<SessionPaths::RemovePath>(&*action)) {
      forget_path(live.tag, gone->path);
      data_plane_.remove_path(live.tag, gone->path);
    } else if (const auto* use = std::get_if<SessionPaths::UsePaths>(&*action)) {
      data_plane_.use_paths(live.tag, use->in_use, use->twin);
    } else if (auto* control = std::get_if<SessionPaths::SendControl>(&*action)) {
      data_plane_.send_control(live.tag, control->path, std::move(control->body), control->dont_fragment);
    } else if (const auto* mtu = std::get_if<SessionPaths::SetInnerMtu>(&*action)) {
      data_plane_.set_inner_mtu(live.tag, mtu->inner_mtu);
    } else if (const auto* moved = std::get_if<SessionPaths::Moved>(&*action)) {
      log_move(live, moved->move, now);
    }
  }
  path_deadlines_.set(live.tag, live.paths.next_deadline());
}

void SessionHost::log_move(LiveSession& live, const Move& move, Instant now) {
  if (!move.from || !live.logs.allow(now)) return;
  log::info("session_moved", {{"session", live.tag.value},
                              {"user", live.user},
                              {"from", move.from->remote},
                              {"to", move.to.remote},
                              {"from_transport", transports::transport_name(move.from->transport)},
                              {"to_transport", transports::transport_name(move.to.transport)},
                              {"cause", to_string(move.cause)}});
}

void SessionHost::handle_deadlines(Instant now, WallTime wall) {
  std::vector<SessionTag> due;  // taken first: a deadline set anew below is for the loop's next turn
  while (const auto tag = deadlines_.take_due(now)) due.push_back(*tag);
  for (const auto tag : due) {
    if (auto* live = find(tag)) {
      live->session.handle_deadline(now, wall);
      pump(*live, now);
    }
  }
  due.clear();
  while (const auto tag = path_deadlines_.take_due(now)) due.push_back(*tag);
  for (const auto tag : due) {
    if (auto* live = find(tag)) {
      live->paths.handle_deadline(now);
      pump_paths(*live, now);
    }
  }
}

void SessionHost::notice_traffic(Instant now) {
  for (const auto& [tag, live] : sessions_) {
    Instant last{};
    for (const auto& [spi, child] : live->children) last = std::max(last, child.counters.activity->last_inbound());
    if (last <= live->traffic_told) continue;  // nothing came: nothing is new of its paths either
    live->traffic_told = last;
    live->session.handle_authenticated_traffic(now);
    deadlines_.set(tag, live->session.next_deadline());
    live->paths.handle_tick(now);
    pump_paths(*live, now);
  }
}

void SessionHost::pump(LiveSession& live, Instant now) {
  const auto tag = live.tag;
  bool closed = false;
  for (bool more = true; more;) {
    more = false;
    // Events first: an SA must be installed before the message that tells the peer to use it leaves.
    while (auto event = live.session.poll_event()) {
      more = true;
      closed = closed || std::holds_alternative<ike::Closed>(*event);
      std::visit([&](auto& concrete) { on(live, concrete, now); }, *event);
    }
    while (auto transmit = live.session.poll_transmit()) {
      more = true;
      data_plane_.send_ike(transmit->path, std::move(transmit->datagram));
    }
  }
  if (closed) {
    forget(tag);
  } else {
    deadlines_.set(tag, live.session.next_deadline());
  }
}

void SessionHost::on(LiveSession& live, ike::AuthorizationNeeded& event, Instant now) {
  auto admission = authorizer_.identify(event);
  live.identity = event.peer.to_string();
  if (!admission.user) {
    if (peer_logs_.allow(now)) {
      log::warning("authorization_refused",
                   {{"identity", live.identity}, {"remote", event.path.remote}, {"reason", admission.refusal}});
    }
    live.session.handle_authorization({}, now);
    return;
  }
  // RFC 7296 §2.4: with INITIAL_CONTACT the peer's other sessions are dead. Their addresses become free for this one.
  make_room(*admission.user, live.tag, event.initial_contact, now);
  // Only now is it known whose session it replaces: a headend that is full still takes back those who are its users.
  if (established_ >= limits_.max_sessions) {
    if (peer_logs_.allow(now)) log::warning("session_limit", {{"limit", limits_.max_sessions}});
    live.end_note = "the headend has as many sessions as limits.sessions allows";
    live.session.abandon(now);
    return;
  }
  authorizer_.grant(admission, event.request, wall_now());
  live.user = admission.name;
  live.leases = std::move(admission.leases);
  table_.set_user(live.tag, *admission.user);
  const bool in_band = std::any_of(event.notifies.begin(), event.notifies.end(), [](const ike::PrivateNotify& notify) {
    return notify.type == path::kInBandNotify && path::parse_in_band(notify.data).value_or(0) > 0;
  });
  if (in_band) admission.answer.notifies.push_back({path::kOfferNotify, path::build_offer(paths_.offer)});
  live.session.handle_authorization(std::move(admission.answer), now);
}

void SessionHost::make_room(UserId user, SessionTag newcomer, bool alone, Instant now) {
  auto others = table_.of_user(user);
  others.erase(std::remove(others.begin(), others.end(), newcomer), others.end());
  const std::size_t keep = alone ? 0 : limits_.max_sessions_per_user - 1;
  if (others.size() <= keep) return;
  std::sort(others.begin(), others.end(), [&](SessionTag a, SessionTag b) {
    return sessions_.at(a)->session.last_heard() < sessions_.at(b)->session.last_heard();
  });
  others.resize(others.size() - keep);  // the longest silent go
  for (const auto tag : others) {
    auto* other = find(tag);
    if (other == nullptr) continue;
    other->end_note = alone ? "replaced by a new session of the same client" : "too many sessions of this user";
    stop_carrying(*other);
    other->session.abandon(now);
    pump(*other, now);
  }
}

void SessionHost::on(LiveSession& live, ike::Established& event, Instant now) {
  acceptor_.established(live.tag, now);
  ++established_;
  live.since = wall_now();
  live.local_behind_nat = event.local_behind_nat;
  live.ike_suite = event.suite;
  log::info("session_established", {{"session", live.tag.value},
                                    {"user", live.user},
                                    {"identity", live.identity},
                                    {"remote", event.path.remote},
                                    {"transport", transports::transport_name(data_path(event.path).transport)},
                                    {"addresses", joined(live.leases)},
                                    {"ike", event.suite}});
}

void SessionHost::on(LiveSession& live, ike::ChildInstalled& event, Instant now) {
  if (keylog_ != nullptr) keylog_->write(event);
  const bool first = live.children.empty();
  auto child = transports::child_from_ike(event, live.tag, live.local_behind_nat, now);
  child.path = live.paths.in_use().value_or(data_path(event.path));
  child.inner_mtu = live.paths.inner_mtu();
  auto& kept = live.children[event.inbound];
  kept = {event.outbound, data_plane_.install(std::move(child))};
  live.paths.handle_inbound_sa(event.inbound, kept.counters.inbound);
  if (first) {
    live.paths.handle_started(data_path(event.path), now);
    pump_paths(live, now);
  }
  live.esp_suite = event.suite;
  if (!live.logs.allow(now)) return;
  log::info("child_installed", {{"session", live.tag.value},
                                {"user", live.user},
                                {"suite", event.suite},
                                {"local", packet::to_string(event.local)},
                                {"remote", packet::to_string(event.remote)},
                                {"rekeyed", event.replaces.has_value()}});
}

void SessionHost::on(LiveSession&, ike::OutboundSwitched& event, Instant) {
  data_plane_.switch_outbound(event.inbound);
}

void SessionHost::on(LiveSession& live, ike::ChildRemoved& event, Instant) {
  data_plane_.remove(event.inbound);
  const auto found = live.children.find(event.inbound);
  if (found == live.children.end()) return;
  const auto& counters = found->second.counters;
  live.in_packets += load(counters.inbound->packets);
  live.in_octets += load(counters.inbound->bytes);
  live.out_packets += load(counters.outbound->packets);
  live.out_octets += load(counters.outbound->bytes);
  live.children.erase(found);
}

void SessionHost::on(LiveSession& live, ike::ChildFailed& event, Instant now) {
  if (!live.logs.allow(now)) return;
  log::warning("child_failed", {{"session", live.tag.value},
                                {"user", live.user},
                                {"error", ike::to_string(event.error)},
                                {"by_peer", event.by_peer}});
}

void SessionHost::on(LiveSession& live, ike::IkeSpisAdded& event, Instant) {
  table_.add_spi(live.tag, own(event.initiator, event.responder, event.we_are_original_initiator));
}

void SessionHost::on(LiveSession&, ike::IkeSpisRemoved& event, Instant) {
  table_.remove_spi(own(event.initiator, event.responder, event.we_are_original_initiator));
}

void SessionHost::on(LiveSession& live, ike::IkeRekeyed& event, Instant now) {
  live.ike_suite = event.suite;
  if (!live.logs.allow(now)) return;
  log::info("ike_rekeyed", {{"session", live.tag.value}, {"user", live.user}, {"ike", event.suite}});
}

void SessionHost::on(LiveSession& live, ike::PathChanged& event, Instant now) {
  const auto to = data_path(event.to);
  live.paths.handle_ike_moved(data_path(event.from), to, event.rebound, now);
  pump_paths(live, now);
  if (live.paths.in_use() == to || !live.logs.allow(now)) return;
  log::debug("ike_moved", {{"session", live.tag.value}, {"from", event.from.remote}, {"to", event.to.remote}});
}

void SessionHost::on(LiveSession& live, ike::Closed& event, Instant now) {
  stop_carrying(live);
  if (live.since) {
    log::info("session_closed", {{"session", live.tag.value},
                                 {"user", live.user},
                                 {"reason", ike::to_string(event.reason)},
                                 {"detail", live.end_note.empty() ? event.detail : live.end_note}});
  } else if (peer_logs_.allow(now)) {
    log::info("session_failed", {{"session", live.tag.value},
                                 {"identity", live.identity},
                                 {"remote", live.session.path().remote},
                                 {"reason", ike::to_string(event.reason)},
                                 {"detail", live.end_note.empty() ? event.detail : live.end_note}});
  }
}

void SessionHost::on(LiveSession&, ike::IkeKeylog& event, Instant) {
  if (keylog_ != nullptr) keylog_->write(event);
}

void SessionHost::stop_carrying(LiveSession& live) {
  for (const auto& [inbound, child] : live.children) data_plane_.remove(inbound);
  if (!live.leases.empty()) authorizer_.release(live.leases, wall_now());
  live.leases.clear();
}

void SessionHost::forget(SessionTag tag) {
  const auto found = sessions_.find(tag);
  if (found == sessions_.end()) return;
  if (found->second->since) --established_;
  --per_worker_[found->second->worker];
  // Last, so that a DELETE has left before connections are closed.
  data_plane_.remove_session(tag);
  forget_path(tag, found->second->first_path);
  for (const auto& path : found->second->paths.paths()) forget_path(tag, path);
  control_malformed_ += found->second->paths.malformed();
  acceptor_.closed(tag);
  table_.close(tag);
  deadlines_.clear(tag);
  path_deadlines_.clear(tag);
  sessions_.erase(found);
}

void SessionHost::end(LiveSession& live, std::string_view note, Instant now) {
  if (live.end_note.empty()) live.end_note = note;
  stop_carrying(live);
  if (live.session.state() == ike::SessionState::established) {
    live.session.close(now);
  } else {
    live.session.abandon(now);
  }
  pump(live, now);
}

std::size_t SessionHost::end(const KickTarget& target, std::string_view note, Instant now) {
  std::vector<SessionTag> matching;
  for (const auto& [tag, live] : sessions_) {
    const auto& leases = live->leases;
    const bool matches = target.all || (target.id && *target.id == tag.value) ||
                         (!target.user.empty() && target.user == live->user) ||
                         (target.address && std::find(leases.begin(), leases.end(), *target.address) != leases.end());
    if (matches && live->session.state() != ike::SessionState::closing) matching.push_back(tag);
  }
  for (const auto tag : matching) {
    if (auto* live = find(tag)) end(*live, note, now);
  }
  return matching.size();
}

std::size_t SessionHost::end_user(UserId user, std::string_view note, Instant now) {
  const auto tags = table_.of_user(user);
  for (const auto tag : tags) {
    if (auto* live = find(tag)) end(*live, note, now);
  }
  return tags.size();
}

void SessionHost::close_all(Instant now) {
  closing_ = true;
  KickTarget everyone;
  everyone.all = true;
  (void)end(everyone, "the headend is stopping", now);
}

std::size_t SessionHost::sessions_on(transports::TransportId transport) const noexcept {
  return static_cast<std::size_t>(std::count_if(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
    const auto& path = entry.second->paths.in_use();
    return entry.second->since && path && path->transport == transport;
  }));
}

SessionView SessionHost::view(const LiveSession& live, Instant now, WallTime wall) const {
  SessionView view;
  view.id = live.tag.value;
  view.user = live.user;
  view.identity = live.identity;
  view.state = state_name(live);
  view.path = live.paths.in_use().value_or(live.session.path());
  view.transport = transports::transport_name(view.path.transport);
  view.ike_path = live.session.path();
  view.in_band = live.paths.speaks_control();
  const auto when = [&](Instant at) { return wall - std::chrono::duration_cast<std::chrono::seconds>(now - at); };
  for (const auto& path : live.paths.figures()) view.paths.push_back(path_view(path, now));
  for (const auto& move : live.paths.moves()) view.moves.push_back(move_view(move, when(move.at)));
  view.moved = live.paths.moved();
  view.addresses = live.leases;
  view.since = live.since;
  view.in_packets = live.in_packets;
  view.in_octets = live.in_octets;
  view.out_packets = live.out_packets;
  view.out_octets = live.out_octets;
  auto heard = live.session.last_heard();
  for (const auto& [spi, child] : live.children) {
    view.in_packets += load(child.counters.inbound->packets);
    view.in_octets += load(child.counters.inbound->bytes);
    view.out_packets += load(child.counters.outbound->packets);
    view.out_octets += load(child.counters.outbound->bytes);
    heard = std::max(heard, child.counters.activity->last_inbound());
  }
  view.idle = heard == Instant{} || heard > now ? Duration{} : now - heard;
  view.ike_suite = live.ike_suite;
  view.esp_suite = live.esp_suite;
  view.children = static_cast<unsigned>(live.children.size());
  return view;
}

std::vector<SessionView> SessionHost::views(Instant now, WallTime wall) const {
  std::vector<SessionView> list;
  list.reserve(sessions_.size());
  for (const auto& [tag, live] : sessions_) list.push_back(view(*live, now, wall));
  std::sort(list.begin(), list.end(), [](const SessionView& a, const SessionView& b) { return a.id < b.id; });
  return list;
}

}  // namespace switchback::headend
