// Child SAs as the session keeps them: installing, switching, retiring.
#include "common/ike/session_core.h"

namespace switchback::ike {

Child& SessionCore::install_child(ChildSpec spec, ChildKeys keys, bool we_initiated, Instant now) {
  auto owned = std::make_unique<Child>();
  auto& child = *owned;
  child.inbound = std::move(spec.inbound);
  child.outbound = spec.outbound;
  child.suite = spec.suite;
  child.local = spec.local;
  child.remote = spec.remote;
  child.family = spec.family != 0 ? spec.family : next_family_++;
  child.installed_at = now;
  child.rekey_at = now + jittered(config_->timers.child_rekey);
  child.expires_at = now + config_->timers.child_lifetime;
  child.retry = config_->timers.rekey_retry;
  for (const auto& other : children_) {
    if (other->family == child.family) child.generation = std::max(child.generation, other->generation);
  }
  if (spec.replaces) {
    if (const auto* old = find_child(*spec.replaces)) child.generation = old->generation + 1;
  }
  children_.push_back(std::move(owned));
  if (spec.use_outbound) {
    for (auto& other : children_) {
      if (other->family == child.family) other->sends = false;
    }
    child.sends = true;
  }
  ChildInstalled event;
  event.inbound = child.inbound.get();
  event.outbound = child.outbound;
  event.inbound_key = std::move(we_initiated ? keys.responder : keys.initiator);
  event.outbound_key = std::move(we_initiated ? keys.initiator : keys.responder);
  event.esn = child.suite.esn;
  event.local = child.local;
  event.remote = child.remote;
  event.path = path_;
  event.use_outbound = spec.use_outbound;
  event.replaces = spec.replaces;
  event.suite = to_string(child.suite);
  emit(std::move(event));
  return child;
}

Child* SessionCore::successor(const Child& child) noexcept {
  Child* best = nullptr;
  for (auto& other : children_) {
    if (other.get() == &child || other->family != child.family) continue;
    if (!other->state.any_of(ChildState::installed, ChildState::rekeying)) continue;
    if (best == nullptr || other->sends || (!best->sends && other->generation > best->generation)) best = other.get();
  }
  return best;
}

void SessionCore::switch_outbound(Child& to) {
  if (to.sends) return;
  for (auto& other : children_) {
    if (other->family == to.family) other->sends = false;
  }
  to.sends = true;
  emit(OutboundSwitched{to.inbound.get(), to.outbound});
}

void SessionCore::first_inbound_packet(Spi inbound) {
  auto* child = find_child(inbound);
  if (child == nullptr || child->sends || !child->state.any_of(ChildState::installed, ChildState::rekeying)) return;
  for (const auto& other : children_) {
    // In a collision both ends use what they made; an SA of the same generation is not older.
    if (other->family == child->family && other->sends && other->generation >= child->generation) return;
  }
  switch_outbound(*child);
}

void SessionCore::retire_child(Child& child, Instant now) {
  if (child.state.any_of(ChildState::gone, ChildState::lingering)) return;
  auto* next = successor(child);
  if (next == nullptr) {
    child.state.enter(ChildState::gone);
    emit(ChildRemoved{child.inbound.get(), child.outbound, false});
    return;
  }
  if (child.sends) switch_outbound(*next);
  // Packets that the peer sent before it switched may still be under way.
  child.state.enter(ChildState::lingering);
  child.linger_until = now + config_->timers.inbound_grace;
  child.rekey_at.reset();
  child.expires_at.reset();
  child.stale_at.reset();
}

}  // namespace switchback::ike
