// What goes to other workers and comes from them.
//
// A full ring never makes anybody wait: packets that arrived, or that came from the TUN, are dropped and counted, as a
// full socket buffer would drop them. Only towards a transport a full ring counts as its full socket, so that the TUN
// is left alone and the kernel's TCP sees it; that cannot go round in a circle, since the worker that runs the
// transport empties the ring whatever it waits for itself.
#include <algorithm>

#include "transports/dataplane/worker.h"

namespace switchback::transports {

using packet::Packet;
using packet::PacketKind;

namespace {

/// Other workers' packets that may wait for a transport's full socket here; the rest stays in the rings.
constexpr std::size_t kRelayed = 256;

[[nodiscard]] bool write_outer(HandoverRing& ring, const Packet& packet) noexcept {
  const auto octets = packet.data();
  if (sizeof(OuterRecord) + octets.size() > ring.largest_record()) return false;
  const auto room = ring.reserve(sizeof(OuterRecord) + octets.size());
  if (room.empty()) return false;
  const OuterRecord record{packet.path, packet.kind, packet.outer};
  std::memcpy(room.data(), &record, sizeof record);
  std::memcpy(room.data() + sizeof record, octets.data(), octets.size());
  ring.commit();
  return true;
}

struct Outer {
  OuterRecord record;
  ByteView octets;  // of the ring
};

[[nodiscard]] Outer read_outer(ByteView from) noexcept {
  Outer outer;
  std::memcpy(&outer.record, from.data(), sizeof outer.record);
  outer.octets = from.subspan(sizeof outer.record);
  return outer;
}

/// Another packet of this pool.
[[nodiscard]] Packet copy_of(const Outer& outer, packet::PacketCarver& carver, std::size_t head, std::size_t tail) {
  auto copy = carver.carve(head, outer.octets.size(), tail);
  if (!copy) return copy;
  std::memcpy(copy.append(outer.octets.size()).data(), outer.octets.data(), outer.octets.size());
  copy.kind = outer.record.kind;
  copy.outer = outer.record.outer;
  copy.path = outer.record.path;
  return copy;
}

}  // namespace

// ---------------------------------------------------------------- to others

void Worker::hand_over_inner(unsigned to, const packet::VirtioNetHeader& header, ByteView packet) {
  auto& ring = handover_->lane(index_, to).inner;
  const auto room = ring.reserve(sizeof(InnerRecord) + packet.size());
  if (room.empty()) {
    ++counts_.handover_full;
    return;
  }
  const InnerRecord record{header};
  std::memcpy(room.data(), &record, sizeof record);
  std::memcpy(room.data() + sizeof record, packet.data(), packet.size());
  ring.commit();
  ++counts_.handed_inner;
  to_wake_ |= 1U << to;
}

void Worker::hand_over_arrived(unsigned to, std::span<Packet> run) {
  auto& ring = handover_->lane(index_, to).arrived;
  for (auto& packet : run) {
    if (write_outer(ring, packet)) {
      ++counts_.handed_arrived;
    } else {
      ++counts_.handover_full;
    }
    packet.reset();
  }
  to_wake_ |= 1U << to;
}

/// To worker 0. Returns how many were taken, as Transport::send().
std::size_t Worker::hand_over_sealed(std::span<Packet> batch) {
  auto& ring = handover_->lane(index_, 0).sealed;
  std::size_t taken = 0;
  while (taken < batch.size()) {
    if (write_outer(ring, batch[taken])) {
      batch[taken++].reset();
    } else if (ring.wait_for_room()) {
      waits_for_ring_ = true;
      break;
    }
  }
  counts_.handed_sealed += taken;
  if (taken != 0) {
    to_wake_ |= 1U;
    ring_doorbells();
  }
  return taken;
}

void Worker::ring_doorbells() noexcept {
  for (unsigned to = 0; to < handover_->workers(); ++to) {
    if ((to_wake_ & 1U << to) != 0) handover_->doorbell(to).ring();
  }
  to_wake_ = 0;
}

// ---------------------------------------------------------------- from others

/// Whether there is something that can be taken now.
bool Worker::something_came() {
  if (waits_for_ring_ && handover_->lane(index_, 0).sealed.has_moved()) {
    waits_for_ring_ = false;
    return true;
  }
  for (unsigned from = 0; from < handover_->workers(); ++from) {
    if (from == index_) continue;
    auto& lane = handover_->lane(from, index_);
    if (!lane.arrived.empty() || (!blocked_ && !lane.inner.empty())) return true;
    if (const auto sealed = lane.sealed.front(); !sealed.empty()) {
      if (links_[read_outer(sealed).record.path.transport].relayed.size() < kRelayed) return true;
    }
  }
  return false;
}

/// One batch from all lanes. Pre: nothing is left to flush.
void Worker::take_inner(Instant now) {
  const auto workers = handover_->workers();
  const auto first = static_cast<unsigned>(counts_.loop_turns % workers);
  for (unsigned i = 0; i < workers; ++i) {
    const auto from = (first + i) % workers;
    if (from == index_) continue;
    auto& ring = handover_->lane(from, index_).inner;
    for (std::size_t reads = 0; reads < kOutboundBatch && out_.size() < kOutboundBatch; ++reads) {
      const auto octets = ring.front();
      if (octets.empty()) break;
      InnerRecord record;
      std::memcpy(&record, octets.data(), sizeof record);
      cut(record.header, octets.subspan(sizeof record), true, now);
      ring.pop();
    }
  }
  seal_runs(now);
}

void Worker::take_arrived(Instant now) {
  for (unsigned from = 0; from < handover_->workers(); ++from) {
    if (from == index_) continue;
    auto& ring = handover_->lane(from, index_).arrived;
    std::size_t count = 0;
    for (std::size_t reads = 0; reads < kInboundBatch; ++reads) {
      const auto octets = ring.front();
      if (octets.empty()) break;
      in_[count] = copy_of(read_outer(octets), carver_, 0, 0);
      ring.pop();
      if (in_[count]) {
        ++count;
      } else {
        ++counts_.pool_empty;
      }
    }
    if (count != 0) take_in(std::span{in_}.first(count), true, now);
  }
}

/// False: a socket is full.
bool Worker::flush_relayed(TransportId id, Instant now) {
  auto& link = links_[id];
  if (link.relayed.empty()) return true;
  std::size_t sent = link.relayed.size();
  if (link.here()) {
    const auto taken = link.transport->send(link.relayed, now);
    if (taken) {
      sent = *taken;
    } else {
      fail_link(id, taken.error());
    }
  } else {
    counts_.no_path += sent;
  }
  link.relayed.erase(link.relayed.begin(), link.relayed.begin() + static_cast<std::ptrdiff_t>(sent));
  return link.relayed.empty();
}

/// Sends what other workers have sealed for the transports that run here.
void Worker::relay_sealed(Instant now) {
  for (std::size_t id = 0; id < links_.size(); ++id) (void)flush_relayed(static_cast<TransportId>(id), now);
  for (unsigned from = 0; from < handover_->workers(); ++from) {
    if (from == index_) continue;
    auto& ring = handover_->lane(from, index_).sealed;
    bool popped = false;
    for (std::size_t reads = 0; reads < kRelayed; ++reads) {
      const auto octets = ring.front();
      if (octets.empty()) break;
      const auto outer = read_outer(octets);
      auto& link = links_[outer.record.path.transport];
      if (link.relayed.size() >= kRelayed) break;
      auto copy = copy_of(outer, carver_, packet::kSendHeadroom, packet::kSendTailroom);
      ring.pop();
      popped = true;
      if (copy) {
        link.relayed.push_back(std::move(copy));
      } else {
        ++counts_.pool_empty;
      }
    }
    if (popped && ring.resumes_producer()) handover_->doorbell(from).ring();
  }
  for (std::size_t id = 0; id < links_.size(); ++id) (void)flush_relayed(static_cast<TransportId>(id), now);
}

/// A Child SA that was installed before the peer could know of it may still be among the commands, because another
/// worker sent the IKE message that told the peer.
Child* Worker::find_installed(Spi spi, Instant now) {
  if (!commands_.has_messages()) return nullptr;
  obey_all(now);
  return find(spi);
}

void Worker::reach(const command::Reach& order) {
  unreach(order.route->child);  // so that it becomes the newest
  outbound_.add({nullptr, order.route.get()});
  foreign_[order.route->child] = order.route;
}

void Worker::unreach(Spi child) {
  const auto found = foreign_.find(child);
  if (found == foreign_.end()) return;
  outbound_.remove({nullptr, found->second.get()});
  foreign_.erase(found);
}

void Worker::claim(command::Claim& order) {
  auto& claims = claims_[order.path].all;
  const auto path = order.path;
  const auto same = [&](const command::Claim& other) { return other.worker == order.worker; };
  if (const auto before = std::find_if(claims.begin(), claims.end(), same); before != claims.end()) {
    *before = std::move(order);
  } else {
    claims.push_back(std::move(order));
  }
  publish_spis(path);
}

void Worker::disclaim(const command::Disclaim& order, Instant now) {
  const auto found = claims_.find(order.path);
  if (found != claims_.end()) {
    std::erase_if(found->second.all, [&](const command::Claim& claim) { return claim.worker == order.worker; });
    if (found->second.all.empty()) claims_.erase(found);
    publish_spis(order.path);
  }
  if (order.close && !carriers_.contains(order.path) && !claims_.contains(order.path)) close_path(order.path, now);
}

}  // namespace switchback::transports
