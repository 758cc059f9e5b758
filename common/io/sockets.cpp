#include "common/io/sockets.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <cassert>
#include <cerrno>
#include <climits>
#include <cstring>

namespace switchback::io {
namespace {

[[nodiscard]] bool set_option(int fd, int level, int name, int value) noexcept {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

constexpr std::uint8_t kIcmpTimeExceeded = 11, kIcmpv6TimeExceeded = 3;  // RFC 792, RFC 4443 §3.3

void set_buffer(int fd, std::size_t octets) noexcept {
  const int value = octets > INT_MAX / 2 ? INT_MAX / 2 : static_cast<int>(octets);
  // The forced form passes the system's limit but needs CAP_NET_ADMIN; without it a smaller buffer is no failure.
  if (!set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, value)) (void)set_option(fd, SOL_SOCKET, SO_RCVBUF, value);
  if (!set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, value)) (void)set_option(fd, SOL_SOCKET, SO_SNDBUF, value);
}

/// What the kernel does about the path's MTU.
enum class Fragmentation : std::uint8_t {
  refuse,  // Don't Fragment, and EMSGSIZE beyond the MTU that the kernel knows of the path
  allow,   // cut where needed, here or on the way
  probe    // Don't Fragment, whatever the kernel knows of the path; EMSGSIZE beyond the interface's MTU
};

[[nodiscard]] bool set_fragmentation(int fd, IpFamily family, Fragmentation how) noexcept {
  const bool v4 = family == IpFamily::v4;
  int value = 0;
  switch (how) {
    case Fragmentation::refuse: value = v4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO; break;
    case Fragmentation::allow: value = v4 ? IP_PMTUDISC_DONT : IPV6_PMTUDISC_DONT; break;
    case Fragmentation::probe: value = v4 ? IP_PMTUDISC_PROBE : IPV6_PMTUDISC_PROBE; break;
  }
  return v4 ? set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, value)
            : set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, value);
}

[[nodiscard]] Result<void> send_with(int fd, IpFamily family, const msghdr& message, Fragmentation how) {
  if (!set_fragmentation(fd, family, how)) return fail_errno();
  const auto sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  const auto error = errno;
  (void)set_fragmentation(fd, family, Fragmentation::refuse);
  if (sent < 0) return fail(std::error_code{error, std::system_category()});
  return {};
}

/// What sockets for datagrams of either kind need beside their protocol's own options.
[[nodiscard]] Result<void> set_common_options(int fd, IpFamily family, std::uint32_t mark, std::size_t buffer) {
  if (mark != 0 && ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) return fail_errno();
  if (family == IpFamily::v6) {
    (void)set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    (void)set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
  } else {
    (void)set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    (void)set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
  }
  (void)set_fragmentation(fd, family, Fragmentation::refuse);
  set_buffer(fd, buffer);
  return {};
}

[[nodiscard]] int domain_of(IpFamily family) noexcept { return family == IpFamily::v4 ? AF_INET : AF_INET6; }

template <class T>
[[nodiscard]] T control_value(const cmsghdr* control) noexcept {
  T value{};
  std::memcpy(&value, CMSG_DATA(const_cast<cmsghdr*>(control)), sizeof value);
  return value;
}

template <class T>
[[nodiscard]] bool holds(const cmsghdr* control) noexcept {
  return control->cmsg_len >= CMSG_LEN(sizeof(T));
}

}  // namespace

Result<UdpSocket> open_udp(const Endpoint& local, const UdpOptions& options) {
  const auto family = local.address.family();
  if (family == IpFamily::none) return fail(std::make_error_code(std::errc::invalid_argument));
  UdpSocket socket;
  socket.fd = UniqueFd{::socket(domain_of(family), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!socket.fd) return fail_errno();
  const int fd = socket.fd.get();

  if (options.sharing == PortSharing::join && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return fail_errno();
  // The families have a socket each, so that both can have the same port.
  if (family == IpFamily::v6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) return fail_errno();
  SB_CHECK(set_common_options(fd, family, options.mark, options.buffer));
  socket.segmentation = set_option(fd, SOL_UDP, UDP_SEGMENT, 0);  // 0: the size comes with each message
  socket.receive_offload = options.receive_offload && set_receive_offload(fd, true);

  sockaddr_storage address{};
  auto length = static_cast<socklen_t>(local.to_sockaddr(address));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0) return fail_errno();
  // Only now: before bind() it would share the port with whoever has it, another instance of this program, say.
  if (options.sharing == PortSharing::found && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return fail_errno();
  length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return fail_errno();
  socket.local = Endpoint::from_sockaddr(address);
  return socket;
}

bool set_receive_offload(int fd, bool on) noexcept { return set_option(fd, SOL_UDP, UDP_GRO, on ? 1 : 0); }

Result<UniqueFd> open_raw(const IpAddress& local, int protocol, std::uint32_t mark, std::size_t buffer) {
  const auto family = local.family();
  if (family == IpFamily::none) return fail(std::make_error_code(std::errc::invalid_argument));
  UniqueFd fd{::socket(domain_of(family), SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)};
  if (!fd) return fail_errno();
  SB_CHECK(set_common_options(fd.get(), family, mark, buffer));
  sockaddr_storage address{};
  const auto length = static_cast<socklen_t>(Endpoint{local, 0}.to_sockaddr(address));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return fail_errno();
  return fd;
}

ReceivedControl parse_control(const msghdr& message) noexcept {
  ReceivedControl found;
  auto* mutable_message = const_cast<msghdr*>(&message);
  for (auto* control = CMSG_FIRSTHDR(mutable_message); control != nullptr;
       control = CMSG_NXTHDR(mutable_message, control)) {
    if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO && holds<int>(control)) {
      const auto size = control_value<int>(control);
      if (size > 0) found.segment_bytes = static_cast<std::size_t>(size);
    } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO && holds<in_pktinfo>(control)) {
      const auto info = control_value<in_pktinfo>(control);
      found.interface = static_cast<unsigned>(info.ipi_ifindex);
      found.destination = IpAddress::v4(ntohl(info.ipi_addr.s_addr));
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO &&
               holds<in6_pktinfo>(control)) {
      const auto info = control_value<in6_pktinfo>(control);
      found.interface = info.ipi6_ifindex;
      found.destination = IpAddress::from_bytes({info.ipi6_addr.s6_addr, 16});
    }
  }
  return found;
}

void build_control(msghdr& message, std::uint8_t* buffer, const IpAddress& source, std::uint16_t segment_bytes,
                   std::uint8_t hop_limit) noexcept {
  std::size_t used = 0;
  const auto add = [&](int level, int type, const auto& value) {
    cmsghdr header{};
    header.cmsg_len = CMSG_LEN(sizeof value);
    header.cmsg_level = level;
    header.cmsg_type = type;
    assert(used + CMSG_SPACE(sizeof value) <= kSendControlBytes);
    std::memset(buffer + used, 0, CMSG_SPACE(sizeof value));
    std::memcpy(buffer + used, &header, sizeof header);
    std::memcpy(buffer + used + CMSG_LEN(0), &value, sizeof value);
    used += CMSG_SPACE(sizeof value);
  };
  if (!source.empty() && !source.is_unspecified()) {
    if (source.is_v4()) {
      in_pktinfo info{};
      std::memcpy(&info.ipi_spec_dst, source.bytes().data(), 4);
      add(IPPROTO_IP, IP_PKTINFO, info);
    } else {
      in6_pktinfo info{};
      std::memcpy(&info.ipi6_addr, source.bytes().data(), 16);
      add(IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
  }
  if (segment_bytes != 0) add(SOL_UDP, UDP_SEGMENT, segment_bytes);
  if (hop_limit != 0) {
    const auto* name = static_cast<const sockaddr*>(message.msg_name);
    const bool v6 = name != nullptr && name->sa_family == AF_INET6;
    const int limit = hop_limit;
    add(v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_HOPLIMIT : IP_TTL, limit);
  }
  message.msg_control = used == 0 ? nullptr : buffer;
  message.msg_controllen = used;
}

Result<void> send_fragmented(int fd, IpFamily family, const msghdr& message) {
  return send_with(fd, family, message, Fragmentation::allow);
}

Result<void> send_unfragmented(int fd, IpFamily family, const msghdr& message) {
  return send_with(fd, family, message, Fragmentation::probe);
}

std::optional<SocketError> next_socket_error(int fd) noexcept {
  // The offending datagram comes along; it is not looked at, and one octet is enough to be rid of it.
  std::uint8_t octet = 0;
  iovec part{&octet, sizeof octet};
  sockaddr_storage destination{};
  alignas(cmsghdr) std::array<std::uint8_t, 512> control{};
  msghdr message{};
  message.msg_name = &destination;
  message.msg_namelen = sizeof destination;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return std::nullopt;
  SocketError found;
  if (message.msg_namelen != 0) found.remote = Endpoint::from_sockaddr(destination);
  for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    const bool is_error = (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR) ||
                          (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR);
    if (!is_error || !holds<sock_extended_err>(header)) continue;
    const auto error = control_value<sock_extended_err>(header);
    found.error = static_cast<int>(error.ee_errno);
    if (found.error == EMSGSIZE) found.mtu = error.ee_info;
    found.expired = (error.ee_origin == SO_EE_ORIGIN_ICMP && error.ee_type == kIcmpTimeExceeded) ||
                    (error.ee_origin == SO_EE_ORIGIN_ICMP6 && error.ee_type == kIcmpv6TimeExceeded);
  }
  return found;
}

void clear_socket_error(int fd) noexcept {
  int error = 0;
  socklen_t length = sizeof error;
  (void)::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
}

Result<IpAddress> source_address_for(const Endpoint& remote, std::uint32_t mark) {
  const UniqueFd fd{::socket(domain_of(remote.address.family()), SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_errno();
  if (mark != 0 && ::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) return fail_errno();
  sockaddr_storage address{};
  auto length = static_cast<socklen_t>(remote.to_sockaddr(address));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return fail_errno();
  length = sizeof address;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return fail_errno();
  return Endpoint::from_sockaddr(address).address;
}

}  // namespace switchback::io
