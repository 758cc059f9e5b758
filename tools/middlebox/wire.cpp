#include "tools/middlebox/wire.h"

#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <system_error>

namespace switchback::middlebox {
namespace {

constexpr std::size_t kHostsMost = 65536;

std::string errno_text() { return std::error_code{errno, std::system_category()}.message(); }

/// The kernel must not forward as well: every packet would go twice, and once around the box.
bool kernel_forwards(const char* family, const std::string& interface) {
  std::ifstream file{std::string{"/proc/sys/net/"} + family + "/conf/" + interface + "/forwarding"};
  int value = 0;
  return (file >> value) && value != 0;
}

[[nodiscard]] bool set(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

}  // namespace

Wire::Wire(BoxRules rules)
    : rules_{std::move(rules)}, buffer_(packet::VirtioNetHeader::kBytes + kEthernetBytes + 65536) {}

Result<std::unique_ptr<Wire>, UserError> Wire::open(const WireConfig& config, BoxRules rules) {
  if (config.inner == config.outer) return fail_user("--inner and --outer must be two interfaces");
  std::unique_ptr<Wire> wire{new Wire{std::move(rules)}};
  SB_CHECK(wire->open_port(wire->ports_[0], config.inner));
  SB_CHECK(wire->open_port(wire->ports_[1], config.outer));
  wire->read_addresses();
  wire->box_.emplace(std::move(wire->rules_), wire->own_v4_, wire->own_v6_);
  return wire;
}

Result<void, UserError> Wire::open_port(Port& port, const std::string& name) {
  port.name = name;
  port.index = ::if_nametoindex(name.c_str());
  if (port.index == 0) return fail_user("there is no interface " + name + "; \"ip link\" shows those that there are");
  for (const auto* family : {"ipv4", "ipv6"}) {
    if (kernel_forwards(family, name)) {
      return fail_user("the kernel forwards " + std::string{family} + " on " + name +
                       " itself; turn that off: sysctl -w net." + family + ".conf.all.forwarding=0");
    }
  }
  port.packets = UniqueFd{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!port.packets) return fail_user("cannot open a packet socket: " + errno_text() + "; run as root (CAP_NET_RAW)");
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  if (::ioctl(port.packets.get(), SIOCGIFHWADDR, &request) != 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return fail_user(name + " is no Ethernet interface");
  }
  std::memcpy(port.mac.data(), request.ifr_hwaddr.sa_data, port.mac.size());
  if (::ioctl(port.packets.get(), SIOCGIFMTU, &request) == 0) port.mtu = static_cast<unsigned>(request.ifr_mtu);

  const int fd = port.packets.get();
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(port.index);
  if (!set(fd, SOL_PACKET, PACKET_VNET_HDR, 1) || !set(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1) ||
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_user("cannot use " + name + ": " + errno_text());
  }
  (void)set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20);
  (void)set(fd, SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20);

  port.raw_v4 = UniqueFd{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW)};
  port.raw_v6 = UniqueFd{::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW)};
  for (const auto* raw : {&port.raw_v4, &port.raw_v6}) {
    if (*raw)
      (void)::setsockopt(raw->get(), SOL_SOCKET, SO_BINDTODEVICE, name.c_str(), static_cast<socklen_t>(name.size()));
  }
  if (port.raw_v6) (void)set(port.raw_v6.get(), IPPROTO_IPV6, IPV6_HDRINCL, 1);
  return {};
}

void Wire::read_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return;
  for (const auto* one = list; one != nullptr; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || (one->ifa_addr->sa_family != AF_INET && one->ifa_addr->sa_family != AF_INET6))
      continue;
    sockaddr_storage storage{};
    std::memcpy(&storage, one->ifa_addr,
                one->ifa_addr->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    const auto address = Endpoint::from_sockaddr(storage).address;
    own_[address] = true;
    // ICMP errors come from the inner interface's address, as a router's would.
    if (one->ifa_name == ports_[0].name) {
      if (address.is_v4()) own_v4_ = address;
      if (address.is_v6() && address.bytes()[0] != 0xFE) own_v6_ = address;
    }
  }
  ::freeifaddrs(list);
}

Result<void, UserError> Wire::run(const std::function<void(const Box::Note&)>& noted,
                                  const std::function<bool(Box&, Instant)>& interrupted, const sigset_t& waiting_mask) {
  std::array<pollfd, 2> fds{};
  for (std::size_t i = 0; i < 2; ++i) fds[i] = {ports_[i].packets.get(), POLLIN, 0};
  for (;;) {
    const auto before = now_ = monotonic_now();
    if (const auto due = box_->next_deadline(); due && *due <= before) box_->handle_deadline(before);
    flush(noted);
    std::optional<timespec> timeout;
    if (const auto due = box_->next_deadline()) {
      const auto left = std::max(*due - monotonic_now(), Duration{});
      const auto whole = std::chrono::duration_cast<std::chrono::seconds>(left);
      timeout = timespec{whole.count(), (left - whole).count()};
    }
    const auto ready = ::ppoll(fds.data(), fds.size(), timeout ? &*timeout : nullptr, &waiting_mask);
    const auto now = now_ = monotonic_now();
    if (interrupted(*box_, now)) return {};
    if (ready < 0 && errno != EINTR) return fail_user("cannot wait for packets: " + errno_text());
    if (ready <= 0) continue;
    for (bool more = true; more;) {
      more = receive(Direction::outward, now) == kRound;
      more = receive(Direction::inward, now) == kRound || more;
      flush(noted);
      // What is due must not wait for a flood to end.
      if (const auto due = box_->next_deadline(); due && *due <= monotonic_now()) break;
    }
  }
}

std::size_t Wire::receive(Direction direction, Instant now) {
  auto& port = ports_[index(direction)];
  std::size_t count = 0;
  for (; count < kRound; ++count) {
    sockaddr_ll from{};
    socklen_t from_octets = sizeof from;
    const auto got = ::recvfrom(port.packets.get(), buffer_.data(), buffer_.size(), MSG_TRUNC,
                                reinterpret_cast<sockaddr*>(&from), &from_octets);
    if (got < 0) break;
    const auto octets = static_cast<std::size_t>(got);
    if (octets > buffer_.size() || octets < packet::VirtioNetHeader::kBytes + kEthernetBytes) continue;
    if (from.sll_pkttype != PACKET_HOST) continue;  // neither flooded nor multicast
    const auto header = packet::VirtioNetHeader::load(buffer_);
    forward(direction, header,
            ByteSpan{buffer_}.subspan(packet::VirtioNetHeader::kBytes, octets - packet::VirtioNetHeader::kBytes), now);
  }
  return count;
}

void Wire::forward(Direction direction, const packet::VirtioNetHeader& header, ByteSpan frame, Instant now) {
  const auto type = load_be<std::uint16_t>(frame.data() + 12);
  if (type != ETH_P_IP && type != ETH_P_IPV6) return;
  const auto packet = frame.subspan(kEthernetBytes);
  const auto ip = packet::parse_ip(packet);
  if (!ip || own_.contains(packet::destination_address(packet, *ip))) return;
  const auto source = packet::source_address(packet, *ip);
  if (source.is_v6() && source.bytes()[0] == 0xFE) return;  // link-local stays on its link
  auto& port = ports_[index(direction)];
  if (port.hosts.size() < kHostsMost || port.hosts.contains(source)) {
    std::copy_n(frame.begin() + 6, 6, port.hosts[source].begin());
  }
  auto l3 = header;  // offsets from the IP packet instead of the frame
  if ((header.flags & packet::kVirtioNeedsCsum) != 0 && header.csum_start >= kEthernetBytes) {
    l3.csum_start = static_cast<std::uint16_t>(header.csum_start - kEthernetBytes);
  }
  if (!tap_ && box_->transparent(flow_of(direction, packet, *ip))) {
    ByteSpan whole = packet.first(ip->total_bytes);
    if (decrement_ttl(whole, *ip)) {
      ++passed_whole_;
      send(direction, l3, whole);
      return;
    }
  }
  if (header.gso_type == packet::kVirtioGsoNone && (header.flags & packet::kVirtioNeedsCsum) == 0) {
    const auto whole = packet.first(ip->total_bytes);
    if (tap_) tap_(index(direction), true, whole, now);
    box_->handle(direction, whole, now);
    return;
  }
  cut_.clear();
  if (packet::segment(l3, packet, carver_, cut_) != packet::SegmentVerdict::ok) {
    ++send_failed_;
    return;
  }
  for (const auto& one : cut_) {
    if (tap_) tap_(index(direction), true, one.data(), now);
    box_->handle(direction, one.data(), now);
  }
  cut_.clear();
}

/// To the interface that `direction` leads to. `header`: offsets from the IP packet.
void Wire::send(Direction direction, const packet::VirtioNetHeader& header, ByteSpan packet) {
  auto& port = ports_[index(opposite(direction))];
  const auto ip = packet::parse_ip(packet);
  if (!ip) return;
  const auto destination = packet::destination_address(packet, *ip);
  const auto known = port.hosts.find(destination);
  if (known == port.hosts.end()) {
    // The kernel resolves the next hop; the answer teaches us its address. Checksums must be complete there.
    if (header.gso_type != packet::kVirtioGsoNone || (header.flags & packet::kVirtioNeedsCsum) != 0) {
      cut_.clear();
      if (packet::segment(header, packet, carver_, cut_) == packet::SegmentVerdict::ok) {
        auto pieces = std::move(cut_);
        for (auto& piece : pieces) send(direction, {}, piece.data());
        pieces.clear();
        cut_ = std::move(pieces);
      }
      return;
    }
    if (tap_) tap_(index(opposite(direction)), false, packet, now_);
    sockaddr_storage to{};
    const auto octets = Endpoint{destination, 0}.to_sockaddr(to);
    const int fd = destination.is_v4() ? port.raw_v4.get() : port.raw_v6.get();
    if (::sendto(fd, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to), octets) < 0)
      ++send_failed_;
    return;
  }
  if (tap_) tap_(index(opposite(direction)), false, packet, now_);
  std::array<std::uint8_t, packet::VirtioNetHeader::kBytes + kEthernetBytes> front{};
  auto l2 = header;
  if ((l2.flags & packet::kVirtioNeedsCsum) != 0)
    l2.csum_start = static_cast<std::uint16_t>(l2.csum_start + kEthernetBytes);
  if (l2.gso_type != packet::kVirtioGsoNone) l2.hdr_len = static_cast<std::uint16_t>(l2.hdr_len);
  l2.store(front);
  auto* ethernet = front.data() + packet::VirtioNetHeader::kBytes;
  std::copy(known->second.begin(), known->second.end(), ethernet);
  std::copy(port.mac.begin(), port.mac.end(), ethernet + 6);
  store_be(ethernet + 12, static_cast<std::uint16_t>(destination.is_v4() ? ETH_P_IP : ETH_P_IPV6));
  std::array<iovec, 2> parts{{{front.data(), front.size()}, {packet.data(), packet.size()}}};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  sockaddr_ll to{};
  to.sll_family = AF_PACKET;
  to.sll_ifindex = static_cast<int>(port.index);
  to.sll_halen = 6;
  std::copy(known->second.begin(), known->second.end(), to.sll_addr);
  message.msg_name = &to;
  message.msg_namelen = sizeof to;
  if (::sendmsg(port.packets.get(), &message, 0) < 0) ++send_failed_;
}

void Wire::flush(const std::function<void(const Box::Note&)>& noted) {
  while (auto sent = box_->poll_packet()) send(sent->direction, {}, sent->packet);
  while (const auto note = box_->poll_note()) noted(*note);
}

}  // namespace switchback::middlebox
