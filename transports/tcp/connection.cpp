#include "transports/tcp/connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "transports/tcp/tcp_health.h"

namespace switchback::transports::tcp {
namespace {

constexpr int kBacklog = 1024;
/// Seconds: NATs and firewalls forget idle connections after minutes; a dead peer is gone after about a minute.
constexpr int kKeepaliveIdle = 45, kKeepaliveInterval = 10, kKeepaliveCount = 3;
/// Milliseconds that sent data may stay without acknowledgement. The path selector moves long before.
constexpr int kUserTimeout = 60'000;

void set_option(int fd, int level, int name, int value) noexcept {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

Result<UniqueFd> make_socket(IpFamily family, const SocketSettings& settings) {
  UniqueFd fd{
      ::socket(family == IpFamily::v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP)};
  if (!fd) return fail_errno();
  if (family == IpFamily::v6) set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (settings.mark != 0) {
    if (::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &settings.mark, sizeof settings.mark) != 0) return fail_errno();
  }
  return fd;
}

Endpoint name_of(int fd, int (*ask)(int, sockaddr*, socklen_t*)) noexcept {
  sockaddr_storage name{};
  socklen_t length = sizeof name;
  if (ask(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) return {};
  return Endpoint::from_sockaddr(name);
}

}  // namespace

Result<UniqueFd> start_connect(const IpAddress& local, const Endpoint& remote, const SocketSettings& settings) {
  SB_TRY(auto fd, make_socket(remote.address.family(), settings));
  sockaddr_storage name{};
  if (!local.empty() && !local.is_unspecified()) {
    set_option(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    const auto length = Endpoint{local, 0}.to_sockaddr(name);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0) return fail_errno();
  }
  prepare_connected(fd.get());
  const auto length = remote.to_sockaddr(name);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0 && errno != EINPROGRESS) {
    return fail_errno();
  }
  return fd;
}

Result<UniqueFd> open_listener(const Endpoint& local, const SocketSettings& settings) {
  SB_TRY(auto fd, make_socket(local.address.family(), settings));
  set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  sockaddr_storage name{};
  const auto length = local.to_sockaddr(name);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) != 0) return fail_errno();
  if (::listen(fd.get(), kBacklog) != 0) return fail_errno();
  return fd;
}

void prepare_connected(int fd) noexcept {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdle);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveInterval);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveCount);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeout);
  set_unsent_limit(fd, kFirstUnsentLimit);
}

Endpoint local_of(int fd) noexcept { return name_of(fd, &::getsockname); }
Endpoint remote_of(int fd) noexcept { return name_of(fd, &::getpeername); }

IpAddress holder_of(const IpAddress& remote) noexcept {
  if (!remote.is_v6()) return remote;
  return IpPrefix{remote, 64}.first();
}

}  // namespace switchback::transports::tcp
