#include "headend/session_paths.h"

#include <algorithm>
#include <limits>

#include "headend/session_setup.h"

namespace switchback::headend {
namespace {

using transports::kEspTransport;
using transports::kTcpTransport;
using transports::kTlsTransport;
using transports::kUdpTransport;

constexpr std::size_t kMaxProven = 8;
/// RFC 791: 68, and nothing smaller is worth a session. That IPv6 needs 1280 (RFC 8200 §5) is the data plane's matter.
constexpr unsigned kLeastInner = 68;

/// The kernel cuts a TCP stream into what fits, so the path's MTU is no business of ours there.
bool searches_mtu(const AddressPair& path) noexcept {
  return path.transport != kTlsTransport && path.transport != kTcpTransport;
}

/// Connections prove the peer's address by their handshake; anybody can put an address into a datagram.
bool proves_itself(const AddressPair& path) noexcept {
  return path.transport != kUdpTransport && path.transport != kEspTransport;
}

std::uint64_t load(const std::atomic<std::uint64_t>& counter) noexcept {
  return counter.load(std::memory_order_relaxed);
}

}  // namespace

std::string_view to_string(MoveCause cause) noexcept {
  switch (cause) {
    case MoveCause::established: return "established";
    case MoveCause::claimed: return "claimed";
    case MoveCause::mobike: return "mobike";
    case MoveCause::rebound: return "nat_rebinding";
    case MoveCause::closed: return "path_closed";
    case MoveCause::unproven: return "unproven";
  }
  return "?";
}

std::string_view to_string(PathUse use) noexcept {
  switch (use) {
    case PathUse::standby: return "standby";
    case PathUse::in_use: return "in_use";
    case PathUse::twin: return "twin";
  }
  return "?";
}

std::uint16_t session_inner_mtu(unsigned outer, unsigned overhead, unsigned tun_mtu) noexcept {
  const auto fits = std::max(inner_mtu_for(outer, overhead), kLeastInner);
  return fits >= tun_mtu ? std::uint16_t{0} : static_cast<std::uint16_t>(fits);
}

// --- slots -------------------------------------------------------------------------------------------------------

SessionPaths::Slot* SessionPaths::find(const AddressPair& path) noexcept {
  const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.path == path; });
  return found == slots_.end() ? nullptr : &*found;
}

SessionPaths::Slot* SessionPaths::find(std::optional<path::PathId> id) noexcept {
  if (!id) return nullptr;
  const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.id == *id; });
  return found == slots_.end() ? nullptr : &*found;
}

bool SessionPaths::has(const AddressPair& path) const noexcept {
  return std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.path == path; });
}

std::vector<AddressPair> SessionPaths::paths() const {
  std::vector<AddressPair> list;
  for (const auto& slot : slots_) list.push_back(slot.path);
  return list;
}

/// The path's slot, a new one if need be. What is borrowed from slots_ is void afterwards.
SessionPaths::Slot& SessionPaths::touch(const AddressPair& path, Instant now) {
  if (auto* known = find(path)) {
    known->heard = now;
    return *known;
  }
  if (slots_.size() >= kMaxSessionPaths) {
    // At most three are in use, its twin and the base, so there is one that may go.
    const Slot* oldest = nullptr;
    for (const auto& slot : slots_) {
      if (slot.path == used_.in_use || slot.path == used_.twin || slot.id == base_) continue;
      if (oldest == nullptr || slot.heard < oldest->heard) oldest = &slot;
    }
    if (oldest != nullptr) remove(oldest->id);
  }
  ++last_slot_;
  path::AnswererConfig config;
  config.probe_every = rules_->probe_every;
  config.first_probe_id = first_id_ + (std::uint64_t{last_slot_} << 32U);
  Slot made;
  made.id = path::PathId{last_slot_};
  made.path = path;
  made.answerer = path::Answerer{config};
  made.heard = now;
  slots_.push_back(std::move(made));
  actions_.emplace_back(AddPath{path});
  return slots_.back();
}

void SessionPaths::remove(path::PathId id) {
  const auto found = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.id == id; });
  if (found == slots_.end()) return;
  follower_.handle_closed(id);
  if (base_ == id) base_.reset();
  actions_.emplace_back(RemovePath{found->path});
  slots_.erase(found);
}

// --- which path --------------------------------------------------------------------------------------------------

bool SessionPaths::proven(const AddressPair& path) const noexcept {
  return proves_itself(path) || std::find(proven_.begin(), proven_.end(), path.remote.address) != proven_.end();
}

void SessionPaths::prove(const IpAddress& address, Instant now) {
  proven_.erase(std::remove(proven_.begin(), proven_.end(), address), proven_.end());
  if (proven_.size() >= kMaxProven) proven_.erase(proven_.begin());
  proven_.push_back(address);
  bool freed = false;
  for (auto& slot : slots_) {
    if (slot.path.remote.address != address) continue;
    slot.prove_by.reset();
    slot.proof_id.reset();
    freed = freed || slot.refused;
    slot.refused = false;
  }
  if (auto* used = used_.in_use ? find(*used_.in_use) : nullptr; used != nullptr && proven(used->path)) {
    base_ = used->id;
    prove_at_.reset();
  }
  if (freed || !used_.in_use) apply(MoveCause::claimed, now);
}

SessionPaths::Slot* SessionPaths::heard_last(bool only_proven) noexcept {
  Slot* last = nullptr;
  for (auto& slot : slots_) {
    if (only_proven ? !proven(slot.path) : slot.refused) continue;
    if (last == nullptr || last->heard < slot.heard) last = &slot;
  }
  return last;
}

void SessionPaths::claim(Slot& slot, const path::Claim& claim, Instant now) {
  // One that names a choice of another path again changes nothing; one that comes by a path that was refused may.
  if (follower_.handle_claim(slot.id, claim)) return apply(MoveCause::claimed, now);
  if (slot.refused && claim.role == path::Role::in_use && now - slot.proof_sent >= rules_->prove_every) {
    send_proof_probe(slot, now);
  }
}

void SessionPaths::apply(MoveCause cause, Instant now) {
  if (!started_ || slots_.empty()) return;
  auto* base = find(base_);
  if (base == nullptr) {
    // Nothing is known to be better than what was heard last.
    base = heard_last(true);
    base_ = base != nullptr ? std::optional{base->id} : std::nullopt;
  }
  auto* claimed = find(follower_.in_use());
  // Nowhere is proven: data may go where it was claimed last, as long as any claim is believed.
  if (claimed == nullptr && base == nullptr) claimed = heard_last(false);
  if (claimed != nullptr && claimed != base && !claimed->refused && !proven(claimed->path)) {
    const bool late = claimed->prove_by && *claimed->prove_by <= now;
    if (late) distrust_until_ = now + rules_->distrust;
    if (now < distrust_until_) {
      claimed->refused = true;
      claimed->prove_by.reset();
      send_proof_probe(*claimed, now);
    }
  }
  auto* chosen = claimed != nullptr && !claimed->refused ? claimed : base;
  if (chosen == nullptr) {
    // Nobody answers from anywhere. What is removed carries nothing.
    const auto* left = used_.in_use ? find(*used_.in_use) : nullptr;
    used_ = {};
    if (left != nullptr) remove(left->id);
    return;
  }
  auto* twin = find(follower_.twin());
  if (twin != nullptr && (twin == chosen || twin->refused || !proven(twin->path))) twin = nullptr;

  const Used wanted{chosen->path, twin != nullptr ? std::optional{twin->path} : std::nullopt};
  if (wanted == used_) return;
  const auto before = std::exchange(used_, wanted);
  actions_.emplace_back(UsePaths{*wanted.in_use, wanted.twin});
  if (before.in_use == wanted.in_use) return;

  Move move{now, before.in_use, *wanted.in_use, cause, {}, {}, {}};
  if (const auto* left = before.in_use ? find(*before.in_use) : nullptr) {
    const auto quality = left->answerer.quality();
    move.srtt = quality.srtt;
    move.loss_in = quality.loss_in;
    move.loss_out = quality.loss_out;
  }
  if (moves_.size() >= kMaxMoves) moves_.pop_front();
  moves_.push_back(move);
  ++moved_;
  actions_.emplace_back(Moved{move});

  prove_at_.reset();
  if (proven(chosen->path)) {
    base_ = chosen->id;
  } else if (chosen != base) {
    // Data moves at once, since most who come from a new address are who they say; but a flood must not be sent to an
    // address that nobody answers from.
    if (!chosen->prove_by) chosen->prove_by = now + rules_->prove_within;
    send_proof_probe(*chosen, now);
    prove_at_ = now + rules_->prove_every;
  }
  if (speaks_control_) start_pmtu(*chosen, now);
  set_mtu();
}

void SessionPaths::send_proof_probe(Slot& slot, Instant now) {
  // Unguessable even to the client, who sees the others: who claims somebody else's address must not answer for them.
  std::array<std::uint8_t, 8> id{};
  random_->secret_fill(id);
  slot.proof_id = load_be<std::uint64_t>(id.data());
  slot.proof_sent = now;
  path::Probe probe;
  probe.id = *slot.proof_id;
  probe.sent_count = totals(slot).sent_packets;
  send(slot.path, probe);
}

void SessionPaths::ask_for_proof(const AddressPair& path, Instant now) {
  auto* slot = find(path);
  if (slot == nullptr || proven(path) || now < slot->proof_sent + rules_->prove_every) return;
  send_proof_probe(*slot, now);
}

// --- inputs ------------------------------------------------------------------------------------------------------

void SessionPaths::handle_started(const AddressPair& path, Instant now) {
  if (started_) {
    for (const auto& slot : slots_) actions_.emplace_back(AddPath{slot.path});
    if (used_.in_use) actions_.emplace_back(UsePaths{*used_.in_use, used_.twin});
    inner_mtu_.reset();
    return set_mtu();
  }
  started_ = true;
  prove(path.remote.address, now);  // IKE_SA_INIT and IKE_AUTH went both ways
  base_ = touch(path, now).id;
  apply(MoveCause::established, now);
}

void SessionPaths::handle_inbound_sa(Spi spi, std::shared_ptr<const esp::SaCounters> counters) noexcept {
  inbound_spi_ = spi;
  inbound_ = std::move(counters);
}

void SessionPaths::handle_added(const AddressPair& path, std::shared_ptr<const transports::PathActivity> activity,
                                std::uint16_t link_mtu, Instant now) {
  auto* slot = find(path);
  if (slot == nullptr) return;
  slot->activity = std::move(activity);
  slot->link_mtu = link_mtu;
  if (used_.in_use != path) return;
  if (speaks_control_ && !slot->pmtu) start_pmtu(*slot, now);
  set_mtu();
}

void SessionPaths::handle_control(const transports::ControlReceived& received, Instant now) {
  if (!started_ || !path::is_control(received.body)) return;
  const auto message = path::parse_control(received.body);
  if (!message) {
    ++malformed_;
    return;
  }
  const bool first = !speaks_control_;
  speaks_control_ = true;
  auto* slot = &touch(received.path, now);
  if (first) {
    if (auto* used = used_.in_use ? find(*used_.in_use) : nullptr) start_pmtu(*used, now);
  }
  // The claim first: the answer says which decision was heard.
  if (const auto* probe = std::get_if<path::Probe>(&*message)) claim(*slot, probe->claim, now);
  if (const auto* report = std::get_if<path::Report>(&*message)) claim(*slot, report->claim, now);
  if (!used_.in_use) apply(MoveCause::claimed, now);
  slot = find(received.path);  // claims may have moved slots about, or ended this one
  if (slot == nullptr) return;
  auto all = totals(*slot);
  all.received_packets = std::max(all.received_packets, received.received_packets);
  if (auto answer = slot->answerer.handle_message(*message, all, follower_.decision(), received.at, now)) {
    send(slot->path, *answer);
  }
  if (slot->answerer.take_mtu_doubt() && slot->pmtu) {  // probes come through, large packets do not
    slot->pmtu->handle_large_lost(now);
    work_pmtu(*slot);
  }
  poll_answerer(*slot, now);
  look_for_data(now);
  if (const auto* answer = std::get_if<path::ProbeAnswer>(&*message)) {
    if (slot->proof_id == answer->id) prove(slot->path.remote.address, now);
  } else if (const auto* found = std::get_if<path::PmtuAnswer>(&*message)) {
    if (slot->pmtu) {
      slot->pmtu->handle_answer(found->id, found->packet_octets, now);
      work_pmtu(*slot);
    }
  }
}

void SessionPaths::handle_seen(const AddressPair& path, Instant now) {
  // A standard peer has one path, and moves it by IKE.
  if (!started_ || !speaks_control_) return;
  (void)touch(path, now);
  if (!used_.in_use) apply(MoveCause::claimed, now);
}

void SessionPaths::handle_ike_moved(const AddressPair& from, const AddressPair& to, bool rebound, Instant now) {
  if (!started_) return;
  const auto before = used_.in_use;
  const auto id = touch(to, now).id;
  prove(to.remote.address, now);
  base_ = id;
  if (speaks_control_) {
    // Only a NAT moves data that the client has not moved: where it was has no mapping any more.
    if (rebound && before == from && from.transport == kUdpTransport) {
      (void)follower_.handle_claim(id, {follower_.decision(), path::Role::in_use});
    }
    return apply(rebound ? MoveCause::rebound : MoveCause::claimed, now);
  }
  apply(rebound ? MoveCause::rebound : MoveCause::mobike, now);
  if (before && before != to) {
    if (const auto* left = find(*before)) remove(left->id);
  }
}

void SessionPaths::handle_closed(const AddressPair& path, Instant now) {
  const auto* slot = find(path);
  if (slot == nullptr) return;
  const auto id = slot->id;
  follower_.handle_closed(id);
  if (base_ == id) base_.reset();
  // Another first, so that nothing is removed that carries data.
  auto gone = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& one) { return one.id == id; });
  auto kept = std::move(*gone);
  slots_.erase(gone);
  if (slots_.empty()) {
    used_ = {};
  } else {
    apply(MoveCause::closed, now);
  }
  actions_.emplace_back(RemovePath{kept.path});
}

void SessionPaths::handle_signal(const AddressPair& path, path::Signal signal, std::uint32_t count) noexcept {
  if (auto* slot = find(path)) slot->signals[static_cast<std::size_t>(signal)] += count;
}

void SessionPaths::handle_mtu_hint(const AddressPair& path, std::uint32_t outer_octets, std::uint16_t link_mtu,
                                   Instant now) {
  auto* slot = find(path);
  if (slot == nullptr) return;
  if (slot->pmtu) {
    slot->pmtu->handle_hint(
        static_cast<std::uint16_t>(std::min<std::uint32_t>(outer_octets, std::numeric_limits<std::uint16_t>::max())),
        now);
    work_pmtu(*slot);
  } else {
    slot->link_mtu = link_mtu;
    set_mtu();
  }
}

void SessionPaths::look_for_data(Instant now) {
  std::uint64_t octets = 0;
  for (const auto& slot : slots_) {
    if (slot.activity) octets += load(slot.activity->received_octets);
  }
  if (octets != data_octets_) {
    data_octets_ = octets;
    data_at_ = now;
  }
  look_at_.reset();
  if (speaks_control_ && data_octets_ != 0 && now - data_at_ < rules_->look_for) look_at_ = now + rules_->look_every;
}

void SessionPaths::handle_tick(Instant now) {
  for (auto& slot : slots_) {
    if (!slot.activity) continue;
    slot.heard = std::max(slot.heard, Instant{Duration{slot.activity->last_in.load(std::memory_order_relaxed)}});
    if (speaks_control_) poll_answerer(slot, now);
  }
  look_for_data(now);
  for (std::size_t i = 0; i < slots_.size();) {
    const auto& slot = slots_[i];
    const bool needed = slot.path == used_.in_use || slot.path == used_.twin || slot.id == base_;
    if (needed || now - slot.heard < rules_->forget_after) {
      ++i;
    } else {
      remove(slot.id);
    }
  }
}

void SessionPaths::handle_deadline(Instant now) {
  const bool look = look_at_ && *look_at_ <= now;
  for (auto& slot : slots_) {
    const auto due = slot.answerer.next_deadline();
    if (look || (due && *due <= now)) poll_answerer(slot, now);
  }
  if (look) look_for_data(now);
  if (prove_at_ && *prove_at_ <= now) {
    auto* used = used_.in_use ? find(*used_.in_use) : nullptr;
    prove_at_.reset();
    if (used != nullptr && used->prove_by && *used->prove_by <= now) {
      apply(MoveCause::unproven, now);
    } else if (used != nullptr) {
      send_proof_probe(*used, now);
      prove_at_ = now + rules_->prove_every;
    }
  }
  auto* used = used_.in_use ? find(*used_.in_use) : nullptr;
  if (used == nullptr || !used->pmtu || !asks_for_mtu(now)) return;
  if (const auto due = used->pmtu->next_deadline(); due && *due <= now) {
    used->pmtu->handle_deadline(now);
    work_pmtu(*used);
  }
}

std::optional<Instant> SessionPaths::next_deadline() const noexcept {
  std::optional<Instant> soonest = prove_at_;
  const auto consider = [&](std::optional<Instant> when) {
    if (when && (!soonest || *when < *soonest)) soonest = when;
  };
  consider(look_at_);
  for (const auto& slot : slots_) {
    consider(slot.answerer.next_deadline());
    if (slot.pmtu && slot.path == used_.in_use) {
      // Asked for while data comes only; a deadline that has passed meanwhile waits for the next tick with data.
      const auto due = slot.pmtu->next_deadline();
      if (due && asks_for_mtu(*due)) consider(due);
    }
  }
  return soonest;
}

// --- outputs -----------------------------------------------------------------------------------------------------

void SessionPaths::send(const AddressPair& path, const path::ControlMessage& message, bool dont_fragment) {
  Bytes body;
  path::build_control(message, body);
  actions_.emplace_back(SendControl{path, std::move(body), dont_fragment});
}

path::PathTotals SessionPaths::totals(const Slot& slot) const noexcept {
  path::PathTotals all;
  if (slot.activity) {
    all.sent_packets = load(slot.activity->sent_packets);
    all.received_packets = load(slot.activity->received_packets);
    all.received_octets = load(slot.activity->received_octets);
    all.last_in = Instant{Duration{slot.activity->last_in.load(std::memory_order_relaxed)}};
  }
  all.spi = inbound_spi_;
  if (inbound_) all.highest = load(inbound_->highest_sequence);
  return all;
}

const SessionPaths::Slot* SessionPaths::slot_in_use() const noexcept {
  const auto found =
      std::find_if(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.path == used_.in_use; });
  return found == slots_.end() ? nullptr : &*found;
}

void SessionPaths::poll_answerer(Slot& slot, Instant now) {
  // A report and a probe at most. They claim nothing: this end follows.
  for (int i = 0; i < 2; ++i) {
    const auto message = slot.answerer.poll(totals(slot), path::Claim{}, now);
    if (!message) return;
    send(slot.path, *message);
  }
}

std::uint16_t SessionPaths::overhead(const AddressPair& path) const noexcept {
  const auto& both = rules_->overhead.at(path.transport);
  return path.remote.address.is_v6() ? both.second : both.first;
}

bool SessionPaths::asks_for_mtu(Instant now) const noexcept {
  const auto* slot = slot_in_use();
  if (slot == nullptr) return false;
  return !slot->mtu_found || now - data_at_ < rules_->pmtu_idle;
}

void SessionPaths::start_pmtu(Slot& slot, Instant now) {
  if (slot.pmtu || !slot.activity || !searches_mtu(slot.path)) return;
  slot.pmtu.emplace(path::PmtuConfig::for_path(slot.path.remote.address.family(), slot.link_mtu),
                    first_id_ + (std::uint64_t{slot.id.value} << 32U) + (std::uint64_t{1} << 31U));
  slot.pmtu->handle_start(now);
  work_pmtu(slot);
}

void SessionPaths::work_pmtu(Slot& slot) {
  while (const auto probe = slot.pmtu->poll_probe()) {
    path::PmtuProbe message;
    message.id = probe->id;
    message.packet_octets = probe->packet_octets;
    // What fits as an inner packet fits as a dummy's body: both are followed by the same trailer and tag.
    message.body_octets = static_cast<std::uint16_t>(
        std::clamp<unsigned>(inner_mtu_for(probe->packet_octets, overhead(slot.path)),
                             static_cast<unsigned>(path::kPmtuOctets), static_cast<unsigned>(path::kMaxControlOctets)));
    send(slot.path, message, true);
  }
  const auto state = slot.pmtu->state();
  if (state == path::PmtuState::complete || state == path::PmtuState::error) slot.mtu_found = true;
  while (slot.pmtu->poll_changed()) {
  }
  if (slot.path == used_.in_use) set_mtu();
}

/// While the first search lasts, packets are as large as our own link takes: its start would hold every connection that
/// begins then to small segments for good.
void SessionPaths::set_mtu() {
  const auto* slot = slot_in_use();
  if (slot == nullptr || !slot->activity) return;
  const auto outer = slot->mtu_found ? slot->pmtu->mtu() : slot->link_mtu;
  const auto inner = session_inner_mtu(outer, overhead(slot->path), rules_->tun_mtu);
  if (inner == inner_mtu_) return;
  inner_mtu_ = inner;
  actions_.emplace_back(SetInnerMtu{inner});
}

std::optional<SessionPaths::Action> SessionPaths::poll_action() {
  if (next_action_ == actions_.size()) {
    actions_.clear();
    next_action_ = 0;
    return std::nullopt;
  }
  return std::move(actions_[next_action_++]);
}

std::vector<PathFigures> SessionPaths::figures() const {
  std::vector<PathFigures> list;
  for (const auto& slot : slots_) {
    const auto quality = slot.answerer.quality();
    const auto all = totals(slot);
    PathFigures shown;
    shown.path = slot.path;
    shown.use = slot.path == used_.in_use ? PathUse::in_use
                : slot.path == used_.twin ? PathUse::twin
                                          : PathUse::standby;
    shown.srtt = quality.srtt;
    shown.loss_in = quality.loss_in;
    shown.loss_out = quality.loss_out;
    shown.goodput_in = quality.goodput_in;
    shown.goodput_out = quality.goodput_out;
    shown.mtu_found = slot.mtu_found;
    shown.mtu = slot.mtu_found ? slot.pmtu->mtu() : slot.link_mtu;
    shown.sent_packets = all.sent_packets;
    shown.received_packets = all.received_packets;
    shown.heard = std::max(slot.heard, all.last_in);
    shown.signals = slot.signals;
    list.push_back(std::move(shown));
  }
  return list;
}

}  // namespace switchback::headend
