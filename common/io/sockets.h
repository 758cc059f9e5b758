// UDP and raw IP sockets with batches, segmentation and receive offloads, packet information and ICMP errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/unique_fd.h"

struct msghdr;

namespace switchback::io {

/// Several sockets at one port, SO_REUSEPORT.
enum class PortSharing : std::uint8_t {
  none,
  found,  // nobody else may have the port now; others may join, and the first to do so makes it a group
  join
};

struct UdpOptions {
  std::uint32_t mark = 0;  // SO_MARK; 0 sets none
  PortSharing sharing = PortSharing::none;
  bool receive_offload = true;                 // UDP_GRO
  std::size_t buffer = std::size_t{4} << 20U;  // octets each way; beyond the system's limit only with CAP_NET_ADMIN
};

/// What to know of an open socket.
struct UdpSocket {
  UniqueFd fd;
  Endpoint local;             // with the port that the kernel chose
  bool segmentation = false;  // UDP_SEGMENT exists; a device may still refuse it at send time
  bool receive_offload = false;
};

/// Opens a non-blocking UDP socket of `local`'s family, IPv6 ones for IPv6 only, with packet information, ICMP errors
/// queued (IP_RECVERR) and Don't Fragment set on what is sent: a datagram beyond the path's MTU is refused with
/// EMSGSIZE, which send_fragmented() overcomes.
/// Errors: of socket(), bind() and SO_MARK; the other options fall back silently.
[[nodiscard]] Result<UdpSocket> open_udp(const Endpoint& local, const UdpOptions& options);

/// Turns UDP_GRO on or off. False: the kernel does not have it.
bool set_receive_offload(int fd, bool on) noexcept;

/// Opens a non-blocking raw socket for `protocol` packets to `local`, or to any address of the host if unspecified,
/// with the options of open_udp(). Receiving gives IPv4 packets with their header, IPv6 ones without.
/// Errors: as open_udp(); operation_not_permitted without CAP_NET_RAW.
[[nodiscard]] Result<UniqueFd> open_raw(const IpAddress& local, int protocol, std::uint32_t mark, std::size_t buffer);

/// Control data of one received message.
struct ReceivedControl {
  unsigned interface = 0;         // the index of the one that it came by; 0 if the kernel did not say
  IpAddress destination;          // the local address that it was sent to; empty if the kernel did not say
  std::size_t segment_bytes = 0;  // UDP_GRO: the message is a run of datagrams of this size; 0: one datagram
};
[[nodiscard]] ReceivedControl parse_control(const msghdr& message) noexcept;
/// Octets of control buffer that receiving needs.
inline constexpr std::size_t kReceiveControlBytes = 128;

/// Appends control data: the source address (unless empty or unspecified), the segment size (unless 0) and the hop
/// limit (unless 0).
/// @param buffer  kSendControlBytes octets, aligned as cmsghdr, that live until the call
inline constexpr std::size_t kSendControlBytes = 128;
void build_control(msghdr& message, std::uint8_t* buffer, const IpAddress& source, std::uint16_t segment_bytes,
                   std::uint8_t hop_limit = 0) noexcept;

/// Sends `message` with fragmentation allowed, whatever the socket's setting. Slow; for messages that have to leave.
[[nodiscard]] Result<void> send_fragmented(int fd, IpFamily family, const msghdr& message);

/// Sends `message` with Don't Fragment, even beyond what the kernel knows of the path's MTU: the network is asked.
/// Errors: message_size if the interface itself takes less.
[[nodiscard]] Result<void> send_unfragmented(int fd, IpFamily family, const msghdr& message);

/// An ICMP error (or a local "too big") about something that was sent to `remote`.
struct SocketError {
  Endpoint remote;
  int error = 0;          // errno, such as ECONNREFUSED, EHOSTUNREACH, EMSGSIZE
  std::uint32_t mtu = 0;  // with EMSGSIZE: what the path takes, octets of IP packet
  bool expired = false;   // ICMP time exceeded: of a packet with a hop limit of its own, or in a loop of routers
};
/// The next queued error, none if there is none.
[[nodiscard]] std::optional<SocketError> next_socket_error(int fd) noexcept;

/// Forgets the error that the next call would otherwise fail with.
void clear_socket_error(int fd) noexcept;

/// The address from which this host would send to `remote` now, with `mark` applied to the route lookup.
[[nodiscard]] Result<IpAddress> source_address_for(const Endpoint& remote, std::uint32_t mark);

}  // namespace switchback::io
