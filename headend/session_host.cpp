#include "headend/session_host.h"

#include <algorithm>
#include <atomic>

#include "common/base/log.h"
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

std::string_view state_name(const LiveSession& live) noexcept { return ike::to_string(live.session.state()); }

}  // namespace

SessionHost::SessionHost(transports::DataPlane& data_plane, Authorizer& authorizer, RandomSource& random,
                         ike::GateLimits gate_limits, HostLimits limits, Instant now)
    : data_plane_{data_plane},
      authorizer_{authorizer},
      random_{random},
      limits_{limits},
      acceptor_{gate_limits, random, now} {}

LiveSession* SessionHost::find(SessionTag tag) noexcept {
  const auto found = sessions_.find(tag);
  return found == sessions_.end() ? nullptr : found->second.get();
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
      live->session.handle_esp_from(moved->path, now);
      pump(*live, now);
    }
  } else if (const auto* first = std::get_if<transports::FirstInbound>(&event)) {
    if (auto* live = find(first->session)) {
      live->session.handle_first_inbound_packet(first->child, now);
      pump(*live, now);
    }
  } else if (const auto* unknown = std::get_if<transports::UnknownSpi>(&event)) {
    if (auto hint = acceptor_.unknown_esp(unknown->spi, unknown->octets, now)) {
      data_plane_.send_ike(unknown->transport, unknown->path, *std::move(hint));
    }
  } else if (const auto* hint = std::get_if<transports::PathHint>(&event)) {
    path_hint(*hint, now);
  }
}

void SessionHost::ike_message(transports::IkeReceived& received, Instant now, WallTime wall) {
  const auto spi = own_spi(received.message);
  if (!spi) return;
  auto tag = table_.by_spi(*spi);
  if (!tag) {
    if (closing_) return;
    auto decision = acceptor_.decide(received.message, received.path, now);
    if (auto* reply = std::get_if<Acceptor::Reply>(&decision)) {
      data_plane_.send_ike(received.transport, received.path, std::move(reply->datagram));
      return;
    }
    if (const auto* duplicate = std::get_if<Acceptor::Duplicate>(&decision)) {
      tag = duplicate->session;
    } else if (std::holds_alternative<Acceptor::Create>(decision)) {
      if (sessions_.size() >= limits_.max_sessions) {
        if (peer_logs_.allow(now)) log::warning("session_limit", {{"limit", limits_.max_sessions}});
        return;
      }
      tag = table_.open();
      auto live = std::make_unique<LiveSession>(*tag, config_, ike::Environment{random_, spis_});
      live->transport = received.transport;
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

void SessionHost::path_hint(const transports::PathHint& hint, Instant now) {
  // ICMP is not authenticated: it may have a session ask whether the peer lives, or send smaller packets, no more.
  std::vector<SessionTag> concerned;
  for (const auto& [tag, live] : sessions_) {
    if (live->session.path().remote == hint.report.path.remote) concerned.push_back(tag);
  }
  for (const auto tag : concerned) {
    auto* live = find(tag);
    if (live == nullptr) continue;
    if (hint.report.kind == transports::PathReport::Kind::mtu) {
      if (inner_mtu_) data_plane_.set_inner_mtu(tag, inner_mtu_(live->session.path()));
    } else {
      live->session.handle_hint(now);
      pump(*live, now);
    }
  }
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
}

void SessionHost::notice_traffic(Instant now) {
  for (const auto& [tag, live] : sessions_) {
    Instant last{};
    for (const auto& [spi, child] : live->children) last = std::max(last, child.counters.activity->last_inbound());
    if (last <= live->traffic_told) continue;
    live->traffic_told = last;
    live->session.handle_authenticated_traffic(now);
    deadlines_.set(tag, live->session.next_deadline());
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
      data_plane_.send_ike(live.transport, transmit->path, std::move(transmit->datagram));
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
  authorizer_.grant(admission, event.request, wall_now());
  live.user = admission.name;
  live.leases = std::move(admission.leases);
  table_.set_user(live.tag, *admission.user);
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
    free_resources(*other);
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
                                    {"addresses", joined(live.leases)},
                                    {"ike", event.suite}});
}

void SessionHost::on(LiveSession& live, ike::ChildInstalled& event, Instant now) {
  if (keylog_ != nullptr) keylog_->write(event);
  auto child = transports::child_from_ike(event, live.tag, live.transport, live.local_behind_nat, now);
  child.inner_mtu = inner_mtu_ ? inner_mtu_(event.path) : std::uint16_t{0};
  live.children[event.inbound] = {event.outbound, data_plane_.install(std::move(child))};
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
  data_plane_.move_path(live.tag, live.transport, event.to);
  if (inner_mtu_) data_plane_.set_inner_mtu(live.tag, inner_mtu_(event.to));
  if (!live.logs.allow(now)) return;
  log::info("session_moved", {{"session", live.tag.value},
                              {"user", live.user},
                              {"from", event.from.remote},
                              {"to", event.to.remote},
                              {"cause", event.rebound ? "nat_rebinding" : "mobike"}});
}

void SessionHost::on(LiveSession& live, ike::Closed& event, Instant now) {
  free_resources(live);
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
                                 {"detail", event.detail}});
  }
}

void SessionHost::on(LiveSession&, ike::IkeKeylog& event, Instant) {
  if (keylog_ != nullptr) keylog_->write(event);
}

void SessionHost::free_resources(LiveSession& live) {
  data_plane_.remove_session(live.tag);
  if (!live.leases.empty()) authorizer_.release(live.leases, wall_now());
  live.leases.clear();
}

void SessionHost::forget(SessionTag tag) {
  const auto found = sessions_.find(tag);
  if (found == sessions_.end()) return;
  if (found->second->since) --established_;
  acceptor_.closed(tag);
  table_.close(tag);
  deadlines_.clear(tag);
  sessions_.erase(found);
}

void SessionHost::end(LiveSession& live, std::string_view note, Instant now) {
  if (live.end_note.empty()) live.end_note = note;
  free_resources(live);
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

SessionView SessionHost::view(const LiveSession& live, Instant now) const {
  SessionView view;
  view.id = live.tag.value;
  view.user = live.user;
  view.identity = live.identity;
  view.state = state_name(live);
  view.transport = data_plane_.traits(live.transport).name;
  view.path = live.session.path();
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

std::vector<SessionView> SessionHost::views(Instant now) const {
  std::vector<SessionView> list;
  list.reserve(sessions_.size());
  for (const auto& [tag, live] : sessions_) list.push_back(view(*live, now));
  std::sort(list.begin(), list.end(), [](const SessionView& a, const SessionView& b) { return a.id < b.id; });
  return list;
}

}  // namespace switchback::headend
