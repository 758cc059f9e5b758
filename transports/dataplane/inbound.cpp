// Transport to TUN.
#include <algorithm>
#include <chrono>

#include "common/packet/mss.h"
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
    std::size_t first = 0;
    while (first < batch.size()) {
      auto& packet = batch[first];
      if (packet.kind != PacketKind::esp) {
        if (packet.kind == PacketKind::ike) {
          take_ike(id, packet);
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
      if (child != nullptr) {
        open_run(id, *child, run, now);
      } else {
        refuse_unknown(id, spi.value_or(Spi{}), run, now);
      }
      first = end;
    }
    // What is left was opened.
    const auto end = std::remove_if(batch.begin(), batch.end(), [](const Packet& packet) { return !packet; });
    write_inner(batch.first(static_cast<std::size_t>(end - batch.begin())));
    link.ready = *got == in_.size();
    if (!link.ready) return;
  }
}

void Worker::take_ike(TransportId id, const Packet& packet) {
  const auto octets = packet.size();
  // Only this thread adds, so what is read here can only have become less.
  if (ike_budget_.messages.load(std::memory_order_relaxed) >= IkeBudget::kMessages ||
      ike_budget_.octets.load(std::memory_order_relaxed) + octets > IkeBudget::kOctets) {
    ++counts_.ike_dropped;
    return;
  }
  ike_budget_.messages.fetch_add(1, std::memory_order_relaxed);
  ike_budget_.octets.fetch_add(octets, std::memory_order_relaxed);
  ++counts_.ike_received;
  tell(IkeReceived{id, packet.path, to_bytes(packet.data())});
}

void Worker::refuse_unknown(TransportId id, Spi spi, std::span<Packet> run, Instant now) {
  counts_.unknown_spi += run.size();
  if (unknown_spi_.allow(now)) tell(UnknownSpi{id, run[0].path, spi, run[0].size()});
  for (auto& packet : run) packet.reset();
}

void Worker::open_run(TransportId id, Child& child, std::span<Packet> run, Instant now) {
  const auto verdicts = std::span{verdicts_}.first(run.size());
  esp::open(child.inbound, run, verdicts);
  std::size_t opened = 0;
  const Packet* authentic = nullptr;
  for (std::size_t i = 0; i < run.size(); ++i) {
    switch (verdicts[i]) {
      case esp::Verdict::opened:
        ++opened;
        authentic = &run[i];
        if (child.inner_mtu != 0) (void)packet::clamp_mss(run[i].data(), child.inner_mtu);
        if (pcap_) pcap_->write(run[i].data(), now);
        continue;
      case esp::Verdict::dummy: ++counts_.esp_dummy; break;
      case esp::Verdict::malformed: ++counts_.esp_malformed; break;
      case esp::Verdict::replayed: ++counts_.esp_replayed; break;
      case esp::Verdict::forged: ++counts_.esp_forged; break;
      case esp::Verdict::wrong_selector: ++counts_.esp_refused; break;
      case esp::Verdict::expired: ++counts_.esp_refused; break;
    }
    if (verdicts[i] == esp::Verdict::dummy) {
      note_authentic(id, child, run[i].path, now);
    }
    run[i].reset();
  }
  counts_.inner_received += opened;
  if (authentic != nullptr) note_authentic(id, child, authentic->path, now);
  poll_lifetime(child, child.inbound.lifetime(), false);
}

/// The peer holds the key and has sent from `path` just now.
void Worker::note_authentic(TransportId id, Child& child, const AddressPair& path, Instant now) {
  child.activity->last_in.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  if (!std::exchange(child.received, true)) {
    tell(FirstInbound{child.session, child.spi()});
  }
  if (!child.is_on_path(id, path) && now - child.last_moved_event >= std::chrono::seconds{1}) {
    child.last_moved_event = now;
    tell(PeerMoved{child.session, child.spi(), id, path});
  }
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
