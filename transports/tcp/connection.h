// One connection of a stream transport: its socket, stream, framing and the times that bound its life.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "transports/stream/framing.h"
#include "transports/tcp/byte_stream.h"
#include "transports/tcp/outbox.h"

namespace switchback::transports::tcp {

enum class State : std::uint8_t {
  connecting,    // client: SYN sent
  establishing,  // handshake of the stream
  waiting,       // headend: the first octets say whom we talk to
  open,          // frames travel
  foreign,       // headend: not our protocol
  closing        // we are through with it; what was sent may arrive
};

struct Connection {
  std::uint64_t id = 0;
  State state = State::connecting;
  bool accepted = false;  // from a listener
  bool proven = false;    // a session receives here
  bool queued = false;    // in the driver's list of those to be read
  UniqueFd fd;
  AddressPair path;  // transport 0
  std::uint64_t request = 0;
  std::unique_ptr<ByteStream> stream;
  std::unique_ptr<Foreign> foreign;
  stream::StreamParser parser{false};
  Outbox outbox;
  Bytes first;  // octets read while `waiting`
  Interest watched;
  Instant deadline{};        // of connecting, establishing, waiting, closing
  Instant unproven_since{};  // meaningful while not proven

  // What TCP says of itself, see tcp_health.h.
  bool sent_since_look = false;
  bool stall_told = false;
  std::uint64_t octets_acked = 0;
  Instant progress_at{};
  std::uint32_t lowat = 0;

  std::vector<std::uint32_t> batch;  // packets of the send() that is under way
};

struct SocketSettings {
  std::uint32_t mark = 0;
  std::size_t buffer = 0;
};

/// A non-blocking socket that connects to `remote`. Errors: of socket(), bind(), SO_MARK and connect().
[[nodiscard]] Result<UniqueFd> start_connect(const IpAddress& local, const Endpoint& remote,
                                             const SocketSettings& settings);
/// A non-blocking listener. Errors: of socket(), bind(), SO_MARK and listen().
[[nodiscard]] Result<UniqueFd> open_listener(const Endpoint& local, const SocketSettings& settings);
/// Options of a connected socket: no delay, keepalives, dead peers noticed, little unsent data.
void prepare_connected(int fd) noexcept;
[[nodiscard]] Endpoint local_of(int fd) noexcept;
[[nodiscard]] Endpoint remote_of(int fd) noexcept;

/// Whom a connection is counted for: an IPv4 address, an IPv6 /64.
[[nodiscard]] IpAddress holder_of(const IpAddress& remote) noexcept;

}  // namespace switchback::transports::tcp
