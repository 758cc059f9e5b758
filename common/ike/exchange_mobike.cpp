// Following addresses: MOBIKE (RFC 4555) and NAT mappings that change (RFC 7296 §2.23).
#include <algorithm>

#include "common/ike/session_core.h"

namespace switchback::ike {

void SessionCore::move_path(const AddressPair& to, bool rebound) {
  const auto from = path_;
  path_ = to;
  emit(PathChanged{from, to, rebound});
}

void SessionCore::handle_path_change(const AddressPair& path, Instant now) {
  if (path == path_ || state_.any_of(SessionState::closed, SessionState::idle)) return;
  move_path(path, false);
  for (auto& sa : ikes_) {
    // RFC 4555 §3.5: what is outstanding is sent again from the new address, at once.
    if (sa->send.busy()) {
      sa->send.restart(state_.is(SessionState::established) ? config_->timers.retransmit : config_->timers.connect,
                       now);
      if (sa->send.handle_deadline(random_, now) == SendWindow::Due::resend) {
        transmit(sa->send.datagrams(), request_path(*sa));
      }
    }
  }
  if (!state_.is(SessionState::established)) return;
  // A peer without MOBIKE may still follow a NAT mapping: let it see the new address.
  queue({peer_mobike_ && role_ == Role::initiator ? TaskKind::update_addresses : TaskKind::liveness, Spi{}});
}

void SessionCore::send_update_addresses(IkeSa& sa, Instant now) {
  UpdateAddressesRequest request{path_, Bytes(16)};
  random_.public_fill(request.cookie2);
  ChainBuilder chain;
  add_notify(chain, NotifyType::update_sa_addresses);
  add_nat_detection(chain, sa.initiator, sa.responder, path_, config_->force_udp_encapsulation);
  add_notify(chain, NotifyType::cookie2, request.cookie2);
  ask(sa, ExchangeType::informational, chain, std::move(request), config_->timers.retransmit, now);
}

bool SessionCore::process_update_addresses(IkeSa& sa, OpenedMessage& message, const AddressPair& path,
                                           ChainBuilder& answer, Instant now) {
  if (!find_notify(message.payloads, NotifyType::update_sa_addresses)) return true;
  // RFC 4555 §3.5: only the initiator decides about addresses, and only if MOBIKE was agreed on.
  if (!peer_mobike_ || role_ != Role::responder || !sa.state.is(IkeSaState::active)) return true;
  if (const auto no_nats = find_notify(message.payloads, NotifyType::no_nats_allowed)) {
    // §3.9: source address and port, then destination address and port, as the peer sent from and to.
    Bytes seen = to_bytes(path.remote.address.bytes());
    append(seen, path.local.address.bytes());
    const auto put_port = [&seen](std::uint16_t port) {
      seen.push_back(static_cast<std::uint8_t>(port >> 8U));
      seen.push_back(static_cast<std::uint8_t>(port));
    };
    put_port(path.remote.port);
    put_port(path.local.port);
    if (!same_bytes(no_nats->data, seen)) {
      respond_error(sa, ExchangeType::informational, NotifyType::unexpected_nat_detected, path);
      return false;
    }
  }
  const auto nat = detect_nat(message.header, message.payloads, path);
  if (nat.supported) {
    nat_ = nat;
    add_nat_detection(answer, sa.initiator, sa.responder, path, config_->force_udp_encapsulation);
  }
  consider_path(path, false, now);
  return true;
}

void SessionCore::consider_path(const AddressPair& path, bool rebound, Instant now) {
  if (!state_.is(SessionState::established) || role_ != Role::responder) return;
  if (path == path_) {
    // The peer speaks from where we send to: a check of elsewhere that has not gone out yet is moot.
    if (candidate_queued_ && rebound) {
      candidate_queued_ = false;
      candidate_.reset();
    }
    // It went elsewhere and came back: a check of elsewhere that is under way must not lead us there any more.
    if (!rebound && candidate_) {
      candidate_queued_ = false;
      candidate_.reset();
      auto* sa = active();
      auto* check = sa != nullptr ? std::get_if<PathCheckRequest>(&sa->request) : nullptr;
      if (check != nullptr && sa->send.busy()) {
        check->candidate = path_;
        sa->send.restart(config_->timers.suspicion, now);
      }
    }
    return;
  }
  if (rebound) {
    // A NAT gives a peer another port or address, not another transport, family or headend address: such packets are
    // on a path beside the one in use, or a copy that leads nowhere.
    if (path.transport != path_.transport || path.local != path_.local ||
        path.remote.address.family() != path_.remote.address.family()) {
      return;
    }
    // RFC 7296 §2.23: follow only a peer behind a NAT, and not too often: who can copy packets could lead us about.
    // A connection made anew has proven its address by itself, whatever was seen at the start (RFC 9329 §6.1).
    const bool datagrams = path.transport == 0;
    if (datagrams && !nat_.remote_behind) return;
    if (last_move_ && now - *last_move_ < config_->timers.rebinding_interval) return;
  }
  if (candidate_ == path) return;
  candidate_ = path;
  candidate_rebound_ = rebound;
  candidate_queued_ = true;
  last_move_ = now;
  // What is outstanding would be repeated to an address that the peer has left.
  if (auto* sa = active(); sa != nullptr && sa->send.busy()) {
    if (auto* check = std::get_if<PathCheckRequest>(&sa->request)) {
      check->candidate = path;
      check->rebound = rebound;
      check->redirected = true;
      candidate_queued_ = false;
      sa->send.restart(config_->timers.suspicion, now);
    } else {
      transmit(sa->send.datagrams(), path);
    }
  }
}

void SessionCore::send_path_check(IkeSa& sa, Instant now) {
  PathCheckRequest request{*candidate_, {}, candidate_rebound_};
  candidate_queued_ = false;
  ChainBuilder chain;
  if (peer_mobike_) {
    request.cookie2.resize(16);
    random_.public_fill(request.cookie2);
    add_notify(chain, NotifyType::cookie2, request.cookie2);
  }
  ask(sa, ExchangeType::informational, chain, std::move(request), config_->timers.suspicion, now);
}

}  // namespace switchback::ike
