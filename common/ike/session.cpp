#include "common/ike/session.h"

#include <algorithm>

#include "common/ike/exchange_child.h"
#include "common/ike/fragment.h"
#include "common/ike/session_core.h"

namespace switchback::ike {

// --- Inputs -------------------------------------------------------------------------------------------------------

void SessionCore::start(const AddressPair& path, Instant now, WallTime /*wall*/) {
  if (role_ != Role::initiator || !state_.is(SessionState::idle)) return;
  path_ = path;
  local_policy_ = config_->local_selectors;
  remote_policy_ = config_->remote_selectors;
  last_heard_ = now;
  send_init(now);
}

void SessionCore::handle_message(ByteView datagram, const AddressPair& path, Instant now, WallTime wall) {
  if (state_.is(SessionState::closed) || datagram.size() > config_->max_message_octets) return;
  const auto header = parse_header(datagram);
  if (!header || header->major_version != kMajorVersion) return;
  if (header->exchange == ExchangeType::ike_sa_init) return handle_init(*header, datagram, path, now, wall);

  auto* sa = find_ike(header->initiator_spi, header->responder_spi);
  // The I flag names the original initiator of this IKE SA (§3.1); it also keeps our own messages from coming back.
  if (sa == nullptr || header->from_initiator == sa->we_are_initiator || !sa->opener) return;
  const bool sealed =
      header->first_payload == PayloadType::encrypted || header->first_payload == PayloadType::encrypted_fragment;
  if (!sealed) return handle_unprotected(*sa, datagram, now);
  if (header->response) {
    handle_response(*sa, *header, datagram, path, now, wall);
  } else {
    handle_request(*sa, *header, datagram, path, now, wall);
  }
}

void SessionCore::handle_init(const Header& header, ByteView datagram, const AddressPair& path, Instant now,
                              WallTime wall) {
  if (header.message_id.value != 0) return;
  if (role_ == Role::responder) {
    if (header.response || !header.from_initiator) return;
    if (state_.is(SessionState::idle)) {
      const auto message = parse_message(datagram);
      if (message) process_init_request(*message, datagram, path, now);
    } else if (state_.is(SessionState::init_answered)) {
      auto& sa = *ikes_.front();
      if (sa.receive.is_repetition(datagram) && resends_.allow(now)) transmit(sa.receive.response(), path);
    }
    return;
  }
  if (!state_.is(SessionState::init_sent) || !header.response || header.from_initiator ||
      header.initiator_spi != ikes_.front()->initiator) {
    return;
  }
  const auto message = parse_message(datagram);
  if (message) process_init_response(*message, datagram, path, now, wall);
}

void SessionCore::handle_unprotected(IkeSa& sa, ByteView datagram, Instant now) {
  const auto message = parse_message(datagram);
  if (!message) return;
  const auto error = find_error(message->payloads);
  if (!error || error->type != NotifyType::invalid_ike_spi) return;
  // RFC 7296 §2.21.4: unprotected, so a hint at best. An SA that is on its way out need not be asked about again.
  if (sa.state.is(IkeSaState::deleting) && !state_.is(SessionState::closing)) {
    give_back(sa, now);
    return remove_ike(sa);
  }
  handle_hint(now);
}

void SessionCore::handle_request(IkeSa& sa, const Header& header, ByteView datagram, const AddressPair& path,
                                 Instant now, WallTime wall) {
  const auto fragment = peek_fragment(datagram);
  switch (sa.receive.judge(header.message_id)) {
    case ReceiveWindow::Verdict::outside: return;
    case ReceiveWindow::Verdict::repeated: {
      // RFC 7296 §2.1: the same octets get the same answer. RFC 7383 §2.6.1: of fragments only the first one counts.
      if ((fragment && fragment->number != 1) || !sa.receive.answered()) return;
      if (!sa.receive.is_repetition(datagram)) {
        if (fragment || !sa.opener->open(datagram)) return;
      }
      if (!resends_.allow(now)) return;  // asked last, so that forgeries do not use up what true repetitions need
      transmit(sa.receive.response(), path);
      return;
    }
    case ReceiveWindow::Verdict::fresh: break;
  }
  if (sa.remove_at) return;  // deleted: it only repeats itself
  const bool before_auth = state_.is(SessionState::init_answered);
  if (before_auth != (header.exchange == ExchangeType::ike_auth)) return;
  if (!before_auth && !state_.any_of(SessionState::established, SessionState::closing)) return;

  // A copy of a fragment is not authenticated again, so nothing may be learnt from it.
  if (fragment && !sa.opener->wants(header, *fragment)) return;
  auto opened = sa.opener->open(datagram);
  if (!opened && opened.error() != OpenErrc::malformed_inside) return;
  if (fragment && fragment->number == 1) sa.first_fragment = hash_datagram(datagram);
  if (opened && !opened->has_value()) return;  // more fragments are to come
  last_heard_ = now;
  sa.receive.accept(fragment ? sa.first_fragment : hash_datagram(datagram));
  if (!opened) {
    // §2.21.3: authentic nonsense means that the two ends do not understand each other.
    respond_error(sa, header.exchange, NotifyType::invalid_syntax, path);
    return finish(CloseReason::protocol_error, "the peer sent a malformed message");
  }
  auto& message = **opened;
  if (message.unsupported_critical) {  // §2.5
    const std::array type{static_cast<std::uint8_t>(*message.unsupported_critical)};
    respond_error(sa, header.exchange, NotifyType::unsupported_critical_payload, path, type);
    if (before_auth) finish(CloseReason::refused, "IKE_AUTH carried an unknown critical payload");
    return;
  }
  process_request(sa, message, path, now, wall);
  if (state_.is(SessionState::established)) consider_path(path, true, now);
}

void SessionCore::handle_response(IkeSa& sa, const Header& header, ByteView datagram, const AddressPair& path,
                                  Instant now, WallTime wall) {
  if (!sa.send.awaits(header.message_id) || header.exchange != sa.asked) return;
  auto opened = sa.opener->open(datagram);
  if (!opened && opened.error() != OpenErrc::malformed_inside) return;
  if (opened && !opened->has_value()) return;
  last_heard_ = now;
  if (!opened || (**opened).unsupported_critical) {
    const bool unproven = state_.is(SessionState::auth_sent);
    if (unproven) {
      sa.send.settle();
      return reject_peer(sa, NotifyType::invalid_syntax, CloseReason::protocol_error,
                         "the peer's IKE_AUTH answer is malformed");
    }
    return finish(CloseReason::protocol_error, "the peer sent a malformed answer");
  }
  sa.send.settle();
  process_response(sa, **opened, path, now, wall);
}

void SessionCore::process_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now,
                                  WallTime wall) {
  switch (message.header.exchange) {
    case ExchangeType::ike_auth: return process_auth_request(sa, message, path, now, wall);
    case ExchangeType::informational: return process_informational_request(sa, message, path, now);
    case ExchangeType::create_child_sa: {
      const auto* payload = message.payloads.find(PayloadType::security_association);
      const auto proposals = payload != nullptr ? parse_sa(payload->body) : fail(ParseErrc::truncated, 0);
      if (!proposals) break;
      if (proposals->front().protocol == ProtocolId::ike) return process_rekey_ike_request(sa, message, path, now);
      return process_child_request(sa, message, path, now);
    }
    default: break;
  }
  respond_error(sa, message.header.exchange, NotifyType::invalid_syntax, path);
}

void SessionCore::process_response(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now,
                                   WallTime wall) {
  auto request = std::exchange(sa.request, std::monostate{});
  if (auto* auth = std::get_if<AuthRequest>(&request)) {
    process_auth_response(sa, std::move(*auth), message, now, wall);
  } else if (auto* child = std::get_if<ChildRequest>(&request)) {
    process_child_response(sa, std::move(*child), message, now);
  } else if (auto* rekey = std::get_if<RekeyIkeRequest>(&request)) {
    process_rekey_ike_response(sa, std::move(*rekey), message, now);
  } else {
    process_informational_response(sa, std::move(request), message, path, now);
  }
}

void SessionCore::handle_deadline(Instant now) {
  const auto& timers = config_->timers;
  if (connect_deadline_ && now >= *connect_deadline_) {
    connect_deadline_.reset();
    if (state_.is(SessionState::closing)) return finish(close_reason_, close_detail_);
    if (state_.is(SessionState::authorizing)) {
      Authorization refused;
      return answer_auth(std::move(refused), now);
    }
    if (state_.is(SessionState::waiting)) return finish(CloseReason::expired, "IKE_AUTH was not begun in time");
    if (state_.is(SessionState::init_answered)) {
      return finish(CloseReason::expired, "the peer did not go on after IKE_SA_INIT");
    }
  }
  for (std::size_t i = 0; i < ikes_.size() && !state_.is(SessionState::closed); ++i) {
    auto& sa = *ikes_[i];
    if (sa.state.is(IkeSaState::gone)) continue;
    switch (sa.send.handle_deadline(random_, now)) {
      case SendWindow::Due::nothing: break;
      case SendWindow::Due::resend: transmit(sa.send.datagrams(), request_path(sa)); break;
      case SendWindow::Due::dead: request_died(sa, now); break;
    }
    if (sa.state.is(IkeSaState::gone) || state_.is(SessionState::closed)) continue;
    if (sa.remove_at && now >= *sa.remove_at) {
      remove_ike(sa);
      continue;
    }
    if (sa.stale_at && now >= *sa.stale_at) {
      sa.stale_at.reset();
      // Whoever should have deleted it did not. A loser of a collision may be unknown to the peer: just forget it.
      if (sa.state.is(IkeSaState::standby)) {
        remove_ike(sa);
      } else if (sa.state.is(IkeSaState::replaced) && !sa.send.busy()) {
        send_delete_ike(sa, timers.suspicion, now);
      } else if (sa.state.is(IkeSaState::replaced)) {
        sa.stale_at = now + timers.stale_sa;
      }
    }
    if (!sa.state.is(IkeSaState::active) || !state_.is(SessionState::established)) continue;
    if (sa.expires_at && now >= *sa.expires_at) {
      close(now, CloseReason::expired);
      continue;
    }
    if (sa.rekey_at && now >= *sa.rekey_at) {
      sa.rekey_at.reset();
      queue({TaskKind::rekey_ike, Spi{}});
    }
  }
  if (state_.is(SessionState::established)) {
    child_timers(now);
    auto* sa = active();
    if (sa != nullptr && timers.liveness_idle != Duration::zero() && !sa->send.busy() &&
        now >= last_heard_ + timers.liveness_idle) {
      queue({TaskKind::liveness, Spi{}});
    }
  }
}

std::optional<Instant> SessionCore::next_deadline() const {
  if (state_.is(SessionState::closed)) return std::nullopt;
  auto next = connect_deadline_;
  const bool established = state_.is(SessionState::established);
  bool idle = established;
  for (const auto& sa : ikes_) {
    next = earliest(earliest(next, sa->send.deadline()), earliest(sa->remove_at, sa->stale_at));
    if (!established || !sa->state.is(IkeSaState::active)) continue;
    next = earliest(next, earliest(sa->rekey_at, sa->expires_at));
    idle = !sa->send.busy();
  }
  if (!established) return next;
  if (idle && config_->timers.liveness_idle != Duration::zero()) {
    next = earliest(next, last_heard_ + config_->timers.liveness_idle);
  }
  for (const auto& child : children_) {
    next = earliest(
        next, earliest(earliest(child->rekey_at, child->expires_at), earliest(child->stale_at, child->linger_until)));
  }
  if (idle) {
    for (const auto& task : tasks_) next = earliest(next, task.not_before);
  }
  return next;
}

// --- The facade ---------------------------------------------------------------------------------------------------

Session::Session(Role role, std::shared_ptr<const SessionConfig> config, Environment environment)
    : core_{std::make_unique<SessionCore>(role, std::move(config), environment)} {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

void Session::start(const AddressPair& path, Instant now, WallTime wall) { core_->start(path, now, wall); }

void Session::handle_message(ByteView datagram, const AddressPair& path, Instant now, WallTime wall) {
  core_->handle_message(datagram, path, now, wall);
  core_->settle(now);
}

void Session::handle_deadline(Instant now, WallTime /*wall*/) {
  core_->handle_deadline(now);
  core_->settle(now);
}

void Session::handle_proceed(Instant now, WallTime wall) {
  core_->proceed(now, wall);
  core_->settle(now);
}

void Session::handle_authorization(Authorization answer, Instant now) {
  core_->answer_auth(std::move(answer), now);
  core_->settle(now);
}

void Session::handle_authenticated_traffic(Instant now) { core_->last_heard_ = std::max(core_->last_heard_, now); }

void Session::handle_first_inbound_packet(Spi inbound, Instant now) {
  core_->first_inbound_packet(inbound);
  core_->settle(now);
}

void Session::handle_esp_from(const AddressPair& path, Instant now) {
  core_->consider_path(path, true, now);
  core_->settle(now);
}

void Session::handle_child_expiring(Spi inbound, bool hard, Instant now) {
  if (auto* child = core_->find_child(inbound)) {
    auto& when = hard ? child->expires_at : child->rekey_at;
    if (hard || child->state.is(ChildState::installed)) when = now;
  }
  core_->handle_deadline(now);
  core_->settle(now);
}

void Session::handle_path_change(const AddressPair& path, Instant now) {
  core_->handle_path_change(path, now);
  core_->settle(now);
}

void Session::handle_hint(Instant now) {
  core_->handle_hint(now);
  core_->settle(now);
}

void Session::rekey_ike(Instant now) {
  if (core_->state_.is(SessionState::established)) core_->queue({TaskKind::rekey_ike, Spi{}});
  core_->settle(now);
}

void Session::rekey_child(Spi inbound, Instant now) {
  if (core_->find_child(inbound) != nullptr) core_->queue({TaskKind::rekey_child, inbound});
  core_->settle(now);
}

void Session::create_child(Instant now) {
  if (core_->state_.is(SessionState::established)) core_->queue({TaskKind::create_child, Spi{}});
  core_->settle(now);
}

void Session::delete_child(Spi inbound, Instant now) {
  if (core_->find_child(inbound) != nullptr) core_->queue({TaskKind::delete_child, inbound});
  core_->settle(now);
}

void Session::close(Instant now, CloseReason reason) {
  core_->close(now, reason);
  core_->settle(now);
}

void Session::abandon(Instant now) {
  core_->abandon(now);
  core_->settle(now);
}

std::optional<Transmit> Session::poll_transmit() {
  if (core_->out_.empty()) return std::nullopt;
  auto next = std::move(core_->out_.front());
  core_->out_.pop_front();
  return next;
}

std::optional<Event> Session::poll_event() {
  if (core_->events_.empty()) return std::nullopt;
  auto next = std::move(core_->events_.front());
  core_->events_.pop_front();
  return next;
}

std::optional<Instant> Session::next_deadline() const { return core_->next_deadline(); }
Role Session::role() const noexcept { return core_->role_; }
SessionState Session::state() const noexcept { return core_->state_.get(); }
const AddressPair& Session::path() const noexcept { return core_->path_; }

namespace {

const IkeSa* shown(const SessionCore& core) noexcept {
  for (const auto& sa : core.ikes_) {
    if (sa->state.any_of(IkeSaState::active, IkeSaState::negotiating)) return sa.get();
  }
  return core.ikes_.empty() ? nullptr : core.ikes_.front().get();
}

}  // namespace

IkeSpi Session::initiator_spi() const noexcept {
  const auto* sa = shown(*core_);
  return sa != nullptr ? sa->initiator : IkeSpi{};
}

IkeSpi Session::responder_spi() const noexcept {
  const auto* sa = shown(*core_);
  return sa != nullptr ? sa->responder : IkeSpi{};
}

std::vector<ChildStatus> Session::children() const {
  std::vector<ChildStatus> all;
  for (const auto& child : core_->children_) {
    all.push_back({child->inbound.get(), child->outbound, child->state.get(), to_string(child->suite), child->local,
                   child->remote, child->installed_at});
  }
  return all;
}

std::size_t Session::ike_sa_count() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(core_->ikes_.begin(), core_->ikes_.end(), [](const auto& sa) { return !sa->remove_at; }));
}

bool Session::quiescent() const noexcept {
  return core_->out_.empty() && core_->events_.empty() && core_->tasks_.empty() &&
         std::none_of(core_->ikes_.begin(), core_->ikes_.end(), [](const auto& sa) { return sa->send.busy(); });
}

Instant Session::last_heard() const noexcept { return core_->last_heard_; }

}  // namespace switchback::ike
