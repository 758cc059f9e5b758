// Transport to TUN.
#include <algorithm>
#include <chrono>

#include "common/packet/mss.h"
#include "common/path/control.h"
#include "transports/dataplane/worker.h"

namespace switchback::transports {

using packet::Packet;
using packet::PacketKind;

void Worker::receive(TransportId id, Instant now) {
  auto& link = links_[id];
  for (int round = 0; round < kInboundRounds && !link.failed; ++round) {
    const auto got = link.transport->receive(in_, now);
    if (!got) {
      fail_link(id, got.error());
      return;
    }
    const auto batch = std::span{in_}.first(*got);
    for (auto& packet : batch) packet.path.transport = id;
    take_in(batch, false, now);
    if (to_wake_ != 0) ring_doorbells();
    link.ready = *got == in_.size();
    if (!link.ready) break;
  }
  settle_judging();
}

namespace {

/// Strangers may fill half of what waits for the control thread: then a flood of IKE_SA_INIT, or thousands who come
/// back at once, keep neither the users who are there from being heard nor the newcomers from finishing.
constexpr std::size_t kStrangersShare = 2;

/// Whether an IKE message has no responder's SPI, as only the first of a new IKE SA (RFC 7296 §2.6).
bool is_first(ByteView message) noexcept {
  constexpr std::size_t kResponderSpi = 8;
  return message.size() < kResponderSpi + sizeof(std::uint64_t) ||
         load_be<std::uint64_t>(message.data() + kResponderSpi) == 0;
}

}  // namespace

/// What came by a transport, here or (`from_other`) at another worker.
void Worker::take_in(std::span<Packet> batch, bool from_other, Instant now) {
  std::size_t first = 0;
  while (first < batch.size()) {
    auto& packet = batch[first];
    if (packet.kind != PacketKind::esp) {
      if (packet.kind == PacketKind::ike) {
        take_ike(packet);
      } else {
        ++counts_.keepalives_received;
      }
      packet.reset();
      ++first;
      continue;
    }
    // Packets of one SA come in runs: one look-up and one call of the cipher for each.
    const auto spi = esp::peek_spi(packet.data());
    std::size_t end = first + 1;
    while (end < batch.size() && batch[end].kind == PacketKind::esp && esp::peek_spi(batch[end].data()) == spi) ++end;
    const auto run = batch.subspan(first, end - first);
    auto* child = spi ? find(*spi) : nullptr;
    if (child == nullptr && handover_ != nullptr && spi) {
      const auto owner = worker_of(*spi, handover_->workers());
      if (owner == index_) {
        child = find_installed(*spi, now);
      } else if (!from_other) {
        hand_over_arrived(owner, run);
        first = end;
        continue;
      }
    }
    if (child != nullptr) {
      open_run(*child, run, now);
    } else {
      refuse_unknown(spi.value_or(Spi{}), run, now);
    }
    first = end;
  }
  // What is left was opened.
  const auto end = std::remove_if(batch.begin(), batch.end(), [](const Packet& packet) { return !packet; });
  write_inner(batch.first(static_cast<std::size_t>(end - batch.begin())));
}

void Worker::take_ike(const Packet& packet) {
  if (!budgets_.ike.take(packet.size(), is_first(packet.data()) ? kStrangersShare : 1)) {
    ++counts_.ike_dropped;
    return;
  }
  ++counts_.ike_received;
  tell(IkeReceived{packet.path, to_bytes(packet.data())});
}

void Worker::refuse_unknown(Spi spi, std::span<Packet> run, Instant now) {
  counts_.unknown_spi += run.size();
  if (unknown_spi_.at(run[0].path.transport).allow(now)) tell(UnknownSpi{run[0].path, spi, run[0].size()});
  for (auto& packet : run) {
    // The rest of a joined message that was cut at the wrong places looks like this.
    judge_failed(packet, std::nullopt, packet.path == last_proven_);
    packet.reset();
  }
}

// ---------------------------------------------------------------- evidence about receive offloads

/// False: nobody wants to know about the packet.
bool Worker::continues_judging(const Packet& packet) {
  if (packet.arrival.interface == 0) return false;
  if (judging_.arrival != packet.arrival || judging_.transport != packet.path.transport) {
    settle_judging();
    judging_.arrival = packet.arrival;
    judging_.transport = packet.path.transport;
  }
  return true;
}

void Worker::judge_authentic(const Packet& packet, std::uint8_t flow) {
  if (!continues_judging(packet)) return;
  judging_.flow = flow;
  judging_.from_peer = true;
  ++judging_.authentic;
}

/// Anybody can send what fails, but not from the peer's address and port, and the kernel joins only what has the same.
/// @param from_peer  it came by a path that the session uses
void Worker::judge_failed(const Packet& packet, std::optional<std::uint8_t> flow, bool from_peer) {
  if (!continues_judging(packet)) return;
  if (packet.arrival.joined == 0 && !from_peer) return;
  if (flow) judging_.flow = *flow;
  judging_.from_peer = judging_.from_peer || from_peer;
  ++judging_.failed;
}

void Worker::settle_judging() {
  auto& link = links_[judging_.transport];
  if (judging_.from_peer && link.here()) {
    link.transport->handle_evidence(
        {judging_.arrival.interface, judging_.arrival.joined != 0, judging_.flow, judging_.authentic, judging_.failed},
        now_);
  }
  judging_ = {};
}

namespace {

/// Arrivals on one path in a row, so that its counters are written once for all of them.
struct Arrivals {
  PathSlot* slot = nullptr;
  std::uint64_t packets = 0, octets = 0;

  void add(PathSlot* at, std::size_t inner, Instant now) noexcept {
    if (at != slot) {
      settle(now);
      slot = at;
    }
    ++packets;
    octets += inner;
  }
  void settle(Instant now) noexcept {
    if (slot != nullptr && packets != 0) slot->count_received(packets, octets, now);
    packets = octets = 0;
  }
};

}  // namespace

void Worker::open_run(Child& child, std::span<Packet> run, Instant now) {
  const auto verdicts = std::span{verdicts_}.first(run.size());
  esp::open(child.inbound, run, verdicts);
  auto& session = *child.carrier;
  Arrivals arrivals;
  std::size_t opened = 0, dummies = 0;
  const AddressPair* stranger = nullptr;
  const AddressPair* proven = nullptr;
  const auto flow = static_cast<std::uint8_t>(session.tag.value);
  const auto note_failed = [&](const Packet& packet) {
    const auto* slot = session.slot_seen(packet.path);
    judge_failed(packet, flow, slot != nullptr && slot == session.at(session.in_use));
  };
  const auto arrive = [&](const Packet& packet, std::size_t inner) {
    if (!std::exchange(child.received, true)) tell(FirstInbound{child.session, child.spi()});
    arrivals.add(session.slot_seen(packet.path), inner, now);
    judge_authentic(packet, flow);
    proven = &packet.path;
  };
  for (std::size_t i = 0; i < run.size(); ++i) {
    auto& packet = run[i];
    switch (verdicts[i]) {
      case esp::Verdict::opened:
        ++opened;
        arrive(packet, packet.size());
        if (arrivals.slot == nullptr) stranger = &packet.path;
        if (child.inner_mtu != 0) (void)packet::clamp_mss(packet.data(), child.inner_mtu);
        if (pcap_) pcap_->write(packet.data(), now);
        continue;
      case esp::Verdict::dummy:
        ++dummies;
        arrive(packet, 0);
        if (path::is_control(packet.data())) {
          arrivals.settle(now);
          take_control(child, packet, arrivals.slot, now);
        } else if (arrivals.slot == nullptr) {
          stranger = &packet.path;
        }
        break;
      case esp::Verdict::malformed:
        ++counts_.esp_malformed;
        note_failed(packet);
        break;
      case esp::Verdict::replayed:
        ++counts_.esp_replayed;
        if (session.twin != CarriedSession::kNone) {
          if (auto* slot = session.slot_seen(packet.path)) count_up(slot->activity->received_packets, 1);
        }
        break;
      case esp::Verdict::forged:
        ++counts_.esp_forged;
        note_failed(packet);
        break;
      case esp::Verdict::wrong_selector: ++counts_.esp_refused; break;
      case esp::Verdict::expired: ++counts_.esp_refused; break;
    }
    packet.reset();  // its path stays
  }
  arrivals.settle(now);
  if (proven != nullptr) last_proven_ = *proven;
  counts_.inner_received += opened;
  counts_.esp_dummy += dummies;
  if (opened + dummies != 0) {
    child.activity->last_in.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
  if (stranger != nullptr) tell_moved(child, *stranger, now);
  poll_lifetime(child, child.inbound.lifetime(), false);
}

void Worker::take_control(const Child& child, const Packet& packet, const PathSlot* slot, Instant now) {
  auto& waiting = *child.carrier->control_waiting;
  if (waiting.load(std::memory_order_relaxed) >= kControlBurst || packet.size() > path::kMaxControlOctets ||
      !budgets_.control.take(packet.size())) {
    ++counts_.control_dropped;
    return;
  }
  waiting.fetch_add(1, std::memory_order_relaxed);
  const auto received = slot != nullptr ? slot->activity->received_packets.load(std::memory_order_relaxed) : 0;
  tell(ControlReceived{child.session, child.spi(), packet.path, to_bytes(packet.data()), now, received});
}

/// The peer holds the key and has sent from `path` just now.
void Worker::tell_moved(Child& child, const AddressPair& path, Instant now) {
  if (now - child.last_moved_event < std::chrono::seconds{1}) return;
  child.last_moved_event = now;
  tell(PeerMoved{child.session, child.spi(), path});
}

void Worker::write_inner(std::span<Packet> batch) {
  if (batch.empty()) return;
  for (const auto& write : coalescer_.run(batch)) {
    if (tun_.write(write.iov)) {
      ++counts_.tun_written_packets;
      counts_.tun_written_octets += write.bytes;
    } else {
      counts_.tun_write_failed += write.packets;
    }
  }
  for (auto& packet : batch) packet.reset();
}

}  // namespace switchback::transports
