// A TUN interface and its queues: whole super-packets in and out by virtio-net headers, where the kernel has them.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/packet/offload.h"

namespace switchback::io {

/// One queue: a descriptor that gives and takes one (super-)packet per system call. Tests make it from a
/// SOCK_SEQPACKET socket pair, which behaves the same. Belongs to one thread.
class TunQueue {
 public:
  /// @param fd      non-blocking
  /// @param header  every packet is preceded by a virtio-net header (IFF_VNET_HDR)
  TunQueue(UniqueFd fd, bool header) noexcept : fd_{std::move(fd)}, header_{header} {}

  /// Reads one packet, or a super-packet that `header` says how to cut. Returns its octets; 0 when there is none now.
  /// @param buffer  at least packet::kMaxIpPacketBytes (common/packet/ip.h)
  /// Errors: the interface is gone. That it is merely down is none.
  [[nodiscard]] Result<std::size_t> read(packet::VirtioNetHeader& header, ByteSpan buffer) noexcept;

  /// Writes one packet, as packet::Coalescer lays it out for has_header(). False when the kernel would not take it:
  /// the interface is down, or the packet is not valid.
  [[nodiscard]] bool write(std::span<const iovec> parts) noexcept;

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] bool has_header() const noexcept { return header_; }

 private:
  UniqueFd fd_;
  bool header_;
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

/// A TUN interface of this process: it goes away with the last of its queues.
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

  /// Hands out the queues, once; the interface lives as long as any of them.
  [[nodiscard]] std::vector<TunQueue> take_queues();

 private:
  TunDevice() = default;
  std::string name_;
  unsigned ifindex_ = 0;
  TunOffloads offloads_;
  std::vector<TunQueue> queues_;
};

}  // namespace switchback::io
