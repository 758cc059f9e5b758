// What one connection has to send: whole batches at once, and as little as possible that waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "common/base/bytes.h"
#include "common/packet/packet.h"
#include "transports/tcp/byte_stream.h"
#include "transports/transport.h"

namespace switchback::transports::tcp {

/// Frames that the socket does not take are dropped, as a full queue on the way would: a queue here would only make the
/// tunnel slow. Kept are the rest of a frame that was partly written (the stream would lose its framing), IKE messages
/// (their retransmission takes seconds), and small ESP packets within a smaller bound: probes, whose loss would make a
/// path that is merely full look dead, and acknowledgements of inner connections.
class Outbox {
 public:
  static constexpr std::size_t kIkeLimit = 192 * 1024;
  static constexpr std::size_t kSmallLimit = 32 * 1024;
  static constexpr std::size_t kSmallFrame = 256;

  /// Sends the packets `which` of `batch`, framed already, and resets them all, whatever becomes of them.
  /// Errors: a status that is not alive; what was not sent is dropped.
  [[nodiscard]] IoStatus send(ByteStream& stream, std::span<packet::Packet> batch, std::span<const std::uint32_t> which,
                              TransportCounters& counters);
  /// Adds octets that must not be lost.
  void keep(ByteView octets) { append(waiting_, octets); }
  /// Sends what waits. ok: nothing does.
  [[nodiscard]] IoStatus flush(ByteStream& stream);
  /// Octets that wait here.
  [[nodiscard]] std::size_t waiting_bytes() const noexcept { return waiting_.size() - sent_; }
  /// ESP packets that were dropped since the last call.
  [[nodiscard]] std::uint32_t take_dropped_esp() noexcept { return std::exchange(dropped_esp_, 0); }

 private:
  void keep_or_drop(packet::Packet& packet, TransportCounters& counters);
  void drop(packet::Packet& packet, TransportCounters& counters);

  Bytes waiting_;
  std::size_t sent_ = 0;  // of waiting_
  std::uint32_t dropped_esp_ = 0;
};

}  // namespace switchback::transports::tcp
