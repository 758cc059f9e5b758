// Paths' in-band conversation and its clock: probes, reports, path MTU, activity.
#include <algorithm>

#include "client/paths.h"
#include "client/route_plan.h"
#include "common/base/log.h"
#include "common/esp/sa.h"

namespace switchback::client {
namespace {

using path::TransportKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// How often counters are read while there is traffic, and for how long after it.
constexpr Duration kLook = milliseconds{50};
constexpr Duration kTrafficLasts = seconds{1};
/// The path MTU is taken for that of the interface for so long: on most paths the search has confirmed it by then.
constexpr Duration kMtuBenefit = seconds{1};
/// Segments of the kernel's TCP fit whatever the path is; the search is for packets that are ours.
bool has_own_packets(TransportKind transport) {
  return transport != TransportKind::tls && transport != TransportKind::tcp;
}

Instant since_epoch(std::int64_t nanoseconds) { return Instant{Duration{nanoseconds}}; }

}  // namespace

std::uint16_t pmtu_body_octets(std::uint16_t packet_octets, unsigned overhead) noexcept {
  constexpr auto kFixed = static_cast<unsigned>(esp::kHeaderBytes + esp::kIvBytes + esp::kTagBytes);
  constexpr auto kAlign = static_cast<unsigned>(esp::kAlignment);
  constexpr auto kTrailer = static_cast<unsigned>(esp::kTrailerBytes);
  constexpr auto kLeast = static_cast<unsigned>(path::kPmtuOctets);
  if (packet_octets < overhead + kFixed + kAlign + kLeast) return kLeast;
  // RFC 4303 §2.4: body, padding and trailer together end on a 4-octet boundary.
  const unsigned room = (packet_octets - overhead - kFixed) / kAlign * kAlign - kTrailer;
  return static_cast<std::uint16_t>(std::clamp(room, kLeast, static_cast<unsigned>(path::kMaxControlOctets)));
}

// ------------------------------------------------------------------------------------------------- sending

void Paths::send(Entry& entry, const path::ControlMessage& message, bool dont_fragment) {
  Bytes body;
  path::build_control(message, body);
  tunnel_.data().send_control(tag_, entry.data, std::move(body), dont_fragment);
}

void Paths::send_probe(Entry& entry, const path::SendProbe& action, Instant now) {
  if (standard_peer_) {
    // Nobody there would answer. There is only this path, and IKE's liveness checks watch it.
    path::ProbeAnswer answer;
    answer.id = action.id;
    selector_->handle_probe_answer(action.path, answer, now);
    return;
  }
  if (entry.activity == nullptr) return;
  path::Probe probe;
  probe.id = action.id;
  probe.sent_at_us = path::to_microseconds(now);
  probe.sent_count = entry.activity->sent_packets.load(std::memory_order_relaxed);
  probe.claim = action.claim;
  entry.probes[entry.next_probe++ % entry.probes.size()] = probe.id;
  send(entry, probe);
}

path::PathTotals Paths::totals(const Entry& entry) const {
  path::PathTotals totals;
  if (entry.activity == nullptr) return totals;
  const auto& counted = *entry.activity;
  totals.sent_packets = counted.sent_packets.load(std::memory_order_relaxed);
  totals.received_packets = counted.received_packets.load(std::memory_order_relaxed);
  totals.received_octets = counted.received_octets.load(std::memory_order_relaxed);
  totals.last_in = since_epoch(counted.last_in.load(std::memory_order_relaxed));
  return totals;
}

path::Claim Paths::claim(const Entry& entry) const noexcept {
  path::Claim claim;
  claim.decision = selector_->decision();
  if (in_use_ == entry.id) {
    claim.role = path::Role::in_use;
  } else if (twin_ == entry.id) {
    claim.role = path::Role::twin;
  }
  return claim;
}

/// What the path owes by now: reports, and probes of its MTU.
void Paths::serve(Entry& entry, Instant now) {
  if (entry.activity == nullptr || standard_peer_) return;
  const auto counted = totals(entry);
  while (const auto message = entry.answerer.poll(counted, claim(entry), now)) send(entry, *message);
  if (!entry.pmtu) return;
  const auto& traits = tunnel_.data().traits(entry.data.transport);
  const auto overhead = entry.data.remote.address.is_v6() ? traits.overhead_v6 : traits.overhead_v4;
  while (const auto probe = entry.pmtu->poll_probe()) {
    send(entry, path::PmtuProbe{probe->id, probe->packet_octets, pmtu_body_octets(probe->packet_octets, overhead)},
         true);
  }
}

// ------------------------------------------------------------------------------------------------- receiving

void Paths::handle(const transports::ControlReceived& event, Instant now) {
  auto* entry = find(event.path);
  if (entry == nullptr || entry->activity == nullptr || !selector_ || !path::is_control(event.body)) return;
  const auto message = path::parse_control(event.body);
  if (!message) return;
  auto counted = totals(*entry);
  counted.received_packets = std::max(counted.received_packets, event.received_packets);
  if (const auto answer = entry->answerer.handle_message(*message, counted, selector_->decision(), event.at, now)) {
    send(*entry, *answer);
  }
  if (const auto* answer = std::get_if<path::ProbeAnswer>(&*message)) {
    if (const auto* asked = find_probed(event.path, answer->id)) {
      selector_->handle_probe_answer(asked->id, *answer, now);
    }
  } else if (const auto* report = std::get_if<path::Report>(&*message)) {
    selector_->handle_report(entry->id, *report, event.received_packets, now);
  } else if (const auto* pmtu = std::get_if<path::PmtuAnswer>(&*message)) {
    for (auto& [id, other] : entries_) {  // their ids do not meet
      if (other.data == event.path && other.pmtu) other.pmtu->handle_answer(pmtu->id, pmtu->packet_octets, now);
    }
    apply_mtu(now);
  }
  drain(now);
}

void Paths::handle(const transports::PathOpened& event, Instant now) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.request != 0 && entry.second.request == event.request;
  });
  if (found == entries_.end()) {
    tunnel_.data().close_path(event.path);  // it came too late
    return;
  }
  auto& entry = found->second;
  entry.request = 0;
  entry.data = entry.ike = event.path;
  if (authenticated_) return opened(entry, now);
  host_.begin_ike(entry.id, entry.candidate.transport, entry.ike);
}

void Paths::handle(const transports::PathFailed& event, Instant now) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) {
    return entry.second.request != 0 && entry.second.request == event.request;
  });
  if (found == entries_.end()) return;
  found->second.request = 0;
  failed(found->second, event.detail.empty() ? "could not be opened" : event.detail, now);
}

void Paths::handle(const transports::PathClosed& event, Instant now) {
  if (auto* entry = find(event.path)) {
    failed(*entry, event.detail.empty() ? "closed by the other end" : event.detail, now);
  }
}

void Paths::handle(const transports::PathSignal& event, Instant now) {
  auto* entry = find(event.path);
  if (entry == nullptr || standard_peer_) return;
  selector_->handle_signal(entry->id, event.signal, event.count, now);
  drain(now);
}

bool Paths::handle_transport_failed(transports::TransportId transport, const std::string& why, Instant now) {
  const auto kind = static_cast<TransportKind>(transport);
  const auto all = targets_.candidates();
  if (!selector_ || config_.forced ||
      std::none_of(all.begin(), all.end(), [&](const path::Candidate& one) { return one.transport != kind; })) {
    return false;
  }
  std::vector<path::PathId> ids;
  for (const auto& [id, entry] : entries_) {
    if (entry.candidate.transport == kind) ids.push_back(id);
  }
  for (const auto id : ids) {
    if (auto* entry = find(id)) failed(*entry, why, now);
  }
  if (selector_) selector_->handle_unusable(kind, now);
  drain(now);
  return true;
}

/// Nobody signed it. Before authentication there is no better word to be had, and another way is tried at once.
void Paths::handle(const transports::PathHint& event, Instant now) {
  if (!selector_) return;
  const auto& report = event.report;
  std::vector<path::PathId> ids;
  for (const auto& [id, entry] : entries_) {
    const bool same_transport =
        entry.data.transport == report.path.transport || entry.ike.transport == report.path.transport;
    const bool same_remote = entry.data.remote == report.path.remote || entry.ike.remote == report.path.remote;
    if (same_transport && same_remote) ids.push_back(id);
  }
  for (const auto id : ids) {
    auto* entry = find(id);
    if (entry == nullptr) continue;
    if (report.kind == transports::PathReport::Kind::mtu) {
      const auto mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(report.mtu, path::kLargestPmtu));
      if (entry->pmtu) {
        entry->pmtu->handle_hint(mtu, now);
        apply_mtu(now);
      } else if (in_use_ == id) {
        tunnel_.lower_path_mtu(report.mtu);
        tunnel_.data().set_inner_mtu(tag_, tunnel_.path_inner_mtu());
      }
    } else if (!authenticated_) {
      failed(*entry, "unreachable (ICMP)", now);
    } else if (!standard_peer_ && entry->activity != nullptr) {
      selector_->handle_signal(id, path::Signal::unreachable, 1, now);
    }
  }
  drain(now);
}

// ------------------------------------------------------------------------------------------------- path MTU

void Paths::begin_pmtu(Entry& entry, Instant now) {
  if (entry.pmtu || standard_peer_ || !has_own_packets(entry.candidate.transport)) return;
  const auto family = entry.data.remote.address.family();
  const auto first_id = (std::uint64_t{public_random<std::uint32_t>(random_)} << 32U) + 1;
  entry.pmtu.emplace(path::PmtuConfig::for_path(family, tunnel_.interface_mtu(entry.data.remote.address)), first_id);
  entry.pmtu_begun = now;
  entry.pmtu->handle_start(now);
}

/// What the path takes as far as the search knows; nothing: what the interface takes.
std::optional<std::uint16_t> Paths::outer_mtu(const Entry& entry, Instant now) const {
  if (!entry.pmtu) return std::nullopt;
  const bool searching = entry.pmtu->state() != path::PmtuState::complete;
  if (searching && now < entry.pmtu_begun + kMtuBenefit) return std::nullopt;
  return entry.pmtu->mtu();
}

void Paths::apply_mtu(Instant now) {
  auto* entry = in_use_ ? find(*in_use_) : nullptr;
  if (entry == nullptr) return;
  const auto mtu = outer_mtu(*entry, now);
  if (mtu == applied_mtu_) return;
  applied_mtu_ = mtu;
  tunnel_.set_path_mtu(mtu);
  tunnel_.data().set_inner_mtu(tag_, tunnel_.path_inner_mtu());
}

// ------------------------------------------------------------------------------------------------- the clock

void Paths::feed_activity(Instant now) {
  if (!selector_ || standard_peer_) return;
  std::uint64_t traffic = 0;
  std::vector<path::PathId> ids;
  for (const auto& [id, entry] : entries_) {
    if (entry.activity == nullptr) continue;
    traffic += entry.activity->sent_data.load(std::memory_order_relaxed) +
               entry.activity->received_octets.load(std::memory_order_relaxed);
    ids.push_back(id);
  }
  if (traffic != traffic_) last_traffic_ = now;
  traffic_ = traffic;
  for (const auto id : ids) {
    auto* entry = find(id);
    if (entry == nullptr) continue;
    const auto& counted = *entry->activity;
    selector_->handle_activity(
        id,
        {counted.sent_data.load(std::memory_order_relaxed), counted.received_packets.load(std::memory_order_relaxed),
         counted.received_octets.load(std::memory_order_relaxed), counted.sent_packets.load(std::memory_order_relaxed)},
        now);
  }
}

void Paths::look(Instant now) {
  if (!selector_) return;
  feed_activity(now);
  drain(now);
}

void Paths::on_timer(Instant now) {
  if (!selector_) return;
  feed_activity(now);
  selector_->handle_deadline(now);
  for (auto& [id, entry] : entries_) {
    if (entry.pmtu && entry.pmtu->next_deadline() && *entry.pmtu->next_deadline() <= now) {
      entry.pmtu->handle_deadline(now);
    }
  }
  apply_mtu(now);
  drain(now);
}

void Paths::arm(Instant now) {
  if (!selector_) return;
  for (auto& [id, entry] : entries_) serve(entry, now);
  auto next = selector_->next_deadline();
  for (const auto& [id, entry] : entries_) {
    if (entry.activity != nullptr && !standard_peer_) next = earliest(next, entry.answerer.next_deadline());
    if (!entry.pmtu) continue;
    next = earliest(next, entry.pmtu->next_deadline());
    const bool benefit = in_use_ == entry.id && !applied_mtu_ && entry.pmtu->state() != path::PmtuState::complete;
    if (benefit) next = earliest(next, entry.pmtu_begun + kMtuBenefit);
  }
  const bool flowing = authenticated_ && !standard_peer_ && now < last_traffic_ + kTrafficLasts;
  if (flowing) next = earliest(next, now + kLook);
  if (next) {
    timer_.arm(*next);
  } else {
    timer_.cancel();
  }
}

}  // namespace switchback::client
