// What carries the octets of a stream transport between two ends: a socket as it is, or TLS over one.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/base/bytes.h"
#include "common/base/time.h"

namespace switchback::transports::tcp {

enum class IoStatus : std::uint8_t {
  ok,
  blocked,   // the socket has to become readable or writable first
  finished,  // the peer has sent all it wanted to
  reset,     // the peer, or somebody in its name, has broken the connection off
  failed     // anything else; error() says what
};
/// Whether the connection goes on.
[[nodiscard]] constexpr bool alive(IoStatus status) noexcept {
  return status == IoStatus::ok || status == IoStatus::blocked;
}

struct IoResult {
  IoStatus status = IoStatus::ok;
  std::size_t octets = 0;
};

/// Over a connected, non-blocking socket that it borrows. Nothing here raises SIGPIPE.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;

  /// Goes on with what comes before the first octet: a handshake, or nothing. To be called until ok.
  [[nodiscard]] virtual IoStatus establish() = 0;
  [[nodiscard]] virtual IoResult read(ByteSpan out) = 0;
  /// Takes octets in order; they are on their way, however much of them waits inside. Fewer than all: blocked.
  [[nodiscard]] virtual IoResult write(std::span<const iovec> parts) = 0;
  /// Sends what waits inside. ok: nothing does.
  [[nodiscard]] virtual IoStatus flush() = 0;
  [[nodiscard]] virtual bool wants_write() const noexcept = 0;
  /// read() has something to give that the socket does not show.
  [[nodiscard]] virtual bool has_pending() const noexcept = 0;
  /// Says that nothing more will be written, so far as the stream has words of its own for it.
  virtual void finish() = 0;
  /// Of the last `failed` or `reset`, for a person.
  [[nodiscard]] virtual std::string error() const = 0;

 protected:
  ByteStream() = default;
};

/// Epoll masks.
struct Interest {
  std::uint32_t peer = 0, upstream = 0;
};

/// Serves somebody who connected and does not speak our protocol.
class Foreign {
 public:
  virtual ~Foreign() = default;
  Foreign(const Foreign&) = delete;
  Foreign& operator=(const Foreign&) = delete;

  /// Does what can be done at once, within bounds. False: it is over.
  [[nodiscard]] virtual bool proceed(ByteStream& peer, Instant now) = 0;
  /// When it is over at the latest unless something happens.
  [[nodiscard]] virtual Instant deadline() const noexcept = 0;
  /// A second descriptor to watch, or -1; the same for its whole life.
  [[nodiscard]] virtual int upstream_fd() const noexcept = 0;
  [[nodiscard]] virtual Interest interest(const ByteStream& peer) const noexcept = 0;

 protected:
  Foreign() = default;
};

/// What distinguishes one stream transport from another.
class Flavour {
 public:
  virtual ~Flavour() = default;
  Flavour(const Flavour&) = delete;
  Flavour& operator=(const Flavour&) = delete;

  /// Over a connected socket. Null: out of memory.
  [[nodiscard]] virtual std::unique_ptr<ByteStream> make_stream(int fd, bool server) = 0;
  /// @param first  what was read from the peer so far. Null: the connection is simply closed.
  [[nodiscard]] virtual std::unique_ptr<Foreign> make_foreign(ByteView first, Instant now) = 0;
  /// Headend, after each connection taken: whether more may be. If not, they wait in the kernel's queue for a moment.
  [[nodiscard]] virtual bool takes_more(Instant /*now*/) { return true; }

 protected:
  Flavour() = default;
};

/// "connection refused" and the like, of an errno of a connection.
[[nodiscard]] std::string describe_errno(int error);
/// What an errno of a connection's call means to it.
[[nodiscard]] IoStatus status_of_errno(int error) noexcept;

}  // namespace switchback::transports::tcp
