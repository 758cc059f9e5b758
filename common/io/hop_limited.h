// Packets with a hop limit of one's own choice, and the ICMP errors of the routers where they end.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace switchback::io {

/// Sends IP packets that are built here, past the sockets that their flow belongs to: with the ports, sequence numbers
/// and the identification that the caller wants. Routes, policy routing and the host's firewall apply.
class HopLimitedSender {
 public:
  /// @param mark  SO_MARK; 0 sets none. Errors: operation_not_permitted without CAP_NET_RAW.
  [[nodiscard]] static Result<HopLimitedSender> open(IpFamily family, std::uint32_t mark);

  struct Packet {
    IpAddress source, destination;  // of the family
    std::uint8_t protocol = 0;
    std::uint8_t hop_limit = 0;
    std::uint16_t identification = 0;  // IPv4; not 0, or the kernel chooses
    ByteView l4;                       // with its checksum
  };
  /// Errors: of the system; nothing waits for a full socket.
  [[nodiscard]] Result<void> send(const Packet& packet);

 private:
  explicit HopLimitedSender(UniqueFd fd) noexcept : fd_{std::move(fd)} {}
  UniqueFd fd_;
};

/// Gets every ICMP time exceeded and destination unreachable that comes to this host, whoever's packet it is about.
class IcmpSocket {
 public:
  static constexpr std::size_t kBufferBytes = 2048;  // routers quote up to 576 or 1280 octets; longer ones are cut off

  /// Errors: operation_not_permitted without CAP_NET_RAW.
  [[nodiscard]] static Result<IcmpSocket> open(IpFamily family);

  struct Received {
    IpAddress from;
    ByteView message;  // from the ICMP header on, in the caller's buffer
  };
  /// The next one; nothing if there is none. What is malformed or cut off is passed over, up to a bound.
  [[nodiscard]] std::optional<Received> receive(ByteSpan buffer);
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] IpFamily family() const noexcept { return family_; }

 private:
  IcmpSocket(UniqueFd fd, IpFamily family) noexcept : fd_{std::move(fd)}, family_{family} {}
  UniqueFd fd_;
  IpFamily family_;
};

}  // namespace switchback::io
