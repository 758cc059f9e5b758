// Messages of a datagram socket read many at a time into pooled memory.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>

#include "common/base/result.h"
#include "common/io/sockets.h"
#include "common/packet/pool.h"

namespace switchback::transports::datagram {

/// Small messages share slabs, so that a flood of them holds little memory; each large one gets a slab of its own.
class ReceiveBatch {
 public:
  /// Messages of one recvmmsg.
  static constexpr std::size_t kMessages = 32;

  struct Message {
    packet::Packet buffer;  // empty: the message was cut off or empty; otherwise with neither path nor kind
    Endpoint from;
    io::ReceivedControl control;
  };

  explicit ReceiveBatch(packet::PacketPool& pool);
  ReceiveBatch(const ReceiveBatch&) = delete;
  ReceiveBatch& operator=(const ReceiveBatch&) = delete;

  /// One recvmmsg; what the last one brought and nobody took is let go. `drained`: readiness has to be waited for
  /// before the next, because nothing is left or the pool is empty.
  /// Errors: the socket's own, and those that ICMP caused, which are over with this call.
  [[nodiscard]] Result<std::span<Message>> fetch(int fd, bool& drained);

 private:
  /// Where a small message is received; 33 of them fill a slab. Not a power of two, for the caches' sake.
  static constexpr std::size_t kSlotBytes = 2112;
  /// From this mean size of received messages on, a few at a time fill the cache.
  static constexpr std::size_t kLargeMessageBytes = 8192;

  [[nodiscard]] std::size_t prepare(std::size_t wanted) noexcept;

  struct alignas(cmsghdr) Control {
    std::array<std::uint8_t, io::kReceiveControlBytes> octets;
  };
  packet::PacketPool& pool_;
  std::array<mmsghdr, kMessages> headers_{};
  std::array<sockaddr_storage, kMessages> names_{};
  std::array<Control, kMessages> controls_{};
  std::array<iovec, 2 * kMessages> parts_{};
  std::array<packet::Packet, kMessages> overflow_;  // whole slabs for what does not fit into a slot
  packet::Packet slots_;                            // one slab, cut into slots
  std::size_t slots_used_ = 0;                      // octets of it
  bool large_messages_ = false;
  std::array<Message, kMessages> messages_;
};

}  // namespace switchback::transports::datagram
