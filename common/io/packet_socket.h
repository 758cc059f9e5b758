// TCP segments in and out beside the kernel's TCP: super-segments through AF_PACKET, single ones through raw sockets.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"
#include "common/io/neighbours.h"

namespace switchback::io {

/// MTU of the largest Ethernet link of this host, 0 without any: what a TCP of its own may be ready to receive.
[[nodiscard]] unsigned largest_link_mtu() noexcept;

/// What was received: one segment, or several of one flow that the kernel has joined.
struct ReceivedTcp {
  IpAddress source, destination;
  std::size_t offset = 0, bytes = 0;  // of the TCP header and all behind it, in the caller's buffer
  std::size_t segment_bytes = 0;      // payload of each segment but the last; 0: a single segment
  bool checked = false;               // the kernel or a device has checked the checksum, or it never was on a wire
};

/// Gives a copy of the TCP segments to some ports of this host, of one family. It sees them before the host's own
/// firewall does. Of IPv4 packets in fragments it has the first fragment, as `useless`; of IPv6 packets with extension
/// headers nothing.
class TcpTap {
 public:
  /// Octets that receive() wants room for.
  static constexpr std::size_t kBufferBytes = 65536 + 256;
  static constexpr std::size_t kMaximumPorts = 100;

  /// Nothing is received before set_ports().
  [[nodiscard]] static Result<TcpTap> open(IpFamily family, std::size_t socket_buffer);
  /// Replaces the ports. Errors: of the filter.
  [[nodiscard]] Result<void> set_ports(std::span<const std::uint16_t> ports);

  enum class Outcome : std::uint8_t { segment, useless, drained };
  /// Takes one message. `useless`: it was cut off or malformed.
  [[nodiscard]] Outcome receive(ByteSpan buffer, ReceivedTcp& out);
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  TcpTap(UniqueFd fd, IpFamily family) noexcept : fd_{std::move(fd)}, family_{family} {}
  UniqueFd fd_;
  IpFamily family_;
};

/// Sends IP packets with TCP segments.
class TcpEmitter {
 public:
  struct Options {
    std::uint32_t mark = 0;
    bool offload = true;  // super-segments
    std::size_t socket_buffer = std::size_t{4} << 20U;
  };
  [[nodiscard]] static Result<TcpEmitter> open(const Options& options);

  /// One run: a TCP header, checksum zero, and payloads. All but the last are of equal size; each is one segment, with
  /// the sequence number of the header moved on.
  struct Run {
    IpAddress source, destination;
    ByteView header;
    std::span<const iovec> payloads;  // none: a segment without payload
    std::size_t segment_bytes = 0;    // of all payloads but the last
    std::size_t payload_bytes = 0;    // of all
  };
  static constexpr std::size_t kMaximumSegments = 64;
  static constexpr std::size_t kMaximumRunBytes = 65000;  // payload
  enum class Outcome : std::uint8_t { sent, blocked, refused };
  /// `blocked`: nothing of the run was sent; EPOLLOUT of blocked_fd() tells when to go on. `refused`: it cannot be sent
  /// as it is, or only a part of it was; a loss.
  [[nodiscard]] Outcome send(const Run& run, const NextHop& hop);
  [[nodiscard]] int blocked_fd() const noexcept { return blocked_fd_; }
  /// Messages handed to the kernel so far.
  [[nodiscard]] std::uint64_t calls() const noexcept { return calls_; }

 private:
  TcpEmitter() = default;
  [[nodiscard]] Outcome send_direct(const Run& run, const NextHop& hop);
  [[nodiscard]] Outcome send_single(const Run& run);

  UniqueFd packet_, raw_v4_, raw_v6_;
  bool offload_ = true;
  std::uint16_t identification_ = 0;
  int blocked_fd_ = -1;
  std::uint64_t calls_ = 0;
  std::vector<iovec> parts_;
};

}  // namespace switchback::io
