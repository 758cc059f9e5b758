// TUN to transport.
#include <algorithm>

#include "common/packet/fragment.h"
#include "common/packet/mss.h"
#include "transports/dataplane/too_big.h"
#include "transports/dataplane/worker.h"

namespace switchback::transports {

using packet::Packet;
using packet::PacketKind;

/// One batch: reads, cuts, seals. Returns whether the TUN may have more. Pre: nothing is left to flush.
bool Worker::read_tun(Instant now) {
  const ByteSpan buffer{tun_buffer_.get(), packet::kMaxIpPacketBytes};
  packet::VirtioNetHeader header;
  bool more = true;
  // Reads that bring nothing to send (malformed, no SA) count too, so that they cannot keep us here.
  for (std::size_t reads = 0; reads < kOutboundBatch && out_.size() < kOutboundBatch; ++reads) {
    const auto got = tun_.read(header, buffer);
    if (!got) {
      tun_failed_ = true;
      tell(DataPlaneFailed{"reading the TUN interface", got.error()});
    }
    if (!got || *got == 0) {
      more = false;
      break;
    }
    ++counts_.tun_read_packets;
    counts_.tun_read_octets += *got;
    cut(header, buffer.first(*got), false, now);
  }
  seal_runs(now);
  if (to_wake_ != 0) ring_doorbells();
  return more;
}

/// Finds the packet's SA and cuts it into what that can send, unless it is another worker's. `from_other`: another
/// worker has found it to be ours.
void Worker::cut(const packet::VirtioNetHeader& header, ByteView packet, bool from_other, Instant now) {
  const auto ip = packet::parse_ip(packet);
  if (!ip) {
    ++counts_.inner_malformed;
    return;
  }
  const auto outlet = outbound_.find(packet, *ip);
  auto* child = outlet.child;
  if (child == nullptr) {
    if (outlet.foreign != nullptr && !from_other) {
      hand_over_inner(outlet.foreign->worker, header, packet);
    } else {
      ++counts_.no_outbound;
    }
    return;
  }
  // RFC 8200 §5: no IPv6 sender goes below 1280 octets, so that the outer packet is cut instead.
  const auto limit = std::max<std::size_t>(child->inner_mtu, ip->family == IpFamily::v6 ? 1280 : 0);
  const auto largest = largest_piece(header, packet, *ip);
  if (child->inner_mtu != 0 && largest > limit && forbids_fragments(packet, *ip)) {
    answer_too_big(*child, packet, *ip, now);
    return;
  }
  const auto* slot = child->carrier->at(child->carrier->in_use);
  if (slot == nullptr) {
    ++counts_.no_path;
    return;
  }
  const auto first = out_.size();
  switch (packet::segment(header, packet, carver_, out_)) {
    case packet::SegmentVerdict::ok: break;
    case packet::SegmentVerdict::exhausted: ++counts_.pool_empty; return;
    case packet::SegmentVerdict::malformed:
    case packet::SegmentVerdict::unsupported: ++counts_.inner_malformed; return;
  }
  // A SYN is never cut.
  if (out_.size() == first + 1 && child->inner_mtu != 0) (void)packet::clamp_mss(out_[first].data(), child->inner_mtu);
  if (child->inner_mtu != 0 && largest > child->inner_mtu) narrow(first, child->inner_mtu);
  const auto count = out_.size() - first;
  for (std::size_t i = first; i < out_.size(); ++i) {
    out_[i].path = slot->path;
    if (pcap_) pcap_->write(out_[i].data(), now);
  }
  if (!runs_.empty() && runs_.back().child == child) {
    runs_.back().count += count;
  } else {
    runs_.push_back({child, first, count});
  }
}

/// Of the packets from `first` on, those that the path does not take whole: IPv4 is cut here, and IPv6, of which only
/// packets of up to 1280 octets come so far, is left to the transport. What there is no memory for goes as it is.
void Worker::narrow(std::size_t first, std::size_t mtu) {
  whole_.assign(std::make_move_iterator(out_.begin() + static_cast<std::ptrdiff_t>(first)),
                std::make_move_iterator(out_.end()));
  out_.resize(first);
  for (auto& packet : whole_) {
    if (packet.size() > mtu) {
      const auto ip = packet::parse_ip(packet.data());
      if (ip && packet::fragment_v4(packet.data(), *ip, mtu, carver_, out_) == packet::FragmentVerdict::ok) continue;
      packet.outer = packet::OuterSize::cut;
    }
    out_.push_back(std::move(packet));
  }
  whole_.clear();
}

void Worker::seal_runs(Instant now) {
  bool holes = false;
  std::size_t next = 0;  // where a run will stand once holes are closed
  for (const auto& run : runs_) {
    auto& child = *run.child;
    const auto batch = std::span{out_}.subspan(run.first, run.count);
    const auto sealed = esp::seal(child.outbound, batch);
    for (auto& refused : batch.subspan(sealed)) refused.reset();  // counted by the SA
    holes = holes || sealed != batch.size();
    if (sealed != 0) {
      counts_.inner_sent += sealed;
      child.activity->last_out.store(now.time_since_epoch().count(), std::memory_order_relaxed);
      auto& session = *child.carrier;
      if (session.twin != CarriedSession::kNone) send_twins(session, batch.first(sealed), now);
      auto& slot = session.slots[session.in_use];
      slot.count_sent(sealed, sealed, now);
      const auto transport = slot.path.transport;
      if (!groups_.empty() && groups_.back().transport == transport) {
        groups_.back().count += sealed;
      } else {
        groups_.push_back({transport, next, sealed});
      }
      next += sealed;
    }
    poll_lifetime(child, child.outbound.lifetime(), true);
  }
  runs_.clear();
  if (holes) std::erase_if(out_, [](const Packet& packet) { return !packet; });
}

/// The same ESP packets along a second path. Whichever comes first counts there, the replay window refuses the other;
/// so a copy that does not go at once is of no use.
void Worker::send_twins(CarriedSession& session, std::span<const Packet> batch, Instant now) {
  auto& slot = session.slots[session.twin];
  auto* link = living_link(slot.path.transport);
  if (link == nullptr) {
    counts_.no_path += batch.size();
    return;
  }
  for (const auto& sealed : batch) {
    auto copy = carver_.carve(packet::kSendHeadroom, sealed.size(), packet::kSendTailroom);
    if (!copy) {
      ++counts_.pool_empty;
      break;
    }
    const auto from = sealed.data();
    std::copy(from.begin(), from.end(), copy.append(from.size()).begin());
    copy.kind = PacketKind::esp;
    copy.path = slot.path;
    copy.outer = sealed.outer;
    twins_.push_back(std::move(copy));
  }
  if (twins_.empty()) return;
  const auto taken = send_by(*link, twins_, now);
  if (taken) {
    counts_.twins_sent += *taken;
    if (*taken != 0) slot.count_sent(*taken, *taken, now);
  } else {
    fail_link(slot.path.transport, taken.error());
  }
  twins_.clear();
}

/// Sends what is cut and sealed. False: a socket is full, and something is left for it. What is for others does not
/// wait.
bool Worker::flush() {
  std::array<bool, kTransportIds> full{};
  bool left = false;
  for (auto& group : groups_) {
    if (group.count == 0) continue;
    if (full[group.transport]) {  // order within a transport stays
      left = true;
      continue;
    }
    auto& link = links_[group.transport];
    const auto batch = std::span{out_}.subspan(group.first, group.count);
    std::size_t sent = batch.size();  // a dead transport swallows
    if (link.lives()) {
      const auto taken = send_by(link, batch, now_);
      if (taken) {
        sent = *taken;
      } else {
        fail_link(group.transport, taken.error());
      }
    } else {
      counts_.no_path += sent;
    }
    group.first += sent;
    group.count -= sent;
    if (group.count != 0) full[group.transport] = left = true;
  }
  if (left) return false;
  out_.clear();
  groups_.clear();
  return true;
}

void Worker::answer_too_big(Child& child, ByteView packet, const packet::IpView& ip, Instant now) {
  ++counts_.too_big;
  auto& count = child.activity->too_big;
  count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (!icmp_.allow(now)) return;
  std::array<std::uint8_t, packet::VirtioNetHeader::kBytes> header{};
  std::array<std::uint8_t, kMaxTooBigBytes> message{};
  const auto octets = build_too_big(packet, ip, child.inner_mtu, message);
  if (octets == 0) return;
  const std::array<iovec, 2> parts{{{header.data(), header.size()}, {message.data(), octets}}};
  if (!tun_.write(tun_.has_header() ? std::span{parts} : std::span{parts}.subspan(1))) ++counts_.tun_write_failed;
}

// ---------------------------------------------------------------- single packets: IKE, control messages, keepalives

void Worker::send_alone(TransportId id, Packet packet, Instant now) {
  auto* link = living_link(id);
  if (link == nullptr) {
    ++counts_.no_path;
    return;
  }
  if (link->ike_waiting.size() >= kIkeWaiting) {
    ++counts_.ike_dropped;  // IKE repeats what matters
    return;
  }
  link->ike_waiting.push_back(std::move(packet));
  (void)flush_ike(id, now);
}

Result<std::size_t> Worker::send_by(Link& link, std::span<Packet> batch, Instant now) {
  if (!link.transport) return hand_over_sealed(batch);
  auto taken = link.transport->send(batch, now);
  while (const auto drops = link.transport->poll_own_drops()) {
    // Those of other workers' sessions go on counting as sent: it is the peer's figures that they make worse.
    const auto [first, last] = carriers_.equal_range(drops->path);
    for (auto at = first; at != last; ++at) {
      if (auto* slot = at->second->find(drops->path)) slot->count_not_sent(drops->packets);
    }
  }
  return taken;
}

/// False: the socket is full.
bool Worker::flush_ike(TransportId id, Instant now) {
  auto& link = links_[id];
  if (link.ike_waiting.empty()) return true;
  std::size_t sent = link.ike_waiting.size();
  if (!link.failed) {
    const auto taken = send_by(link, link.ike_waiting, now);
    if (taken) {
      sent = *taken;
    } else {
      fail_link(id, taken.error());
    }
  }
  link.ike_waiting.erase(link.ike_waiting.begin(), link.ike_waiting.begin() + static_cast<std::ptrdiff_t>(sent));
  return link.ike_waiting.empty();
}

void Worker::send_ike(const command::SendIke& order, Instant now) {
  if (order.message.size() > packet::kMaxIpPacketBytes) {
    ++counts_.ike_dropped;
    return;
  }
  if (living_link(order.path.transport) == nullptr) {
    ++counts_.no_path;
    return;
  }
  auto packet = carver_.carve(packet::kSendHeadroom, order.message.size(), packet::kSendTailroom);
  if (!packet) {
    ++counts_.pool_empty;
    return;
  }
  std::copy(order.message.begin(), order.message.end(), packet.append(order.message.size()).begin());
  packet.kind = PacketKind::ike;
  packet.path = order.path;
  ++counts_.ike_sent;
  send_alone(order.path.transport, std::move(packet), now);
}

/// The newest that sends; while none does (the session is being rekeyed or ended), the newest. Pre: there is one.
Child& Worker::child_to_send_by(const CarriedSession& session) noexcept {
  const auto& children = session.children;
  const auto sending = std::find_if(children.rbegin(), children.rend(), [](const Child* c) { return c->sending; });
  return **(sending != children.rend() ? sending : children.rbegin());
}

void Worker::send_control(const command::SendControl& order, Instant now) {
  auto* session = find(order.session);
  if (session == nullptr || session->children.empty()) return;
  if (living_link(order.path.transport) == nullptr) {
    ++counts_.no_path;
    return;
  }
  auto& child = child_to_send_by(*session);
  if (order.body.size() > packet::kMaxIpPacketBytes - packet::kSendHeadroom) return;
  auto packet = carver_.carve(packet::kSendHeadroom, order.body.size(), packet::kSendTailroom);
  if (!packet) {
    ++counts_.pool_empty;
    return;
  }
  std::copy(order.body.begin(), order.body.end(), packet.append(order.body.size()).begin());
  packet.path = order.path;
  if (order.dont_fragment) packet.outer = packet::OuterSize::probe;
  if (esp::seal_dummies(child.outbound, {&packet, 1}) == 1) {
    if (auto* slot = session->find(order.path)) slot->count_sent(1, 0, now);
    send_alone(order.path.transport, std::move(packet), now);
  }
  poll_lifetime(child, child.outbound.lifetime(), true);
}

/// Past the queue of lone packets, and past all counts: what expires on the way must not look like loss.
void Worker::send_limited(const command::SendLimited& order, Instant now) {
  LimitedSent said;
  said.session = order.session;
  said.path = order.path;
  said.token = order.token;
  said.hop_limit = order.hop_limit;
  said.at = now;
  auto* session = find(order.session);
  auto* link = living_link(order.path.transport);
  const auto kind = link == nullptr ? LimitedKind::none : link->transport->limited_kind(order.path);
  said.possible =
      kind == LimitedKind::esp ? session != nullptr && !session->children.empty() : kind != LimitedKind::none;
  if (said.possible) {
    Packet packet;
    bool ready = true;
    if (kind == LimitedKind::esp) {
      auto& child = child_to_send_by(*session);
      packet = carver_.carve(packet::kSendHeadroom, order.body.size(), packet::kSendTailroom);
      ready = static_cast<bool>(packet);
      if (ready) {
        std::copy(order.body.begin(), order.body.end(), packet.append(order.body.size()).begin());
        ready = esp::seal_dummies(child.outbound, {&packet, 1}) == 1;
      }
      poll_lifetime(child, child.outbound.lifetime(), true);
    }
    packet.path = order.path;
    if (ready) said.packet = link->transport->send_limited(std::move(packet), order.hop_limit, now);
  }
  tell(std::move(said));
}

void Worker::send_keepalive(PathSlot& slot, Instant now) {
  slot.last_sent = now;
  auto packet = carver_.carve(packet::kSendHeadroom, 1, packet::kSendTailroom);
  if (!packet) return;
  packet.append(1)[0] = 0xFF;  // RFC 3948 §2.3
  packet.kind = PacketKind::keepalive;
  packet.path = slot.path;
  ++counts_.keepalives_sent;
  send_alone(slot.path.transport, std::move(packet), now);
}

}  // namespace switchback::transports
