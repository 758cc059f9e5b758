#include "tools/middlebox/box.h"

#include <algorithm>

namespace switchback::middlebox {

using namespace transports::ctcp;
using packet::IpProtocol;
using packet::IpView;

Box::Box(BoxRules rules, IpAddress own_v4, IpAddress own_v6)
    : rules_{std::move(rules)},
      own_v4_{own_v4},
      own_v6_{own_v6},
      impairments_{
          {{Impairment{rules_.impair[0][0], rules_.seed * 4 + 0}, Impairment{rules_.impair[0][1], rules_.seed * 4 + 1}},
           {Impairment{rules_.impair[1][0], rules_.seed * 4 + 2},
            Impairment{rules_.impair[1][1], rules_.seed * 4 + 3}}}},
      random_{rules_.seed} {}

bool Box::transparent(const FlowKey& flow) const noexcept {
  for (const auto& direction : rules_.impair) {
    for (const auto& place : direction) {
      if (!place.none()) return false;
    }
  }
  if (!rules_.nat.empty()) return false;
  const auto concerns = [&](const auto& list) {
    return std::any_of(list.begin(), list.end(), [&](const auto& rule) { return rule.match.matches(flow); });
  };
  if (concerns(rules_.idle)) return false;
  const bool bypassed =
      std::any_of(rules_.bypass.begin(), rules_.bypass.end(), [&](const Match& m) { return m.matches(flow); });
  return bypassed || !(concerns(rules_.devices) || concerns(rules_.blocks) || concerns(rules_.throttles) ||
                       concerns(rules_.resets));
}

void Box::handle(Direction direction, ByteView packet, Instant now) {
  ++counters_.received[index(direction)];
  if (!started_) started_ = now;
  const auto ip = packet::parse_ip(packet);
  if (!ip) return;
  auto copy = to_bytes(packet.first(ip->total_bytes));
  if (!decrement_ttl(copy, *ip)) {
    answer(opposite(direction), icmp_error(IcmpError::time_exceeded, packet, *ip, own(ip->family)));
    return;
  }
  impaired(0, direction, std::move(copy), Stage::devices, now);
}

void Box::impaired(std::size_t place, Direction direction, Bytes packet, Stage next, Instant now) {
  auto& impairment = impairments_[index(direction)][place];
  if (impairment.rules().none()) {
    enter(next, direction, std::move(packet), now);
    return;
  }
  const auto fate = impairment.decide(packet.size(), now);
  if (!fate.lost.empty()) {
    const auto ip = packet::parse_ip(packet);
    if (!ip) return;
    drop(flow_of(direction, packet, *ip), fate.lost, direction, packet.size(), now);
    // IPv4 packets that may be cut are lost as well: a path that cuts is not what is asked for here.
    if (fate.too_big && impairment.rules().mtu_icmp) {
      answer(opposite(direction), icmp_error(IcmpError::too_big, packet, *ip, own(ip->family), impairment.rules().mtu));
    }
    return;
  }
  if (fate.corrupt_bit) {
    const auto bit = *fate.corrupt_bit % (packet.size() * 8);
    packet[bit / 8] = static_cast<std::uint8_t>(packet[bit / 8] ^ (1U << (bit % 8)));
  }
  const auto later = [&](Instant at, Bytes octets) {
    if (at <= now) {
      enter(next, direction, std::move(octets), now);
    } else if (pending_.size() < kPendingMost) {
      pending_.emplace(at, Pending{next, direction, std::move(octets)});
    } else if (const auto ip = packet::parse_ip(octets)) {
      drop(flow_of(direction, octets, *ip), "too many packets are delayed", direction, octets.size(), now);
    }
  };
  if (fate.second_at) later(*fate.second_at, packet);
  later(fate.leave_at, std::move(packet));
}

void Box::enter(Stage stage, Direction direction, Bytes packet, Instant now) {
  if (stage == Stage::devices) {
    devices(direction, std::move(packet), now);
  } else {
    ++counters_.sent[index(direction)];
    sent_.push_back({direction, std::move(packet)});
  }
}

void Box::leave(Direction direction, Bytes packet, Instant now) {
  impaired(1, direction, std::move(packet), Stage::out, now);
}

/// ICMP of the box itself goes straight back.
void Box::answer(Direction towards, Bytes packet) {
  if (!packet.empty()) sent_.push_back({towards, std::move(packet)});
}

void Box::devices(Direction direction, Bytes packet, Instant now) {
  auto ip = packet::parse_ip(packet);
  if (!ip) return;  // corrupted on the way here
  // The devices see the flow as it is inside, whatever the translation.
  if (direction == Direction::inward && !translate_inward(packet, *ip, now)) return;
  const auto key = flow_of(direction, packet, *ip);
  auto& flow = flow_at(key, now);
  auto segment = ip->is(IpProtocol::tcp) ? segment_of(direction, packet, *ip) : std::nullopt;
  if (!policies(flow, key, direction, packet, *ip, segment ? &*segment : nullptr, now)) return;
  if (flow.devices) {
    if (!segment) {
      drop(key, "not a whole TCP segment", direction, packet.size(), now);
      return;
    }
    // Nothing that follows a stream may believe a segment that its receiver will not.
    if (!tcp_checksum_right(packet, *ip)) {
      drop(key, "wrong checksum", direction, packet.size(), now);
      return;
    }
    Output output;
    flow.devices->handle(*std::move(segment), now, output);
    settle(flow, key);
    emit(key, output, now);
    return;
  }
  if (direction == Direction::outward && !translate_outward(packet, *ip, now)) return;
  leave(direction, std::move(packet), now);
}

Box::Flow& Box::flow_at(const FlowKey& key, Instant now) {
  if (const auto found = flows_.find(key); found != flows_.end()) {
    flow_order_.splice(flow_order_.end(), flow_order_, found->second.place);
    return found->second;
  }
  if (flows_.size() >= kFlowsMost) forget_oldest();
  auto& flow = flows_[key];
  flow.place = flow_order_.insert(flow_order_.end(), key);
  ++counters_.flows;
  flow.first = flow.last = flow.refilled = now;
  equip(flow, key);
  return flow;
}

/// Gives a flow new devices, as its rules have it.
void Box::equip(Flow& flow, const FlowKey& key) {
  flow.devices.reset();
  flow.bypassed =
      std::any_of(rules_.bypass.begin(), rules_.bypass.end(), [&](const Match& m) { return m.matches(key); });
  if (!flow.bypassed && key.protocol == static_cast<std::uint8_t>(IpProtocol::tcp)) {
    for (const auto& rule : rules_.devices) {
      if (!rule.match.matches(key)) continue;
      if (!flow.devices) flow.devices = std::make_unique<Chain>();
      flow.devices->add(rule.make(random_));
    }
  }
  settle(flow, key);
}

/// After a flow's devices had something to do: when they are due, and how much they keep.
void Box::settle(Flow& flow, const FlowKey& key) {
  const auto due = flow.devices ? flow.devices->next_deadline() : std::nullopt;
  if (due != flow.due) {
    if (flow.due) due_.erase({*flow.due, key});
    if (due) due_.emplace(*due, key);
    flow.due = due;
  }
  kept_ -= flow.kept;
  flow.kept = flow.devices ? flow.devices->kept_octets() : 0;
  kept_ += flow.kept;
  // The flow itself was used last; it does not go.
  while (kept_ > kKeptMost && flow_order_.front() != key) forget_oldest();
}

void Box::forget_oldest() {
  const auto found = flows_.find(flow_order_.front());
  if (found->second.due) due_.erase({*found->second.due, found->first});
  kept_ -= found->second.kept;
  flow_order_.pop_front();
  flows_.erase(found);
}

/// Everything but the devices proper. False: the packet goes no further.
bool Box::policies(Flow& flow, const FlowKey& key, Direction direction, ByteView packet, const IpView& ip,
                   const Segment* segment, Instant now) {
  const auto quiet = now - std::exchange(flow.last, now);
  ++flow.packets;
  const bool syn = segment != nullptr && segment->header.has(kSyn) && !segment->header.has(kAck);
  const auto send_resets = [&](bool both) {
    if (segment == nullptr) return;
    Output output;
    output.forward.push_back(reset_back(*segment));
    if (both) output.forward.push_back(reset_onward(*segment));
    emit(key, output, now);
  };
  for (const auto& rule : rules_.idle) {
    if (!rule.match.matches(key)) continue;
    if (quiet > rule.after) {
      flow.forgotten = true;
      note(key, {"forget", "idle for too long", direction, 0, 0}, now);
    }
    if (!flow.forgotten) continue;
    if (syn || (segment == nullptr && direction == Direction::outward)) {
      flow.forgotten = false;
      continue;
    }
    drop(key, "flow forgotten", direction, packet.size(), now);
    if (rule.reset) send_resets(false);
    return false;
  }
  if (flow.bypassed) return true;
  if (syn && segment->header.sequence != flow.isn) {
    // A new connection on the same ports; the same SYN again is none.
    if (std::exchange(flow.isn, segment->header.sequence) || flow.packets > 1) equip(flow, key);
  }
  for (const auto& rule : rules_.blocks) {
    if (!rule.match.matches(key) || (rule.syn_only && !syn)) continue;
    drop(key, "blocked", direction, packet.size(), now);
    if (rule.how == BlockRule::How::icmp) {
      answer(opposite(direction), icmp_error(IcmpError::prohibited, packet, ip, own(ip.family)));
    } else if (rule.how == BlockRule::How::reset) {
      send_resets(false);
    }
    return false;
  }
  for (const auto& rule : rules_.resets) {
    if (!rule.match.matches(key) || flow.packets <= rule.after_packets) continue;
    if (!std::exchange(flow.reset_done, true)) {
      note(key,
           {"rst", "injected to both ends", direction, segment != nullptr ? segment->header.sequence : 0, flow.packets},
           now);
      send_resets(true);
    }
    if (!rule.then_block || syn) continue;
    drop(key, "blocked after the RST", direction, packet.size(), now);
    return false;
  }
  for (const auto& rule : rules_.throttles) {
    if (!rule.match.matches(key)) continue;
    // A bucket of a tenth of a second, at least a few packets.
    const auto depth = std::max(rule.rate / 10, 6000.0);
    const auto gained = std::chrono::duration<double>(now - std::exchange(flow.refilled, now)).count() * rule.rate;
    for (auto& tokens : flow.tokens) tokens = std::min(depth, tokens + gained);
    auto& tokens = flow.tokens[index(direction)];
    if (tokens < static_cast<double>(packet.size())) {
      drop(key, "throttled", direction, packet.size(), now);
      return false;
    }
    tokens -= static_cast<double>(packet.size());
  }
  return true;
}

void Box::emit(const FlowKey& flow, Output& output, Instant now) {
  for (const auto& decision : output.decisions) {
    if (decision.what == "drop" || decision.what == "invalid") ++counters_.dropped[index(decision.direction)];
    if (decision.what == "kill") ++counters_.killed;
    note(flow, decision, now);
  }
  for (auto& segment : output.forward) {
    const auto direction = segment.direction;
    auto packet = packet_of(flow, std::move(segment));
    if (direction == Direction::outward) {
      auto ip = packet::parse_ip(packet);
      if (!ip || !translate_outward(packet, *ip, now)) continue;
    }
    leave(direction, std::move(packet), now);
  }
}

// ---------------------------------------------------------------- address translation

const NatRule* Box::nat_of(IpFamily family) const noexcept {
  for (const auto& rule : rules_.nat) {
    if (rule.address.family() == family) return &rule;
  }
  return nullptr;
}

void Box::erase_mapping(std::map<FlowKey, Mapping>::iterator at) {
  mapping_order_.erase(at->second.place);
  back_.erase(at->second.outside);
  mappings_.erase(at);
}

/// How the outer network will see the flow. Nothing: the ports of the address are taken towards that end, or so many of
/// them that a search would take too long.
std::optional<FlowKey> Box::free_mapping(const FlowKey& inside, const IpAddress& address) {
  constexpr std::uint16_t kLowest = 20000, kHighest = 65535;
  constexpr unsigned kTriesMost = 64;
  auto outside = inside;
  outside.inner.address = address;
  if (inside.inner.port == 0) return outside;
  for (unsigned tries = 0; tries < kTriesMost; ++tries) {
    next_port_ = next_port_ == kHighest ? kLowest : static_cast<std::uint16_t>(next_port_ + 1);
    outside.inner.port = next_port_;
    if (!back_.contains(outside)) return outside;
  }
  return std::nullopt;
}

bool Box::translate_outward(Bytes& packet, IpView& ip, Instant now) {
  const auto* nat = nat_of(ip.family);
  if (nat == nullptr) return true;
  const auto inside = flow_of(Direction::outward, packet, ip);
  if (ip.later_fragment) return false;
  auto found = mappings_.find(inside);
  if (found != mappings_.end() && nat->rebind_after_idle > Duration{} &&
      now - found->second.last > nat->rebind_after_idle) {
    note(inside, {"rebind", "idle for too long", Direction::outward, 0, 0}, now);
    erase_mapping(found);
    found = mappings_.end();
  }
  if (found == mappings_.end()) {
    if (mappings_.size() >= kFlowsMost) erase_mapping(mappings_.find(mapping_order_.front()));
    const auto outside = free_mapping(inside, nat->address);
    if (!outside) {
      drop(inside, "no port is free", Direction::outward, packet.size(), now);
      return false;
    }
    back_[*outside] = inside;
    found =
        mappings_.emplace(inside, Mapping{*outside, now, mapping_order_.insert(mapping_order_.end(), inside)}).first;
  }
  found->second.last = now;
  mapping_order_.splice(mapping_order_.end(), mapping_order_, found->second.place);
  rewrite(packet, ip, true, found->second.outside.inner);
  return true;
}

bool Box::translate_inward(Bytes& packet, IpView& ip, Instant now) {
  const auto* nat = nat_of(ip.family);
  if (nat == nullptr || packet::destination_address(packet, ip) != nat->address) return true;
  const auto outside = flow_of(Direction::inward, packet, ip);
  const auto found = back_.find(outside);
  if (found == back_.end()) {
    drop(outside, "no mapping", Direction::inward, packet.size(), now);
    return false;
  }
  auto& mapping = mappings_.at(found->second);
  mapping.last = now;
  mapping_order_.splice(mapping_order_.end(), mapping_order_, mapping.place);
  rewrite(packet, ip, false, found->second.inner);
  return true;
}

void Box::rebind_all(Instant now) {
  for (const auto& [inside, mapping] : mappings_) note(inside, {"rebind", "on command", Direction::outward, 0, 0}, now);
  mappings_.clear();
  mapping_order_.clear();
  back_.clear();
}

// ---------------------------------------------------------------- time and outputs

std::optional<Instant> Box::next_deadline() const {
  std::optional<Instant> next;
  if (!pending_.empty()) next = pending_.begin()->first;
  if (!due_.empty()) next = earliest(next, due_.begin()->first);
  if (started_ && rebound_ < rules_.rebind_at.size()) next = earliest(next, *started_ + rules_.rebind_at[rebound_]);
  return next;
}

void Box::handle_deadline(Instant now) {
  if (started_ && rebound_ < rules_.rebind_at.size() && *started_ + rules_.rebind_at[rebound_] <= now) {
    ++rebound_;
    rebind_all(now);
  }
  while (!pending_.empty() && pending_.begin()->first <= now) {
    auto due = std::move(pending_.begin()->second);
    pending_.erase(pending_.begin());
    enter(due.stage, due.direction, std::move(due.packet), now);
  }
  // No more than there are now: a device may be due again at once.
  for (auto left = due_.size(); left > 0 && !due_.empty() && due_.begin()->first <= now; --left) {
    const auto key = due_.begin()->second;
    auto& flow = flows_.at(key);
    Output output;
    flow.devices->handle_deadline(now, output);
    settle(flow, key);
    emit(key, output, now);
  }
}

void Box::note(const FlowKey& flow, const Decision& decision, Instant now) {
  if (notes_.size() >= kNotesMost) return;
  const auto found = flows_.find(flow);
  notes_.push_back({now, flow, decision, found == flows_.end() ? Duration{} : now - found->second.first});
}

void Box::drop(const FlowKey& flow, std::string_view why, Direction direction, std::size_t octets, Instant now) {
  ++counters_.dropped[index(direction)];
  note(flow, {"drop", why, direction, 0, octets}, now);
}

std::optional<Box::Sent> Box::poll_packet() {
  if (sent_.empty()) return std::nullopt;
  auto sent = std::move(sent_.front());
  sent_.pop_front();
  return sent;
}

std::optional<Box::Note> Box::poll_note() {
  if (notes_.empty()) return std::nullopt;
  const auto note = notes_.front();
  notes_.pop_front();
  return note;
}

}  // namespace switchback::middlebox
