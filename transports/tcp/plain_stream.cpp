#include "transports/tcp/plain_stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <numeric>
#include <system_error>

namespace switchback::transports::tcp {

std::string describe_errno(int error) {
  switch (error) {
    case ECONNREFUSED: return "connection refused: nothing listens there, or a firewall says so";
    case ETIMEDOUT: return "timed out";
    case ECONNRESET: return "connection reset";
    case EPIPE: return "connection reset";
    default: return std::generic_category().message(error);
  }
}

IoStatus status_of_errno(int error) noexcept {
  if (error == EAGAIN || error == EWOULDBLOCK) return IoStatus::blocked;
  return error == ECONNRESET || error == EPIPE ? IoStatus::reset : IoStatus::failed;
}

IoResult PlainStream::read(ByteSpan out) {
  for (;;) {
    const auto got = ::recv(fd_, out.data(), out.size(), 0);
    if (got > 0) return {IoStatus::ok, static_cast<std::size_t>(got)};
    if (got == 0) return {IoStatus::finished, 0};
    if (errno == EINTR) continue;
    errno_ = errno;
    return {status_of_errno(errno_), 0};
  }
}

IoResult PlainStream::write(std::span<const iovec> parts) {
  const auto wanted = std::accumulate(parts.begin(), parts.end(), std::size_t{0},
                                      [](std::size_t sum, const iovec& part) { return sum + part.iov_len; });
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());  // the kernel's interface lacks const
  message.msg_iovlen = parts.size();
  for (;;) {
    const auto sent = ::sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (sent >= 0) {
      const auto octets = static_cast<std::size_t>(sent);
      return {octets < wanted ? IoStatus::blocked : IoStatus::ok, octets};
    }
    if (errno == EINTR) continue;
    errno_ = errno;
    return {status_of_errno(errno_), 0};
  }
}

}  // namespace switchback::transports::tcp
