#include "common/io/guarded_listener.h"

#include <linux/filter.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>

#include <netinet/in.h>

namespace switchback::io {
namespace {

std::error_code last_error() noexcept { return {errno, std::system_category()}; }

}  // namespace

Result<GuardedListener> open_guarded(const Endpoint& local) {
  GuardedListener guard;
  guard.fd = UniqueFd{
      ::socket(local.address.is_v6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP)};
  if (!guard.fd) return fail(last_error());
  const auto fd = guard.fd.get();
  const int on = 1;
  if (local.address.is_v6()) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  // Connections here never enter TIME_WAIT; a kernel's of an earlier owner of the port must not keep us out.
  if (local.port != 0) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sock_filter drop[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  const sock_fprog program{1, drop};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) != 0 ||
      ::setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)) != 0) {
    return fail(last_error());
  }
  sockaddr_storage name{};
  const auto bytes = local.to_sockaddr(name);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&name), bytes) != 0 || ::listen(fd, 1) != 0) {
    return fail(last_error());
  }
  socklen_t size = sizeof(name);
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) return fail(last_error());
  guard.local = Endpoint::from_sockaddr(name);
  return guard;
}

}  // namespace switchback::io
