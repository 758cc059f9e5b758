#include "transports/tcp/outbox.h"

#include <algorithm>
#include <array>

namespace switchback::transports::tcp {
namespace {

/// Parts of one write; the kernel takes 1024.
constexpr std::size_t kParts = 256;
/// What an empty buffer may hold on to.
constexpr std::size_t kIdleCapacity = 4096;

}  // namespace

IoStatus Outbox::flush(ByteStream& stream) {
  if (const auto status = stream.flush(); status != IoStatus::ok) return status;
  while (sent_ < waiting_.size()) {
    const iovec part{waiting_.data() + sent_, waiting_.size() - sent_};
    const auto result = stream.write({&part, 1});
    sent_ += result.octets;
    if (result.status != IoStatus::ok) return result.status;
  }
  waiting_.clear();
  sent_ = 0;
  if (waiting_.capacity() > kIdleCapacity) waiting_.shrink_to_fit();
  return IoStatus::ok;
}

void Outbox::keep_or_drop(packet::Packet& packet, TransportCounters& counters) {
  const auto limit = packet.kind == packet::PacketKind::ike ? kIkeLimit
                     : packet.size() <= kSmallFrame         ? kSmallLimit
                                                            : std::size_t{0};
  if (waiting_bytes() + packet.size() <= limit) {
    // The part that has left would otherwise stay for as long as the socket never runs dry.
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(sent_));
    sent_ = 0;
    append(waiting_, packet.data());
    ++counters.sent_packets;
    counters.sent_octets += packet.size();
    packet.reset();
  } else {
    drop(packet, counters);
  }
}

void Outbox::drop(packet::Packet& packet, TransportCounters& counters) {
  ++counters.send_dropped;
  if (packet.kind == packet::PacketKind::esp) ++dropped_esp_;
  packet.reset();
}

IoStatus Outbox::send(ByteStream& stream, std::span<packet::Packet> batch, std::span<const std::uint32_t> which,
                      TransportCounters& counters) {
  auto status = flush(stream);
  std::size_t next = 0;
  while (status == IoStatus::ok && next < which.size()) {
    std::array<iovec, kParts> parts;
    const auto count = std::min(which.size() - next, kParts);
    for (std::size_t i = 0; i < count; ++i) {
      auto data = batch[which[next + i]].data();
      parts[i] = {data.data(), data.size()};
    }
    ++counters.send_calls;
    const auto result = stream.write(std::span{parts}.first(count));
    status = result.status;
    auto octets = result.octets;
    for (const auto last = next + count; next < last; ++next) {
      auto& packet = batch[which[next]];
      if (octets == 0) break;
      const auto taken = std::min(octets, packet.size());
      octets -= taken;
      if (taken < packet.size()) append(waiting_, packet.data().subspan(taken));
      ++counters.sent_packets;
      counters.sent_octets += packet.size();
      packet.reset();
    }
  }
  if (next == which.size()) return status;
  if (status == IoStatus::blocked) ++counters.send_blocked;
  for (; next < which.size(); ++next) {
    auto& packet = batch[which[next]];
    if (alive(status)) {
      keep_or_drop(packet, counters);
    } else {
      drop(packet, counters);
    }
  }
  return status;
}

}  // namespace switchback::transports::tcp
