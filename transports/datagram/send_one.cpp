#include "transports/datagram/send_one.h"

#include <cerrno>

#include "common/io/sockets.h"

namespace switchback::transports::datagram {

Outcome send_one(int fd, const Endpoint& local, const msghdr& message, const AddressPair& path,
                 TransportCounters& counters, ReportQueue& reports) {
  // With IP_RECVERR a call may fail by an ICMP error about an earlier datagram, to anyone: that is over with the next.
  for (int attempt = 0; attempt < 3; ++attempt) {
    ++counters.send_calls;
    if (::sendmsg(fd, &message, MSG_NOSIGNAL) >= 0) return Outcome::sent;
    switch (errno) {
      case EINTR: break;
      case EAGAIN: return Outcome::blocked;
      case ENOBUFS: return Outcome::dropped;  // a queue of the device was full; the socket is not
      case EMSGSIZE: {
        // The path takes less. The datagram still leaves, in fragments, and the report makes the tunnel's MTU smaller.
        const bool left = io::send_fragmented(fd, path.remote.address.family(), message).has_value();
        drain_errors(fd, local, reports, &path);
        return left ? Outcome::sent : Outcome::dropped;
      }
      case ENETUNREACH:
      case EHOSTUNREACH:
      case ENETDOWN:
      case ECONNREFUSED:
      case ENOPROTOOPT:  // ICMP protocol unreachable
      case EPROTO:       // as above, ICMPv6
        if (attempt == 2) reports.hint({PathReport::Kind::unreachable, path, 0});
        break;
      case EINVAL:         // the source address is no longer of this host
      case EADDRNOTAVAIL:  // as above, IPv6
        reports.hint({PathReport::Kind::unreachable, path, 0});
        return Outcome::dropped;
      default: break;
    }
  }
  return Outcome::dropped;
}

Outcome send_sized(int fd, const msghdr& message, const packet::Packet& packet, TransportCounters& counters) {
  const auto family = packet.path.remote.address.family();
  for (int attempt = 0; attempt < 3; ++attempt) {
    ++counters.send_calls;
    const auto sent = packet.outer == packet::OuterSize::probe ? io::send_unfragmented(fd, family, message)
                                                               : io::send_fragmented(fd, family, message);
    if (sent) return Outcome::sent;
    if (sent.error() == std::errc::resource_unavailable_try_again) return Outcome::blocked;
    if (sent.error() == std::errc::message_size || sent.error() == std::errc::no_buffer_space) break;
  }
  return Outcome::dropped;
}

void drain_errors(int fd, const Endpoint& local, ReportQueue& reports, const AddressPair* just_sent) {
  for (int i = 0; i < 64; ++i) {  // bounded: anyone can send ICMP
    const auto error = io::next_socket_error(fd);
    if (!error) break;
    if (error->remote.address.empty()) continue;
    if (error->expired) continue;  // what send_limited() sends ends so; for data it is transient (RFC 1122 §3.2.2.4)
    AddressPair path{local, error->remote};
    if (path.remote.port == 0 && just_sent != nullptr && just_sent->remote.address == path.remote.address)
      path = *just_sent;
    if (error->error == EMSGSIZE) {
      reports.hint({PathReport::Kind::mtu, path, error->mtu});
    } else {
      reports.hint({PathReport::Kind::unreachable, path, 0});
    }
  }
  io::clear_socket_error(fd);
}

}  // namespace switchback::transports::datagram
