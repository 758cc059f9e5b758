// The Connector's session: what the core says, what the packets tell, and when it is up or gone.
#include <systemd/sd-daemon.h>

#include <array>
#include <utility>

#include "client/connect.h"
#include "client/denial.h"
#include "common/base/log.h"
#include "transports/dataplane/child_from_ike.h"
#include "transports/dataplane/offload_views.h"

namespace switchback::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kTick = milliseconds{500};
/// Without traffic for so long the tunnel is idle, and looked at less often.
constexpr Duration kIdleAfter = seconds{10};
constexpr Duration kIdleTick = seconds{1};
/// While no path works, IKE is asked so often whether the session is still there.
constexpr Duration kHintInOutage = seconds{10};
/// A standard peer that does not answer for so long is gone.
constexpr Duration kHintPatience = seconds{5};
constexpr std::uint32_t kStrangersBelieved = 2;
/// We send and nothing comes back for so long: ask the headend whether it is there. Cheap when it is.
constexpr Duration kSilence = milliseconds{1500};
constexpr Duration kFirstHintInterval = seconds{5};
constexpr Duration kHintIntervalCap = seconds{60};
constexpr std::size_t kMaxRoutes = 1024;  // more from a headend are not taken

/// Why a session that was up is gone, for the line on standard output.
std::string why_lost(const ike::Closed& closed, const Endpoint& remote) {
  switch (closed.reason) {
    case ike::CloseReason::timeout: return "the headend at " + remote.to_string() + " does not answer";
    case ike::CloseReason::peer_deleted: return "the headend ended the session";
    case ike::CloseReason::expired: return "the session's keys could not be replaced in time";
    default: break;
  }
  return std::string{to_string(closed.reason)} + (closed.detail.empty() ? "" : " (" + closed.detail + ")");
}

std::string why_no_tunnel(ike::NotifyType error) {
  if (error == ike::NotifyType::internal_address_failure) {
    return "the headend has no inner address for us: its pool is used up, or has none of a family that we can use";
  }
  return "the headend granted no tunnel (" + std::string{ike::to_string(error)} +
         "): it has nothing in common with the proposals and routes of the profile";
}

}  // namespace

std::string explain(const ike::Closed& closed, const Endpoint& remote) {
  const auto detail = closed.detail.empty() ? "" : " (" + closed.detail + ")";
  switch (closed.reason) {
    case ike::CloseReason::timeout:
      return "no answer from " + remote.to_string() + ": check the address, that the headend runs, and that nothing " +
             "on the way blocks UDP 500 and 4500";
    case ike::CloseReason::authentication_failed:
      return "authentication failed" + detail +
             ": ask for a new profile if yours was revoked or the headend was set up anew, and check this host's clock";
    case ike::CloseReason::no_proposal_chosen:
      return "the headend accepts none of our cryptographic proposals" + detail +
             ": see the [crypto] section of the profile";
    default: return "the headend ended the attempt: " + std::string{to_string(closed.reason)} + detail;
  }
}

std::string place(const Endpoint& endpoint) {
  return endpoint.port == 0 ? endpoint.address.to_string() : endpoint.to_string();
}

std::string up_line(path::TransportKind transport, const std::vector<IpPrefix>& addresses, const std::string& tun,
                    const AddressPair& path, unsigned mtu) {
  std::string line = "up: transport " + std::string{path::to_string(transport)};
  for (const auto& address : addresses) line += " address " + address.address.to_string();
  return line + " tun " + tun + " mtu " + std::to_string(mtu) + " headend " + place(path.remote);
}

void Connector::drop_session() {
  session_timer_.cancel();
  tick_timer_.cancel();
  if (session_ && session_->state() != ike::SessionState::closed) {
    session_->abandon(monotonic_now());
    while (const auto message = session_->poll_transmit()) {
      tunnel_.data().send_ike(message->path, message->datagram);
    }
  }
  session_.reset();
  // Nobody at the other end was authenticated to them: they end without a word.
  attempt_timer_.cancel();
  attempts_.clear();
  children_.clear();
  established_.reset();
  since_.reset();
  tunnel_.data().remove_session(tag_);
  paths_.stop(monotonic_now());
}

void Connector::pump(Instant now) {
  if (!session_ || pumping_) return;
  pumping_ = true;
  // Events first: an SA must be installed before the message leaves that lets the peer use it.
  for (bool busy = true; busy && session_;) {
    busy = false;
    while (session_) {
      auto event = session_->poll_event();
      if (!event) break;
      busy = true;
      handle(std::move(*event), now);
    }
    while (session_) {
      auto message = session_->poll_transmit();
      if (!message) break;
      busy = true;
      tunnel_.data().send_ike(message->path, std::move(message->datagram));
    }
  }
  pumping_ = false;
  if (closed_) {
    on_closed(*std::exchange(closed_, std::nullopt));
    return;
  }
  if (!session_) return;
  if (const auto deadline = session_->next_deadline()) {
    session_timer_.arm(*deadline);
  } else {
    session_timer_.cancel();
  }
}

void Connector::handle(ike::Event event, Instant now) {
  auto& data = tunnel_.data();
  struct Handle {
    Connector& self;
    transports::DataPlane& data;
    Instant now;
    void operator()(ike::AuthorizationNeeded&) const {}  // for responders
    void operator()(ike::InitAnswered&) const {}
    void operator()(ike::Established&) const {}  // it was an attempt then
    void operator()(ike::ChildInstalled& e) const { self.on_child(e, now); }
    void operator()(ike::OutboundSwitched& e) const { data.switch_outbound(e.inbound); }
    void operator()(ike::ChildRemoved& e) const {
      log::debug("child_removed", {{"spi", e.inbound.value}, {"replaced", e.replaced}});
      data.remove(e.inbound);
      self.children_.erase(e.inbound);
      if (self.children_.empty() && self.session_ && self.session_->state() == ike::SessionState::established) {
        // The headend took the last one away but keeps the IKE SA: of no use to us.
        self.session_->close(now, ike::CloseReason::peer_deleted);
      }
    }
    void operator()(ike::ChildFailed& e) const {
      log::warning("child_failed", {{"error", static_cast<unsigned>(e.error)}, {"by_peer", e.by_peer}});
      if (self.children_.empty() && self.session_) {
        self.child_error_ = e.error;
        self.session_->close(now, ike::CloseReason::refused);
      }
    }
    void operator()(ike::IkeSpisAdded&) const {}  // one session: every IKE message is for it
    void operator()(ike::IkeSpisRemoved&) const {}
    void operator()(ike::IkeRekeyed& e) const {
      log::info("ike_rekeyed", {{"ike", e.suite}});
      if (self.established_) self.established_->suite = e.suite;
    }
    void operator()(ike::PathChanged& e) const {
      // Between transports the path selector moves data itself, and tells of it.
      if (!self.paths_.peer_takes_part()) self.paths_.handle_moved(e.to, now);
      if (e.from.transport != e.to.transport || e.from.local.address == e.to.local.address) return;
      self.announce("moved: from " + e.from.local.to_string() + " to " + e.to.local.to_string() + ", headend " +
                    e.to.remote.to_string());
    }
    void operator()(ike::Closed& e) const { self.closed_ = std::move(e); }
    void operator()(ike::IkeKeylog& e) const {
      if (self.keylog_) self.keylog_->write(e);
    }
  };
  std::visit(Handle{*this, data, now}, event);
}

void Connector::on_child(ike::ChildInstalled& child, Instant now) {
  if (keylog_) keylog_->write(child);
  const bool first = children_.empty();
  if (first) {
    bring_up(child);
    if (!session_ || state_ == State::closing) return;
  }
  // Keepalives always, not only behind a NAT: a move may take us behind one, and stateful firewalls forget as NATs do.
  auto sa = transports::child_from_ike(child, tag_, true, now);
  sa.path = paths_.in_use().value_or(paths_.data_path(session_path_));
  sa.inner_mtu = tunnel_.path_inner_mtu();
  children_[child.inbound] = {tunnel_.data().install(std::move(sa)), child.suite};
  log::info(child.replaces ? "child_rekeyed" : "child_installed", {{"inbound", child.inbound.value},
                                                                   {"outbound", child.outbound.value},
                                                                   {"esp", child.suite},
                                                                   {"local", packet::to_string(child.local)},
                                                                   {"remote", packet::to_string(child.remote)}});
  if (!first) return;
  tick_timer_.arm(now + kTick);
  std::optional<path::Offer> offer;
  for (const auto& notify : established_->notifies) {
    if (notify.type != path::kOfferNotify) continue;
    if (auto parsed = path::parse_offer(notify.data)) offer = std::move(*parsed);
  }
  paths_.handle_authenticated(session_path_, offer ? &*offer : nullptr, now);
}

void Connector::came_up(path::TransportKind transport, Instant now) {
  state_ = State::up;
  was_up_ = true;
  ++sessions_;
  backoff_.reset();
  last_busy_ = now;
  announce(up_line(transport, established_->network.addresses, tunnel_.name(), *paths_.in_use(), tunnel_.mtu()));
  ::sd_notify(0, ("READY=1\nSTATUS=" + last_event_).c_str());
  if (std::exchange(network_missed_, false)) network_timer_.arm(now);
}

void Connector::bring_up(const ike::ChildInstalled& child) {
  if (!established_ || established_->network.addresses.empty()) {
    fail_with(ExitStatus::failure,
              "cannot connect: the headend assigned no inner address: its pool may be used up, "
              "or it is not set up to assign any");
    return;
  }
  const auto& network = established_->network;
  for (const auto& address : network.addresses) {
    (address.address.is_v4() ? preferred_.v4 : preferred_.v6) = address.address;
  }
  TunnelSettings settings;
  settings.addresses = network.addresses;
  settings.reachable = packet::to_prefixes(child.remote);
  if (config_.profile.tunnel.routes) {
    settings.routes = *config_.profile.tunnel.routes;
  } else {
    settings.routes = network.subnets.empty() ? settings.reachable : network.subnets;
  }
  if (settings.routes.size() > kMaxRoutes) {
    log::warning("routes_cut", {{"announced", settings.routes.size()}, {"taken", kMaxRoutes}});
    settings.routes.resize(kMaxRoutes);
  }
  if (config_.profile.tunnel.dns) settings.dns = {network.dns, network.search_domains, true};
  const auto path = paths_.data_path(session_path_);
  const auto& targets = paths_.targets();
  const std::array headends{path.remote.address,
                            targets.first(path.remote.address.is_v4() ? IpFamily::v6 : IpFamily::v4)};
  if (const auto up = tunnel_.up(settings, path, targets.ports(), headends); !up) {
    fail_with(ExitStatus::failure, "cannot set up the tunnel: " + up.error().message);
    return;
  }
  const auto& applied = tunnel_.routes().applied();
  if (applied.blocked_v4)
    log::info("family_blocked", {{"family", "ipv4"}, {"reason", "the tunnel has no such address"}});
  if (applied.blocked_v6)
    log::info("family_blocked", {{"family", "ipv6"}, {"reason", "the tunnel has no such address"}});
}

void Connector::on_closed(const ike::Closed& closed) {
  const auto remote = session_ ? session_->path().remote : Endpoint{};
  const bool served = state_ == State::up;
  const auto why = child_error_ ? why_no_tunnel(*child_error_) : explain(closed, remote);
  log::info("session_closed", {{"reason", to_string(closed.reason)}, {"detail", closed.detail}});
  drop_session();
  if (state_ == State::closing) {
    finish();
    return;
  }
  // Being told that we are not welcome does not get better by asking again and again.
  if (closed.reason == ike::CloseReason::authentication_failed) {
    fail_with(ExitStatus::authentication, (was_up_ ? "the tunnel is down: " : "cannot connect: ") + why);
    return;
  }
  if (served) {
    announce("reconnecting: " + why_lost(closed, remote));
    retry_later(why, closed.reason == ike::CloseReason::timeout);
    return;
  }
  round_failed(why);
}

void Connector::on_data(Instant now) {
  data_events_.clear();
  tunnel_.data().drain_events(data_events_);
  for (auto& event : data_events_) handle(event, now);
  pump(now);
}

void Connector::handle(transports::DataPlaneEvent& event, Instant now) {
  struct Handle {
    Connector& self;
    Instant now;
    [[nodiscard]] bool ours(transports::SessionTag tag) const { return self.session_ && tag == self.tag_; }
    void operator()(transports::IkeReceived& e) const { self.on_ike_message(e, now); }
    void operator()(transports::LifetimeReached& e) const {
      if (ours(e.session)) self.session_->handle_child_expiring(e.child, e.hard, now);
    }
    void operator()(transports::PeerMoved& e) const {
      // Which paths there are is decided here, unless the headend knows but one.
      if (ours(e.session) && !self.paths_.peer_takes_part()) self.session_->handle_esp_from(e.path, now);
    }
    void operator()(transports::ControlReceived& e) const {
      if (ours(e.session)) self.paths_.handle(e, now);
    }
    void operator()(transports::PathOpened& e) const { self.paths_.handle(e, now); }
    void operator()(transports::PathFailed& e) const { self.paths_.handle(e, now); }
    void operator()(transports::PathClosed& e) const { self.paths_.handle(e, now); }
    void operator()(transports::PathSignal& e) const { self.paths_.handle(e, now); }
    void operator()(transports::FirstInbound& e) const {
      if (ours(e.session)) self.session_->handle_first_inbound_packet(e.child, now);
    }
    void operator()(transports::UnknownSpi&) const {}         // late packets of a session that was replaced
    void operator()(const transports::LimitedSent&) const {}  // only doctors ask for it
    void operator()(transports::PathHint& e) const {
      self.paths_.handle(e, now);
      const bool unreachable = e.report.kind == transports::PathReport::Kind::unreachable;
      if (!unreachable || !self.session_ || self.state_ != State::up || self.paths_.peer_takes_part()) return;
      if (e.report.path.remote.address == self.session_->path().remote.address) self.session_->handle_hint(now);
    }
    void operator()(transports::OffloadChanged& e) const { transports::log_change(e); }
    void operator()(transports::DataPlaneFailed& e) const {
      log::error("packets_stopped", {{"what", e.what}, {"error", e.error.message()}});
      // Others carry on, unless nothing else may be used.
      if (e.transport && self.paths_.handle_transport_failed(*e.transport, e.error.message(), now)) return;
      self.fail_with(ExitStatus::failure, "packets stopped: " + e.what + " (" + e.error.message() + ")");
    }
  };
  std::visit(Handle{*this, now}, event);
}

void Connector::on_ike_message(const transports::IkeReceived& received, Instant now) {
  // Every attempt has an SPI of its own, which comes first in each of its messages (RFC 7296 §3.1).
  if (received.message.size() < sizeof(std::uint64_t)) return;
  const auto initiator = load_be<std::uint64_t>(received.message.data());
  for (auto& [id, attempt] : attempts_) {
    if (attempt.session.initiator_spi().value != initiator) continue;
    const auto whose = id;
    attempt.session.handle_message(received.message, received.path, now, wall_now());
    pump_attempt(whose, now);
    return;
  }
  if (!session_) return;
  const auto heard = session_->last_heard();
  session_->handle_message(received.message, received.path, now, wall_now());
  if (session_->last_heard() != heard) strangers_ = 0;
  // RFC 7296 §2.21.4: a headend without our session can only say so unprotected, which anybody on the path could. It is
  // believed when it says so again and again, and nothing authentic has come by any path meanwhile.
  if (session_->last_heard() == heard && denied(received.message) && ++strangers_ >= kStrangersBelieved &&
      now - last_heard() > kSilence) {
    give_up_session("the headend does not know the session any more");
    return;
  }
  pump(now);
}

bool Connector::denied(ByteView message) const {
  std::vector<Spi> outbound;
  for (const auto& child : session_->children()) outbound.push_back(child.outbound);
  return denies_session(message, session_->initiator_spi(), session_->responder_spi(), outbound);
}

/// When anything authentic came last, by IKE or as data.
Instant Connector::last_heard() const {
  Instant last = session_ ? session_->last_heard() : Instant{};
  for (const auto& [spi, child] : children_) last = std::max(last, child.counters.activity->last_inbound());
  return last;
}

void Connector::give_up_session(const std::string& why) {
  if (!session_) return;
  const auto remote = session_->path().remote;
  log::info("session_given_up", {{"reason", why}, {"remote", remote}});
  const bool served = state_ == State::up;
  drop_session();
  if (served) announce("reconnecting: " + why);
  if (state_ != State::closing) retry_later(why, true);
}

void Connector::on_tick(Instant now) {
  if (!session_) return;
  Instant in{}, out{};
  for (const auto& [spi, child] : children_) {
    in = std::max(in, child.counters.activity->last_inbound());
    out = std::max(out, child.counters.activity->last_outbound());
  }
  if (std::max(in, out) + kTick * 2 > now) last_busy_ = now;
  tick_timer_.arm(now + (now - last_busy_ > kIdleAfter ? kIdleTick : kTick));
  if (state_ != State::up) return;
  const bool heard = in > last_in_;
  if (heard) {
    last_in_ = in;
    hint_interval_ = kFirstHintInterval;
    session_->handle_authenticated_traffic(now);
  }
  if (paths_.peer_takes_part()) {
    paths_.look(now);
    if (paths_.state() == path::SelectorState::outage && now - last_hint_ > kHintInOutage) {
      last_hint_ = now;
      session_->handle_hint(now);
    }
  } else if (!heard && out > last_in_ + kSilence && now - out < kTick * 2 && now - session_->last_heard() > kSilence &&
             now - last_hint_ > hint_interval_) {
    // Traffic of one direction only looks the same, so that each check that is answered makes the next one rarer.
    log::debug("silence",
               {{"since_ms", std::chrono::duration_cast<milliseconds>(now - session_->last_heard()).count()}});
    last_hint_ = now;
    hint_interval_ = std::min(std::max(hint_interval_ * 2, kFirstHintInterval), kHintIntervalCap);
    session_->handle_hint(now);
  } else if (last_hint_ > last_heard() && now - last_hint_ > kHintPatience && !session_->quiescent()) {
    give_up_session("the headend at " + place(session_->path().remote) + " does not answer");
    return;
  }
  pump(now);
}

}  // namespace switchback::client
