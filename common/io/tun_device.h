// A TUN interface and its queues: whole super-packets in and out by virtio-net headers, where the kernel has them.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/packet/offload.h"
#include "common/packet/packet.h"
#include "common/packet/pool.h"

namespace switchback::io {

/// What one read brought: an IP packet, or a super-packet that `header` says how to cut.
struct TunPacket {
  packet::VirtioNetHeader header;
  packet::Packet packet;
};

/// One queue: a descriptor that gives and takes one (super-)packet per system call. Tests make it from a
/// SOCK_SEQPACKET socket pair, which behaves the same. Belongs to one thread.
class TunQueue {
 public:
  /// @param fd      non-blocking
  /// @param header  every packet is preceded by a virtio-net header of packet::kVirtioNetHeaderBytes octets
  TunQueue(UniqueFd fd, bool header) noexcept : fd_{std::move(fd)}, header_{header} {}

  /// Reads until `out` is full, nothing is left or the pool is empty; returns the number read. Packets have
  /// kSendHeadroom and kSendTailroom; small ones share a slab. Errors: the interface is gone (ENETDOWN while it is
  /// merely down is not an error: 0).
  [[nodiscard]] Result<std::size_t> read(std::span<TunPacket> out, packet::PacketPool& pool);

  /// Writes one packet; `parts[0]` is the virtio-net header, which is left out where the queue has none. False when
  /// the kernel would not take it (counted by the caller as dropped): full, down, or not a valid packet.
  [[nodiscard]] bool write(std::span<const iovec> parts) noexcept;

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] bool has_header() const noexcept { return header_; }

 private:
  UniqueFd fd_;
  bool header_;
  packet::Packet slots_;     // a slab from which small packets are cut
  packet::Packet overflow_;  // where a large packet's rest is read
};

/// Which segmentation the kernel leaves to us on read, and accepts from us on write.
struct TunOffloads {
  bool checksum = false;
  bool tso4 = false, tso6 = false;
  bool uso = false;
};

struct TunConfig {
  /// Interface name, at most 15 octets; "swb%d" lets the kernel choose the number.
  std::string name = "swb0";
  unsigned queues = 1;
  /// False: no virtio-net header, one packet per call.
  bool offload = true;
};

/// Owner of the interface: it goes away with the last of its descriptors.
class TunDevice {
 public:
  /// Creates the interface, down and without addresses. Offloads that this kernel lacks are left out, see offloads().
  /// Errors: no /dev/net/tun, no CAP_NET_ADMIN, name taken; each says what to do.
  [[nodiscard]] static Result<TunDevice, UserError> create(const TunConfig& config);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] unsigned ifindex() const noexcept { return ifindex_; }
  [[nodiscard]] const TunOffloads& offloads() const noexcept { return offloads_; }
  /// Octets of the largest IP packet.
  [[nodiscard]] Result<unsigned> mtu() const;
  [[nodiscard]] Result<void> set_mtu(unsigned mtu);
  [[nodiscard]] Result<void> set_up(bool up);

  /// Hands out the queues, once; the interface lives as long as any of them or the device. The device keeps one
  /// descriptor that reads nothing only while no queue was taken.
  [[nodiscard]] std::vector<TunQueue> take_queues();

 private:
  TunDevice() = default;
  std::string name_;
  unsigned ifindex_ = 0;
  TunOffloads offloads_;
  std::vector<TunQueue> queues_;
};

}  // namespace switchback::io
