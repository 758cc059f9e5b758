// One datagram sent on its own, with all that the kernel may answer: refused sizes, errors about earlier ones, a full
// socket.
#pragma once

#include <sys/socket.h>

#include "common/packet/packet.h"
#include "transports/datagram/report_queue.h"

namespace switchback::transports::datagram {

enum class Outcome : std::uint8_t {
  sent,
  dropped,  // it can never leave as it is, or a queue of the device was full
  blocked   // the socket is full
};

/// @param path  where it goes, which is what hints will name
/// @param local  of the socket, for errors about others
[[nodiscard]] Outcome send_one(int fd, const Endpoint& local, const msghdr& message, const AddressPair& path,
                               TransportCounters& counters, ReportQueue& reports);

/// A packet of which packet::OuterSize says what becomes of it: a probe is never cut on its way and may be longer than
/// what the kernel believes of the path; the other is cut here or on its way, which over IPv6 takes a kernel that knows
/// the path. What is too long for the interface itself is `dropped`. Pre: not OuterSize::fits.
[[nodiscard]] Outcome send_sized(int fd, const msghdr& message, const packet::Packet& packet,
                                 TransportCounters& counters);

/// Queued ICMP errors (and the kernel's own "too big") into hints.
/// @param just_sent  whom an error is about that names no port: the kernel's own EMSGSIZE for IPv4 does not
void drain_errors(int fd, const Endpoint& local, ReportQueue& reports, const AddressPair* just_sent = nullptr);

}  // namespace switchback::transports::datagram
