#include "common/io/packet_socket.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "common/packet/checksum.h"
#include "common/packet/offload.h"

namespace switchback::io {
namespace {

using packet::ChecksumSum;
using packet::VirtioNetHeader;

constexpr std::size_t kIpv4Bytes = 20, kIpv6Bytes = 40, kTcpBytes = 20;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kHopLimit = 64;
constexpr std::uint8_t kMoreFragments = 0x20;
constexpr std::uint8_t kFlagFin = 0x01, kFlagPsh = 0x08;
constexpr std::size_t kChecksumOffset = 16;
constexpr std::uint8_t kVirtioDataValid = 2;  // VIRTIO_NET_HDR_F_DATA_VALID, whose header is no C++

std::error_code last_error() noexcept { return {errno, std::system_category()}; }

void set_buffer(int fd, int forced, int plain, std::size_t octets) noexcept {
  const auto size = static_cast<int>(octets);
  if (::setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) != 0) {
    ::setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size));
  }
}

constexpr auto network(int offset) noexcept { return static_cast<std::uint32_t>(SKF_NET_OFF + offset); }

/// Writes the IP header; returns its octets.
std::size_t write_ip(const IpAddress& source, const IpAddress& destination, std::size_t l4_bytes,
                     std::uint16_t identification, std::uint8_t* out) noexcept {
  if (source.is_v4()) {
    std::fill_n(out, kIpv4Bytes, std::uint8_t{0});
    out[0] = 0x45;
    store_be(out + 2, static_cast<std::uint16_t>(kIpv4Bytes + l4_bytes));
    store_be(out + 4, identification);
    out[6] = 0x40;  // Don't Fragment
    out[8] = kHopLimit;
    out[9] = kProtocolTcp;
    std::copy_n(source.bytes().data(), 4, out + 12);
    std::copy_n(destination.bytes().data(), 4, out + 16);
    store_be(out + 10, packet::checksum({out, kIpv4Bytes}));
    return kIpv4Bytes;
  }
  std::fill_n(out, 8, std::uint8_t{0});
  out[0] = 0x60;
  store_be(out + 4, static_cast<std::uint16_t>(l4_bytes));
  out[6] = kProtocolTcp;
  out[7] = kHopLimit;
  std::copy_n(source.bytes().data(), 16, out + 8);
  std::copy_n(destination.bytes().data(), 16, out + 24);
  return kIpv6Bytes;
}

ChecksumSum pseudo_header(const IpAddress& source, const IpAddress& destination, std::size_t l4_bytes) noexcept {
  std::array<std::uint8_t, 32> both{};
  const auto size = source.size();
  std::copy_n(source.bytes().data(), size, both.begin());
  std::copy_n(destination.bytes().data(), size, both.begin() + size);
  ChecksumSum sum;
  sum.add_pseudo_header(ByteView{both}.first(2 * size), kProtocolTcp, static_cast<std::uint32_t>(l4_bytes));
  return sum;
}

}  // namespace

// ---------------------------------------------------------------- receiving

unsigned largest_link_mtu() noexcept {
  const UniqueFd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  auto* const all = ::if_nameindex();
  if (!fd || all == nullptr) return 0;
  unsigned largest = 0;
  for (const auto* one = all; one->if_index != 0; ++one) {
    ifreq request{};
    std::strncpy(request.ifr_name, one->if_name, IFNAMSIZ - 1);
    if (::ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER) continue;
    if (::ioctl(fd.get(), SIOCGIFMTU, &request) == 0)
      largest = std::max(largest, static_cast<unsigned>(request.ifr_mtu));
  }
  ::if_freenameindex(all);
  return largest;
}

Result<TcpTap> TcpTap::open(IpFamily family, std::size_t socket_buffer) {
  // Protocol 0 receives nothing until bind(), when the filter stands.
  UniqueFd fd{::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!fd) return fail(last_error());
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0 ||
      ::setsockopt(fd.get(), SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) != 0) {
    return fail(last_error());
  }
  ::setsockopt(fd.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
  set_buffer(fd.get(), SO_RCVBUFFORCE, SO_RCVBUF, socket_buffer);
  TcpTap tap{std::move(fd), family};
  SB_CHECK(tap.set_ports({}));
  sockaddr_ll name{};
  name.sll_family = AF_PACKET;
  name.sll_protocol = htons(family == IpFamily::v6 ? ETH_P_IPV6 : ETH_P_IP);
  if (::bind(tap.fd_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) return fail(last_error());
  return tap;
}

Result<void> TcpTap::set_ports(std::span<const std::uint16_t> ports) {
  ports = ports.first(std::min(ports.size(), kMaximumPorts));
  std::vector<sock_filter> code;
  // Jumps to the end are written as 255 and set right below.
  constexpr std::uint8_t kDrop = 255;
  if (family_ == IpFamily::v4) {
    code.push_back(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, network(9)));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kProtocolTcp, 0, kDrop));
    code.push_back(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, network(6)));
    // Fragments have no ports, but the first: receive() refuses it, so that each packet in fragments counts.
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1FFF, kDrop, 0));
    code.push_back(BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, network(0)));
    code.push_back(BPF_STMT(BPF_LD | BPF_H | BPF_IND, network(2)));
  } else {
    code.push_back(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, network(6)));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kProtocolTcp, 0, kDrop));
    code.push_back(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, network(static_cast<int>(kIpv6Bytes) + 2)));
  }
  const auto take = code.size() + ports.size() + 1;
  for (const auto port : ports) {
    const auto here = code.size();
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, static_cast<std::uint8_t>(take - here - 1), 0));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
  code.push_back(BPF_STMT(BPF_RET | BPF_K, 0x40000));
  const auto drop = take - 1;
  for (std::size_t i = 0; i < 6 && i < code.size(); ++i) {
    const auto distance = static_cast<std::uint8_t>(drop - i - 1);
    if (BPF_CLASS(code[i].code) != BPF_JMP) continue;
    if (code[i].jt == kDrop) code[i].jt = distance;
    if (code[i].jf == kDrop) code[i].jf = distance;
  }
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  if (::setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0) return fail(last_error());
  return {};
}

TcpTap::Outcome TcpTap::receive(ByteSpan buffer, ReceivedTcp& out) {
  sockaddr_ll from{};
  alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(tpacket_auxdata))> control{};
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof(from);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const auto got = ::recvmsg(fd_.get(), &message, 0);
  if (got < 0) return errno == EINTR || errno == ENETDOWN ? Outcome::useless : Outcome::drained;
  if ((message.msg_flags & MSG_TRUNC) != 0 || static_cast<std::size_t>(got) < VirtioNetHeader::kBytes) {
    return Outcome::useless;
  }
  std::size_t network_offset = 0;
  bool valid = false;
  const auto* cmsg = CMSG_FIRSTHDR(&message);
  if (cmsg == nullptr || cmsg->cmsg_level != SOL_PACKET || cmsg->cmsg_type != PACKET_AUXDATA) return Outcome::useless;
  tpacket_auxdata data{};
  std::copy_n(CMSG_DATA(cmsg), sizeof(data), reinterpret_cast<std::uint8_t*>(&data));
  network_offset = data.tp_net;
  valid = (data.tp_status & (TP_STATUS_CSUM_VALID | TP_STATUS_CSUMNOTREADY)) != 0;
  if (from.sll_pkttype != PACKET_HOST) return Outcome::useless;

  const auto virtio = VirtioNetHeader::load(buffer);
  const ByteView frame =
      ByteView{buffer}.subspan(VirtioNetHeader::kBytes, static_cast<std::size_t>(got) - VirtioNetHeader::kBytes);
  if (network_offset > frame.size()) return Outcome::useless;
  const auto ip = frame.subspan(network_offset);
  std::size_t header = 0, total = 0;
  if (family_ == IpFamily::v4) {
    if (ip.size() < kIpv4Bytes || ip[0] >> 4U != 4) return Outcome::useless;
    header = (ip[0] & 0x0FU) * std::size_t{4};
    total = load_be<std::uint16_t>(ip.data() + 2);
    if (header < kIpv4Bytes || total > ip.size() || total < header + kTcpBytes) return Outcome::useless;
    if ((ip[6] & kMoreFragments) != 0) return Outcome::useless;
    out.source = IpAddress::from_bytes(ip.subspan(12, 4));
    out.destination = IpAddress::from_bytes(ip.subspan(16, 4));
  } else {
    if (ip.size() < kIpv6Bytes || ip[0] >> 4U != 6) return Outcome::useless;
    header = kIpv6Bytes;
    total = header + load_be<std::uint16_t>(ip.data() + 4);
    if (total > ip.size() || total < header + kTcpBytes) return Outcome::useless;
    out.source = IpAddress::from_bytes(ip.subspan(8, 16));
    out.destination = IpAddress::from_bytes(ip.subspan(24, 16));
  }
  const auto kind = virtio.gso_type & ~packet::kVirtioGsoEcn;
  const bool joined = kind == packet::kVirtioGsoTcpV4 || kind == packet::kVirtioGsoTcpV6;
  out.offset = VirtioNetHeader::kBytes + network_offset + header;
  out.bytes = total - header;
  out.segment_bytes = joined ? virtio.gso_size : 0;
  out.checked = valid || joined || (virtio.flags & (packet::kVirtioNeedsCsum | kVirtioDataValid)) != 0;
  return Outcome::segment;
}

// ---------------------------------------------------------------- sending

Result<TcpEmitter> TcpEmitter::open(const Options& options) {
  TcpEmitter emitter;
  emitter.offload_ = options.offload;
  emitter.packet_ = UniqueFd{::socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  emitter.raw_v4_ = UniqueFd{::socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW)};
  if (!emitter.packet_ || !emitter.raw_v4_) return fail(last_error());
  // A host without IPv6 has no such socket, and no route that would want it.
  emitter.raw_v6_ = UniqueFd{::socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW)};
  const int on = 1;
  if (::setsockopt(emitter.packet_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) != 0) return fail(last_error());
  for (const auto fd : {emitter.packet_.get(), emitter.raw_v4_.get(), emitter.raw_v6_.get()}) {
    if (fd < 0) continue;
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.socket_buffer);
    if (options.mark == 0) continue;
    if (::setsockopt(fd, SOL_SOCKET, SO_MARK, &options.mark, sizeof(options.mark)) != 0) return fail(last_error());
  }
  return emitter;
}

TcpEmitter::Outcome TcpEmitter::send(const Run& run, const NextHop& hop) {
  if (run.source.family() != run.destination.family() || run.source.empty()) return Outcome::refused;
  return hop.direct && offload_ ? send_direct(run, hop) : send_single(run);
}

TcpEmitter::Outcome TcpEmitter::send_direct(const Run& run, const NextHop& hop) {
  const bool v6 = run.source.is_v6();
  const auto l4_bytes = run.header.size() + run.payload_bytes;
  std::array<std::uint8_t, VirtioNetHeader::kBytes + ETH_HLEN + kIpv6Bytes + 60> head{};
  auto* ethernet = head.data() + VirtioNetHeader::kBytes;
  std::copy(hop.to.begin(), hop.to.end(), ethernet);
  std::copy(hop.from.begin(), hop.from.end(), ethernet + 6);
  const std::uint16_t protocol = v6 ? ETH_P_IPV6 : ETH_P_IP;
  store_be(ethernet + 12, protocol);
  auto* ip = ethernet + ETH_HLEN;
  const auto ip_bytes = write_ip(run.source, run.destination, l4_bytes, identification_, ip);
  auto* tcp = ip + ip_bytes;
  std::copy(run.header.begin(), run.header.end(), tcp);
  store_be(tcp + kChecksumOffset, pseudo_header(run.source, run.destination, l4_bytes).folded());
  VirtioNetHeader virtio;
  virtio.flags = packet::kVirtioNeedsCsum;
  virtio.csum_start = static_cast<std::uint16_t>(ETH_HLEN + ip_bytes);
  virtio.csum_offset = kChecksumOffset;
  virtio.hdr_len = static_cast<std::uint16_t>(ETH_HLEN + ip_bytes + run.header.size());
  if (run.payload_bytes > run.segment_bytes && run.payloads.size() > 1) {
    virtio.gso_type = v6 ? packet::kVirtioGsoTcpV6 : packet::kVirtioGsoTcpV4;
    virtio.gso_size = static_cast<std::uint16_t>(run.segment_bytes);
  }
  virtio.store(head);
  const auto head_bytes = VirtioNetHeader::kBytes + ETH_HLEN + ip_bytes + run.header.size();
  parts_.clear();
  parts_.push_back({head.data(), head_bytes});
  parts_.insert(parts_.end(), run.payloads.begin(), run.payloads.end());
  sockaddr_ll name{};
  name.sll_family = AF_PACKET;
  name.sll_protocol = htons(protocol);
  name.sll_ifindex = static_cast<int>(hop.ifindex);
  name.sll_halen = ETH_ALEN;
  std::copy(hop.to.begin(), hop.to.end(), name.sll_addr);
  msghdr message{};
  message.msg_name = &name;
  message.msg_namelen = sizeof(name);
  message.msg_iov = parts_.data();
  message.msg_iovlen = parts_.size();
  for (;;) {
    ++calls_;
    if (::sendmsg(packet_.get(), &message, MSG_NOSIGNAL) >= 0) {
      identification_ = static_cast<std::uint16_t>(identification_ + std::max<std::size_t>(1, run.payloads.size()));
      return Outcome::sent;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      blocked_fd_ = packet_.get();
      return Outcome::blocked;
    }
    if (errno == ENOBUFS) return Outcome::refused;  // a queue on the way is full: a loss as any other
    return send_single(run);  // a driver that refuses offloads, a changed MTU, an interface that went away
  }
}

TcpEmitter::Outcome TcpEmitter::send_single(const Run& run) {
  const bool v6 = run.source.is_v6();
  const auto fd = v6 ? raw_v6_.get() : raw_v4_.get();
  if (fd < 0) return Outcome::refused;
  const auto count = std::max<std::size_t>(1, run.payloads.size());
  sockaddr_storage name{};
  const auto name_bytes = Endpoint{run.destination, 0}.to_sockaddr(name);
  std::array<std::array<std::uint8_t, kIpv6Bytes + 60>, kMaximumSegments> heads;
  std::array<std::array<iovec, 2>, kMaximumSegments> parts{};
  std::array<mmsghdr, kMaximumSegments> messages{};
  if (count > kMaximumSegments) return Outcome::refused;
  auto sequence = load_be<std::uint32_t>(run.header.data() + 4);
  for (std::size_t i = 0; i < count; ++i) {
    const auto payload = run.payloads.empty() ? iovec{nullptr, 0} : run.payloads[i];
    const auto l4_bytes = run.header.size() + payload.iov_len;
    auto* ip = heads[i].data();
    const auto ip_bytes = write_ip(run.source, run.destination, l4_bytes, identification_++, ip);
    auto* tcp = ip + ip_bytes;
    std::copy(run.header.begin(), run.header.end(), tcp);
    store_be(tcp + 4, sequence);
    if (i + 1 < count) tcp[13] = static_cast<std::uint8_t>(tcp[13] & ~(kFlagFin | kFlagPsh));
    auto sum = pseudo_header(run.source, run.destination, l4_bytes);
    sum.add({tcp, run.header.size()}).add({static_cast<const std::uint8_t*>(payload.iov_base), payload.iov_len});
    store_be(tcp + kChecksumOffset, sum.finish());
    sequence += static_cast<std::uint32_t>(payload.iov_len);
    parts[i] = {iovec{ip, ip_bytes + run.header.size()}, payload};
    messages[i].msg_hdr.msg_name = &name;
    messages[i].msg_hdr.msg_namelen = name_bytes;
    messages[i].msg_hdr.msg_iov = parts[i].data();
    messages[i].msg_hdr.msg_iovlen = payload.iov_len > 0 ? 2 : 1;
  }
  std::size_t done = 0;
  while (done < count) {
    const auto got = ::sendmmsg(fd, &messages[done], static_cast<unsigned>(count - done), MSG_NOSIGNAL);
    if (got > 0) {
      calls_ += static_cast<std::size_t>(got);
      done += static_cast<std::size_t>(got);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN && done == 0) {
      blocked_fd_ = fd;
      return Outcome::blocked;
    }
    return Outcome::refused;
  }
  return Outcome::sent;
}

}  // namespace switchback::io
