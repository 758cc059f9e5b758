#include "client/doctor_knock.h"

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "common/base/unique_fd.h"

namespace switchback::client::doctor {
namespace {

using std::chrono::milliseconds;

constexpr int kDatagrams = 3;
constexpr Duration kDatagramEvery = milliseconds{150};
/// Of datagrams nobody says that they arrived: silence for so long is what there is to be had.
constexpr Duration kIcmpPatience = milliseconds{1200};
constexpr std::size_t kHeadLimit = 4096;

struct Door {
  UniqueFd fd;
  bool tcp = false;
  Instant begun{};
  int sent = 0;
  bool done = false;
  bool large_sent = false;
};

void set_option(int fd, int level, int name, int value) { (void)::setsockopt(fd, level, name, &value, sizeof value); }

UniqueFd open_socket(WayKind kind, const Endpoint& remote, const KnockOptions& options) {
  const int family = remote.address.is_v6() ? AF_INET6 : AF_INET;
  const int type = looks_like_tcp(kind) ? SOCK_STREAM : kind == WayKind::esp ? SOCK_RAW : SOCK_DGRAM;
  UniqueFd fd{::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, kind == WayKind::esp ? IPPROTO_ESP : 0)};
  if (fd.get() < 0) return fd;
  if (options.mark != 0) set_option(fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(options.mark));
  if (family == AF_INET) {
    set_option(fd.get(), IPPROTO_IP, IP_RECVERR, 1);
    if (type == SOCK_DGRAM) set_option(fd.get(), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  } else {
    set_option(fd.get(), IPPROTO_IPV6, IPV6_RECVERR, 1);
    if (type == SOCK_DGRAM) set_option(fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  }
  if (options.local && options.local->family() == remote.address.family()) {
    sockaddr_storage storage{};
    const auto length = Endpoint{*options.local, 0}.to_sockaddr(storage);
    (void)::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length);
  }
  return fd;
}

std::string icmp_text(const sock_extended_err& error) {
  if (error.ee_origin == SO_EE_ORIGIN_ICMP && error.ee_type == ICMP_DEST_UNREACH) {
    switch (error.ee_code) {
      case ICMP_NET_UNREACH: return "network unreachable";
      case ICMP_HOST_UNREACH: return "host unreachable";
      case ICMP_PROT_UNREACH: return "protocol unreachable";
      case ICMP_PORT_UNREACH: return "port unreachable";
      case ICMP_NET_ANO:
      case ICMP_HOST_ANO:
      case ICMP_PKT_FILTERED: return "administratively prohibited";
      default: break;
    }
  }
  if (error.ee_origin == SO_EE_ORIGIN_ICMP6 && error.ee_type == ICMP6_DST_UNREACH) {
    switch (error.ee_code) {
      case ICMP6_DST_UNREACH_NOROUTE: return "no route";
      case ICMP6_DST_UNREACH_ADMIN: return "administratively prohibited";
      case ICMP6_DST_UNREACH_ADDR: return "host unreachable";
      case ICMP6_DST_UNREACH_NOPORT: return "port unreachable";
      default: break;
    }
  }
  return "type " + std::to_string(error.ee_type) + " code " + std::to_string(error.ee_code);
}

/// Takes what ICMP said. True if that settles it.
bool read_errors(Door& door, const Endpoint& remote, KnockResult& result) {
  bool settled = false;
  for (int i = 0; i < 16; ++i) {
    std::array<std::uint8_t, 512> data{};
    alignas(cmsghdr) std::array<std::uint8_t, 512> ancillary{};
    iovec part{data.data(), data.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = ancillary.data();
    message.msg_controllen = ancillary.size();
    if (::recvmsg(door.fd.get(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) break;
    for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      const bool ours = (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR) ||
                        (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR);
      if (!ours || header->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
      sock_extended_err error{};
      std::memcpy(&error, CMSG_DATA(header), sizeof error);
      if (error.ee_origin == SO_EE_ORIGIN_LOCAL) continue;
      if (error.ee_errno == EMSGSIZE) {
        result.icmp_mtu = static_cast<std::uint16_t>(std::min<std::uint32_t>(error.ee_info, 65535));
        continue;
      }
      sockaddr_storage from{};
      const auto room = header->cmsg_len - CMSG_LEN(sizeof error);
      std::memcpy(&from, CMSG_DATA(header) + sizeof error, std::min<std::size_t>(room, sizeof(sockaddr_in6)));
      result.facts.icmp = icmp_text(error);
      result.facts.icmp_from = Endpoint::from_sockaddr(from).address;
      const bool from_headend = result.facts.icmp_from == remote.address;
      result.facts.result = from_headend && error.ee_errno == ECONNREFUSED ? Knock::refused : Knock::unreachable;
      settled = true;
    }
  }
  return settled;
}

void settle_connect(Door& door, KnockResult& result) {
  int error = 0;
  socklen_t length = sizeof error;
  (void)::getsockopt(door.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  door.done = true;
  switch (error) {
    case 0:
      result.facts.result = Knock::answered;
      result.facts.rtt = monotonic_now() - door.begun;
      break;
    case ECONNREFUSED: result.facts.result = Knock::refused; break;
    case ETIMEDOUT: result.facts.result = Knock::silent; break;
    default:
      result.facts.result = Knock::unreachable;
      if (result.facts.icmp.empty()) result.facts.icmp = std::strerror(error);
  }
}

void send_datagram(Door& door, WayKind kind) {
  ++door.sent;
  if (kind == WayKind::esp) {
    // SPI 1 is reserved by IANA: no session has it. Sequence number, and what cannot be authentic.
    std::array<std::uint8_t, 48> packet{};
    packet[3] = packet[7] = 1;
    (void)::send(door.fd.get(), packet.data(), packet.size(), MSG_NOSIGNAL);
    return;
  }
  constexpr std::uint8_t kKeepalive = 0xFF;
  (void)::send(door.fd.get(), &kKeepalive, 1, MSG_NOSIGNAL);
}

/// Full-sized and meaningless: a router whose next link takes less says so.
void send_large(Door& door, const Endpoint& remote) {
  door.large_sent = true;
  std::array<std::uint8_t, 1500> packet{};
  packet.fill(0xFF);
  const std::size_t octets = remote.address.is_v6() ? 1452 : 1472;
  (void)::send(door.fd.get(), packet.data(), octets, MSG_NOSIGNAL);
}

void begin(Door& door, const KnockTarget& target, KnockResult& result) {
  door.begun = monotonic_now();
  if (door.fd.get() < 0) {
    door.done = true;
    return;
  }
  sockaddr_storage storage{};
  auto to = target.remote;
  if (target.kind == WayKind::esp) to.port = 0;
  const auto length = to.to_sockaddr(storage);
  if (::connect(door.fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0) {
    if (door.tcp) settle_connect(door, result);
    return;
  }
  if (door.tcp && errno == EINPROGRESS) return;
  door.done = true;
  result.facts.result = Knock::no_route;
  result.facts.icmp = std::strerror(errno);
}

}  // namespace

std::vector<KnockResult> knock(std::span<const KnockTarget> targets, const KnockOptions& options) {
  std::vector<KnockResult> results(targets.size());
  std::vector<Door> doors(targets.size());
  const auto start = monotonic_now();
  for (std::size_t i = 0; i < targets.size(); ++i) {
    doors[i].tcp = looks_like_tcp(targets[i].kind);
    doors[i].fd = open_socket(targets[i].kind, targets[i].remote, options);
    begin(doors[i], targets[i], results[i]);
    if (doors[i].fd.get() >= 0 && !doors[i].done) results[i].facts.result = Knock::silent;
  }
  for (;;) {
    const auto now = monotonic_now();
    const auto passed = now - start;
    std::vector<pollfd> waiting;
    std::vector<std::size_t> which;
    for (std::size_t i = 0; i < doors.size(); ++i) {
      auto& door = doors[i];
      if (!door.tcp && !door.done) {
        if (door.sent < kDatagrams && passed >= kDatagramEvery * door.sent) send_datagram(door, targets[i].kind);
        if (door.sent == kDatagrams && !door.large_sent && targets[i].kind == WayKind::udp_4500) {
          send_large(door, targets[i].remote);
        }
        if (passed >= kIcmpPatience) door.done = true;
      }
      if (door.done) continue;
      waiting.push_back({door.fd.get(), static_cast<short>(door.tcp ? POLLOUT : 0), 0});
      which.push_back(i);
    }
    if (waiting.empty() || passed >= options.most) break;
    (void)::poll(waiting.data(), waiting.size(), 50);
    for (std::size_t k = 0; k < waiting.size(); ++k) {
      if (waiting[k].revents == 0) continue;
      const auto i = which[k];
      const bool settled = read_errors(doors[i], targets[i].remote, results[i]);
      if (doors[i].tcp) {
        if ((waiting[k].revents & (POLLOUT | POLLHUP)) != 0) settle_connect(doors[i], results[i]);
      } else if (settled) {
        doors[i].done = true;
      } else {
        int error = 0;
        socklen_t length = sizeof error;
        (void)::getsockopt(doors[i].fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
      }
    }
  }
  return results;
}

void read_http_head(std::string_view head, WebFacts& facts) {
  if (!head.starts_with("HTTP/1.") || head.size() < 12) return;
  const auto number = head.substr(9, 3);
  if (!std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; })) return;
  facts.status = (number[0] - '0') * 100 + (number[1] - '0') * 10 + (number[2] - '0');
  const auto printable = [](std::string_view text) {
    std::string out{text.substr(0, 200)};
    std::erase_if(out, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
    return out;
  };
  for (std::size_t at = head.find("\r\n"); at != std::string_view::npos;) {
    const auto next = head.find("\r\n", at + 2);
    const auto line = head.substr(at + 2, next == std::string_view::npos ? next : next - at - 2);
    if (line.empty()) break;
    const auto colon = line.find(':');
    if (colon != std::string_view::npos) {
      std::string name{line.substr(0, colon)};
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      auto value = line.substr(colon + 1);
      value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
      if (name == "location") facts.location = printable(value);
      if (name == "server") facts.server = printable(value);
      std::tm when{};
      if (name == "date" && ::strptime(std::string{value}.c_str(), "%a, %d %b %Y %H:%M:%S", &when) != nullptr) {
        facts.date = WallTime{std::chrono::seconds{::timegm(&when)}};
      }
    }
    at = next;
  }
}

WebFacts ask_plainly(const Endpoint& remote, const KnockOptions& options) {
  WebFacts facts;
  facts.tried = true;
  const auto fd = open_socket(WayKind::tls, remote, options);
  if (fd.get() < 0) return facts;
  const auto end = monotonic_now() + options.most;
  const auto ready = [&](short events) {
    pollfd one{fd.get(), events, 0};
    const auto left = std::chrono::ceil<milliseconds>(end - monotonic_now()).count();
    return left > 0 && ::poll(&one, 1, static_cast<int>(left)) == 1;
  };
  sockaddr_storage storage{};
  const auto length = remote.to_sockaddr(storage);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) {
    int error = errno;
    if (error != EINPROGRESS || !ready(POLLOUT)) return facts;
    socklen_t size = sizeof error;
    (void)::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return facts;
  }
  const std::string request = "GET / HTTP/1.1\r\nHost: " + remote.address.to_string() + "\r\nConnection: close\r\n\r\n";
  if (::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return facts;
  std::string head;
  while (head.size() < kHeadLimit && head.find("\r\n\r\n") == std::string::npos && ready(POLLIN)) {
    std::array<char, 1024> piece{};
    const auto got = ::recv(fd.get(), piece.data(), piece.size(), 0);
    if (got <= 0) break;
    head.append(piece.data(), static_cast<std::size_t>(got));
  }
  read_http_head(head, facts);
  return facts;
}

}  // namespace switchback::client::doctor
