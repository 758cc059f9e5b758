// What the session wants to ask next, and when: tasks wait for the window, timers make tasks.
#include <algorithm>

#include "common/ike/session_core.h"

namespace switchback::ike {
namespace {

constexpr std::size_t kMaxTasks = 64;
constexpr std::uint32_t kRekeyAtMessageId = 0xF0000000U;

}  // namespace

void SessionCore::queue(Task task) {
  const bool known = std::any_of(tasks_.begin(), tasks_.end(), [&](const Task& other) {
    return other.kind == task.kind && other.child == task.child && task.kind != TaskKind::create_child;
  });
  if (known || tasks_.size() >= kMaxTasks) return;
  tasks_.push_back(task);
}

void SessionCore::run_tasks(Instant now) {
  auto* sa = active();
  if (sa == nullptr || sa->send.busy()) return;
  if (state_.is(SessionState::closing)) return send_delete_ike(*sa, config_->timers.suspicion, now);
  if (!state_.is(SessionState::established)) return;
  if (candidate_ && candidate_queued_) return send_path_check(*sa, now);
  while (!sa->send.busy() && state_.is(SessionState::established)) {
    const auto next = std::find_if(tasks_.begin(), tasks_.end(),
                                   [now](const Task& task) { return !task.not_before || *task.not_before <= now; });
    if (next == tasks_.end()) return;
    const auto task = *next;
    tasks_.erase(next);
    switch (task.kind) {
      case TaskKind::rekey_ike: send_rekey_ike(*sa, task, now); break;
      case TaskKind::rekey_child:
      case TaskKind::create_child: send_child(*sa, task, now); break;
      case TaskKind::delete_child: send_delete_children(*sa, {task.child}, now); break;
      case TaskKind::liveness: send_liveness(*sa, task.suspicious, now); break;
      case TaskKind::update_addresses: send_update_addresses(*sa, now); break;
    }
  }
}

void SessionCore::settle(Instant now) {
  if (!state_.is(SessionState::closed)) {
    run_tasks(now);
    // Long before IDs run out, a new IKE SA starts counting afresh (RFC 7296 §2.2).
    auto* sa = active();
    if (sa != nullptr &&
        (sa->send.next_id().value >= kRekeyAtMessageId || sa->receive.expected().value >= kRekeyAtMessageId) &&
        !sa->rekey_at) {
      sa->rekey_at = now + ike_retry_;
    }
  }
  sweep();
}

void SessionCore::give_back(IkeSa& sa, Instant now) {
  if (!sa.send.busy()) return;
  sa.send.settle();
  auto request = std::exchange(sa.request, std::monostate{});
  if (auto* child = std::get_if<ChildRequest>(&request)) {
    auto* old = child->rekeys ? find_child(*child->rekeys) : nullptr;
    if (old != nullptr && old->state.is(ChildState::rekeying)) {
      old->state.enter(ChildState::installed);
      old->rekey_at = now;
    } else if (!child->rekeys) {
      queue({TaskKind::create_child, Spi{}});
    }
  } else if (auto* deleted = std::get_if<DeleteChildRequest>(&request)) {
    for (const auto spi : deleted->inbound) queue({TaskKind::delete_child, spi});
  } else if (std::holds_alternative<UpdateAddressesRequest>(request)) {
    queue({TaskKind::update_addresses, Spi{}});
  } else if (std::holds_alternative<PathCheckRequest>(request)) {
    candidate_queued_ = candidate_.has_value();
  }
}

void SessionCore::request_died(IkeSa& sa, Instant now) {
  if (auto* check = std::get_if<PathCheckRequest>(&sa.request); check != nullptr && check->candidate != path_) {
    // Nobody answers there. The same request to the known path tells whether the peer is alive at all.
    check->candidate = path_;
    candidate_.reset();
    sa.send.restart(config_->timers.suspicion, now);
    if (sa.send.handle_deadline(random_, now) == SendWindow::Due::resend) transmit(sa.send.datagrams(), path_);
    return;
  }
  if (state_.is(SessionState::closing)) return finish(close_reason_, close_detail_);
  if (sa.state.any_of(IkeSaState::standby, IkeSaState::replaced, IkeSaState::deleting)) {
    give_back(sa, now);
    return remove_ike(sa);
  }
  if (init_ && !init_->refusal.empty()) {
    const auto reason = init_->refusal_reason;
    auto detail = std::move(init_->refusal);
    return finish(reason, std::move(detail));
  }
  finish(CloseReason::timeout,
         state_.is(SessionState::established) ? "the peer stopped answering" : "the peer does not answer");
}

void SessionCore::child_timers(Instant now) {
  for (std::size_t i = 0; i < children_.size(); ++i) {
    auto& child = *children_[i];
    if (child.linger_until && now >= *child.linger_until && child.state.is(ChildState::lingering)) {
      child.state.enter(ChildState::gone);
      emit(ChildRemoved{child.inbound.get(), child.outbound, true});
      continue;
    }
    if (child.state.any_of(ChildState::gone, ChildState::lingering)) continue;
    if (child.expires_at && now >= *child.expires_at) {
      // It must not carry another packet: gone here first, told to the peer next.
      queue({TaskKind::delete_child, child.inbound.get()});
      retire_child(child, now);
      continue;
    }
    if (child.rekey_at && now >= *child.rekey_at) {
      child.rekey_at.reset();
      if (child.state.is(ChildState::installed)) queue({TaskKind::rekey_child, child.inbound.get()});
    }
    if (child.stale_at && now >= *child.stale_at) {
      child.stale_at.reset();
      if (child.state.is(ChildState::replaced)) queue({TaskKind::delete_child, child.inbound.get()});
    }
  }
}

}  // namespace switchback::ike
