// INFORMATIONAL: liveness, deletes, error notifies (RFC 7296 §1.4, §2.4); closing.
#include <algorithm>

#include "common/ike/session_core.h"

namespace switchback::ike {
namespace {

/// A deleted IKE SA repeats its last answer for so long.
constexpr std::chrono::seconds kRemember{10};
constexpr std::size_t kMaxEarlyDeletes = 32;
/// RFC 4555 §4.2.5. Anything longer could make an answer too long to send.
constexpr std::size_t kMinCookie2Octets = 8, kMaxCookie2Octets = 64;

}  // namespace

void SessionCore::send_liveness(IkeSa& sa, bool suspicious, Instant now) {
  ask(sa, ExchangeType::informational, ChainBuilder{}, LivenessRequest{},
      suspicious ? config_->timers.suspicion : config_->timers.retransmit, now);
}

void SessionCore::send_delete_ike(IkeSa& sa, const RetransmitPolicy& policy, Instant now) {
  ChainBuilder chain;
  add_delete_ike(chain);
  if (!sa.state.is(IkeSaState::deleting)) sa.state.enter(IkeSaState::deleting);
  ask(sa, ExchangeType::informational, chain, DeleteIkeRequest{}, policy, now);
}

void SessionCore::send_delete_children(IkeSa& sa, std::vector<Spi> inbound, Instant now) {
  for (const auto spi : inbound) {
    if (auto* child = find_child(spi); child != nullptr && !child->state.is(ChildState::deleting)) {
      child->state.enter(ChildState::deleting);
      child->rekey_at.reset();
      child->stale_at.reset();
      if (child->sends) {
        if (auto* next = successor(*child)) switch_outbound(*next);
      }
    }
  }
  ChainBuilder chain;
  add_delete_esp(chain, inbound);
  ask(sa, ExchangeType::informational, chain, DeleteChildRequest{std::move(inbound)}, config_->timers.retransmit, now);
}

void SessionCore::process_informational_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path,
                                                Instant now) {
  ChainBuilder answer;
  bool delete_ike = false;
  std::vector<Spi> ours;  // §1.4.1: the other half of each pair that the peer deletes
  for (const auto& payload : message.payloads) {
    if (payload.type != PayloadType::delete_sa) continue;
    const auto deleted = parse_delete(payload.body);
    if (!deleted) return respond_error(sa, ExchangeType::informational, NotifyType::invalid_syntax, path);
    if (deleted->protocol == ProtocolId::ike) delete_ike = true;
    if (deleted->protocol != ProtocolId::esp) continue;
    for (const auto spi : deleted->spis) {
      auto* child = find_child_by_outbound(spi);
      if (child == nullptr) {
        auto* outstanding = std::get_if<ChildRequest>(&sa.request);
        if (outstanding != nullptr && outstanding->deleted_early.size() < kMaxEarlyDeletes) {
          outstanding->deleted_early.push_back(spi);
        }
        continue;
      }
      // Both delete it at once: each answers without this pair (§1.4.1).
      if (!child->state.is(ChildState::deleting)) ours.push_back(child->inbound.get());
      retire_child(*child, now);
    }
  }
  if (const auto error = find_error(message.payloads); error && !delete_ike) {
    if (error->type == NotifyType::authentication_failed || error->type == NotifyType::invalid_syntax) {
      // §2.21.2, §2.21.3: the peer has given up this IKE SA.
      respond(sa, ExchangeType::informational, answer, path);
      const bool auth = error->type == NotifyType::authentication_failed;
      return finish(auth ? CloseReason::authentication_failed : CloseReason::protocol_error,
                    "the peer answered " + to_string(error->type));
    }
  }
  if (delete_ike) {
    respond(sa, ExchangeType::informational, answer, path);
    if (state_.is(SessionState::closing)) return finish(close_reason_, close_detail_);
    if (sa.state.is(IkeSaState::active)) {
      // §2.25.2: forget our own rekey; if the peer's collided with it, that one carries on.
      const auto standby = std::find_if(ikes_.begin(), ikes_.end(), [&](const auto& other) {
        return other->state.is(IkeSaState::standby) && !other->remove_at;
      });
      if (standby == ikes_.end()) return finish(CloseReason::peer_deleted, "the peer closed the session");
      give_back(sa, now);
      adopt(**standby, &sa, now);
    } else {
      give_back(sa, now);
    }
    sa.stale_at.reset();
    sa.remove_at = now + kRemember;
    return;
  }
  if (!process_update_addresses(sa, message, path, answer, now)) return;
  if (!ours.empty()) add_delete_esp(answer, ours);
  if (const auto cookie2 = find_notify(message.payloads, NotifyType::cookie2);
      cookie2 && cookie2->data.size() >= kMinCookie2Octets && cookie2->data.size() <= kMaxCookie2Octets) {
    add_notify(answer, NotifyType::cookie2, cookie2->data);  // RFC 4555 §3.7: returned as it came
  }
  respond(sa, ExchangeType::informational, answer, path);
}

void SessionCore::process_informational_response(IkeSa& sa, Request request, OpenedMessage& message,
                                                 const AddressPair& path, Instant now) {
  if (std::holds_alternative<DeleteIkeRequest>(request)) {
    remove_ike(sa);
    if (state_.is(SessionState::closing)) finish(close_reason_, close_detail_);
    return;
  }
  if (auto* deleted = std::get_if<DeleteChildRequest>(&request)) {
    for (const auto spi : deleted->inbound) {
      if (auto* child = find_child(spi)) retire_child(*child, now);
      std::erase_if(doomed_, [spi](const SpiLease& lease) { return lease.get() == spi; });
    }
    return;
  }
  if (auto* update = std::get_if<UpdateAddressesRequest>(&request)) {
    const auto error = find_error(message.payloads);
    const auto cookie2 = find_notify(message.payloads, NotifyType::cookie2);
    if (!error && (!cookie2 || !same_bytes(cookie2->data, update->cookie2))) {
      // RFC 4555 §3.7: an answer without our cookie means that somebody plays with addresses.
      return finish(CloseReason::protocol_error, "an address update was answered with a wrong cookie");
    }
    nat_ = [&] {
      const auto seen = detect_nat(message.header, message.payloads, path);
      return seen.supported ? seen : nat_;
    }();
    // The path changed again while the answer was under way (§3.5).
    if (update->path != path_) queue({TaskKind::update_addresses, Spi{}});
    return;
  }
  if (auto* check = std::get_if<PathCheckRequest>(&request)) {
    if (check->redirected && candidate_) {
      // The same octets went to two addresses, so that the answer proves neither (RFC 4555 §3.7): ask afresh.
      candidate_queued_ = true;
      return;
    }
    candidate_.reset();
    const auto cookie2 = find_notify(message.payloads, NotifyType::cookie2);
    const bool proven = check->cookie2.empty() || (cookie2 && same_bytes(cookie2->data, check->cookie2));
    if (proven && path == check->candidate && path != path_) {
      last_move_ = now;
      move_path(path, check->rebound);
    }
  }
}

void SessionCore::handle_hint(Instant now) {
  if (!state_.is(SessionState::established) || !hints_.allow(now)) return;
  auto* sa = active();
  if (sa == nullptr) return;
  if (sa->send.busy()) {
    // The answer to what is outstanding tells as much as a check would, if only it does not take a minute.
    if (!std::holds_alternative<PathCheckRequest>(sa->request)) sa->send.restart(config_->timers.suspicion, now);
    return;
  }
  queue({TaskKind::liveness, Spi{}, std::nullopt, 0, true});
}

void SessionCore::close(Instant now, CloseReason reason) {
  if (state_.any_of(SessionState::closed, SessionState::closing)) return;
  if (!state_.is(SessionState::established)) return finish(reason, "closed before it was established");
  state_.enter(SessionState::closing);
  close_reason_ = reason;
  close_detail_ = "closed by this side";
  tasks_.clear();
  candidate_.reset();
  candidate_queued_ = false;
  connect_deadline_ = now + config_->timers.closing;
}

void SessionCore::abandon(Instant now) {
  if (state_.is(SessionState::closed)) return;
  const bool protected_channel = state_.any_of(SessionState::established, SessionState::closing);
  auto* sa = active();
  if (protected_channel && sa != nullptr && !sa->send.busy()) {
    send_delete_ike(*sa, config_->timers.retransmit, now);
  }
  finish(CloseReason::requested, "closed by this side");
}

}  // namespace switchback::ike
