#include "common/io/hop_limited.h"

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/packet/checksum.h"

namespace switchback::io {
namespace {

constexpr std::size_t kIpv4Bytes = 20, kIpv6Bytes = 40;
/// Messages that one receive() passes over: a flood of rubbish must not keep anybody.
constexpr int kPassedOver = 16;

}  // namespace

Result<HopLimitedSender> HopLimitedSender::open(IpFamily family, std::uint32_t mark) {
  // IPPROTO_RAW: the header is ours, and nothing is ever received.
  UniqueFd fd{
      ::socket(family == IpFamily::v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW)};
  if (!fd) return fail_errno();
  if (mark != 0 && ::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) return fail_errno();
  return HopLimitedSender{std::move(fd)};
}

Result<void> HopLimitedSender::send(const Packet& packet) {
  std::array<std::uint8_t, kIpv6Bytes> ip{};
  std::size_t header = 0;
  if (packet.source.is_v4()) {
    header = kIpv4Bytes;
    ip[0] = 0x45;
    store_be(ip.data() + 2, static_cast<std::uint16_t>(header + packet.l4.size()));
    store_be(ip.data() + 4, packet.identification);
    ip[6] = 0x40;  // Don't Fragment
    ip[8] = packet.hop_limit;
    ip[9] = packet.protocol;
    std::copy_n(packet.source.bytes().data(), 4, ip.data() + 12);
    std::copy_n(packet.destination.bytes().data(), 4, ip.data() + 16);
    store_be(ip.data() + 10, packet::checksum(ByteView{ip}.first(header)));
  } else {
    header = kIpv6Bytes;
    ip[0] = 0x60;
    store_be(ip.data() + 4, static_cast<std::uint16_t>(packet.l4.size()));
    ip[6] = packet.protocol;
    ip[7] = packet.hop_limit;
    std::copy_n(packet.source.bytes().data(), 16, ip.data() + 8);
    std::copy_n(packet.destination.bytes().data(), 16, ip.data() + 24);
  }
  std::array<iovec, 2> parts{iovec{ip.data(), header},
                             iovec{const_cast<std::uint8_t*>(packet.l4.data()), packet.l4.size()}};
  sockaddr_storage name{};
  msghdr message{};
  message.msg_name = &name;
  message.msg_namelen = Endpoint{packet.destination, 0}.to_sockaddr(name);
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  while (::sendmsg(fd_.get(), &message, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) return fail_errno();
  }
  return {};
}

Result<IcmpSocket> IcmpSocket::open(IpFamily family) {
  const bool v6 = family == IpFamily::v6;
  UniqueFd fd{::socket(v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
                       v6 ? static_cast<int>(IPPROTO_ICMPV6) : static_cast<int>(IPPROTO_ICMP))};
  if (!fd) return fail_errno();
  if (v6) {
    icmp6_filter filter{};
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ICMP6_TIME_EXCEEDED, &filter);
    ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &filter);
    if (::setsockopt(fd.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) != 0) return fail_errno();
  } else {
    icmp_filter filter{};  // a set bit keeps the type out
    filter.data = ~((1U << ICMP_TIME_EXCEEDED) | (1U << ICMP_DEST_UNREACH));
    if (::setsockopt(fd.get(), SOL_RAW, ICMP_FILTER, &filter, sizeof filter) != 0) return fail_errno();
  }
  return IcmpSocket{std::move(fd), family};
}

std::optional<IcmpSocket::Received> IcmpSocket::receive(ByteSpan buffer) {
  for (int i = 0; i < kPassedOver; ++i) {
    sockaddr_storage name{};
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_name = &name;
    message.msg_namelen = sizeof name;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const auto got = ::recvmsg(fd_.get(), &message, 0);
    if (got < 0) {
      if (errno == EINTR) continue;
      return std::nullopt;
    }
    if ((message.msg_flags & MSG_TRUNC) != 0) continue;
    auto octets = ByteView{buffer}.first(static_cast<std::size_t>(got));
    if (family_ == IpFamily::v4) {  // with its IP header
      if (octets.size() < kIpv4Bytes) continue;
      const std::size_t header = (octets[0] & 0x0FU) * std::size_t{4};
      if (header < kIpv4Bytes || header > octets.size()) continue;
      octets = octets.subspan(header);
    }
    return Received{Endpoint::from_sockaddr(name).address, octets};
  }
  return std::nullopt;
}

}  // namespace switchback::io
