#include "common/io/neighbours.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace switchback::io {
namespace {

std::error_code last_error() noexcept { return {errno, std::system_category()}; }

/// The interface's own address if it is Ethernet.
std::optional<MacAddress> ethernet_address(int fd, unsigned ifindex) {
  ifreq request{};
  request.ifr_ifindex = static_cast<int>(ifindex);
  if (::ioctl(fd, SIOCGIFNAME, &request) != 0 || ::ioctl(fd, SIOCGIFHWADDR, &request) != 0 ||
      request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    return std::nullopt;
  }
  MacAddress mac{};
  std::copy_n(reinterpret_cast<const std::uint8_t*>(request.ifr_hwaddr.sa_data), mac.size(), mac.begin());
  return mac;
}

}  // namespace

Result<NextHops> NextHops::open(std::uint32_t mark) {
  auto netlink = Netlink::open();
  if (!netlink) return fail(netlink.error());
  auto monitor = NetlinkMonitor::open();
  if (!monitor) return fail(monitor.error());
  UniqueFd query{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
  UniqueFd neighbours{::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE)};
  if (!query || !neighbours) return fail(last_error());
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  name.nl_groups = RTMGRP_NEIGH;
  if (::bind(neighbours.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) return fail(last_error());
  return NextHops{*std::move(netlink), *std::move(monitor), std::move(neighbours), std::move(query), mark};
}

/// Takes the notifications so far. They also come whenever an entry grows old or fresh, and for every host of a large
/// network: whose address did change is found out by whoever sends to it next.
bool NextHops::neighbour_changed() noexcept {
  alignas(nlmsghdr) std::array<std::uint8_t, 8192> buffer{};
  bool changed = false;
  for (;;) {
    const auto got = ::recv(neighbours_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0 || (got < 0 && errno != ENOBUFS)) return changed;
    changed = true;  // ENOBUFS: the kernel dropped some
  }
}

void NextHops::handle_change() {
  if (monitor_.drain(0)) {
    entries_.clear();
    local_.reset();
  }
  if (neighbour_changed()) ++generation_;
}

bool NextHops::is_local(const IpAddress& address) {
  if (!local_) {
    const auto all = netlink_.addresses(0);
    if (!all) return true;  // asked again with the next packet
    local_.emplace();
    for (const auto& one : *all) local_->insert(one.address);
  }
  return local_->contains(address);
}

std::optional<MacAddress> NextHops::neighbour(unsigned ifindex, const IpAddress& address) {
  struct {
    nlmsghdr header;
    ndmsg message;
    std::array<std::uint8_t, 32> attribute;
  } request{};
  request.header.nlmsg_type = RTM_GETNEIGH;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.message.ndm_family = address.is_v6() ? AF_INET6 : AF_INET;
  request.message.ndm_ifindex = static_cast<int>(ifindex);
  rtattr attribute{};
  attribute.rta_type = NDA_DST;
  attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(address.size()));
  std::memcpy(request.attribute.data(), &attribute, sizeof(attribute));
  std::copy(address.bytes().begin(), address.bytes().end(), request.attribute.begin() + RTA_LENGTH(0));
  request.header.nlmsg_len = static_cast<std::uint32_t>(NLMSG_LENGTH(sizeof(ndmsg)) + attribute.rta_len);
  if (::send(query_.get(), &request, request.header.nlmsg_len, 0) < 0) return std::nullopt;

  alignas(nlmsghdr) std::array<std::uint8_t, 4096> answer{};
  const auto got = ::recv(query_.get(), answer.data(), answer.size(), 0);
  if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(ndmsg)))) return std::nullopt;
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer.data());
  if (header->nlmsg_type != RTM_NEWNEIGH || header->nlmsg_len > static_cast<std::size_t>(got)) return std::nullopt;
  ndmsg message{};
  std::memcpy(&message, answer.data() + NLMSG_HDRLEN, sizeof(message));
  constexpr unsigned kUsable = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT;
  if ((message.ndm_state & kUsable) == 0) return std::nullopt;
  // Attributes: length and type, then the value, padded to four octets.
  auto at = static_cast<std::size_t>(NLMSG_LENGTH(sizeof(ndmsg)));
  while (at + sizeof(rtattr) <= header->nlmsg_len) {
    rtattr got_attribute{};
    std::memcpy(&got_attribute, answer.data() + at, sizeof(got_attribute));
    if (got_attribute.rta_len < sizeof(rtattr) || at + got_attribute.rta_len > header->nlmsg_len) break;
    if (got_attribute.rta_type == NDA_LLADDR && got_attribute.rta_len == sizeof(rtattr) + sizeof(MacAddress)) {
      MacAddress mac{};
      std::memcpy(mac.data(), answer.data() + at + sizeof(rtattr), mac.size());
      return mac;
    }
    at += (got_attribute.rta_len + std::size_t{3}) & ~std::size_t{3};
  }
  return std::nullopt;
}

Result<NextHop> NextHops::find(const IpAddress& destination, Instant now) {
  auto found = entries_.find(destination);
  if (found == entries_.end()) {
    const auto route = netlink_.lookup(destination, mark_);
    if (!route) return fail(route.error());
    if (entries_.size() >= kMaximum) entries_.clear();
    Entry entry;
    entry.hop.ifindex = route->ifindex;
    entry.hop.mtu = route->mtu;
    entry.hop.source = route->source;
    entry.neighbour = route->gateway.empty() ? destination : route->gateway;
    if (const auto mac = ethernet_address(query_.get(), route->ifindex)) {
      entry.ethernet = entry.neighbour.family() == destination.family();
      entry.hop.from = *mac;
    }
    found = entries_.emplace(destination, entry).first;
  }
  auto& entry = found->second;
  if (!entry.ethernet) return entry.hop;
  if (entry.generation != generation_ && entry.hop.direct) {
    entry.generation = generation_;
    const auto mac = neighbour(entry.hop.ifindex, entry.neighbour);
    entry.hop.direct = mac.has_value();
    if (mac) entry.hop.to = *mac;
  }
  if (now >= entry.good_until || !entry.hop.direct) {
    // This one goes by the IP layer, and the next ones by what it knows.
    NextHop asking = entry.hop;
    asking.direct = false;
    const auto mac = neighbour(entry.hop.ifindex, entry.neighbour);
    entry.hop.direct = mac.has_value();
    if (mac) entry.hop.to = *mac;
    entry.good_until = now + kNeighbourLife;
    return asking;
  }
  return entry.hop;
}

}  // namespace switchback::io
