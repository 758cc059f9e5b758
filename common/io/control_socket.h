// Local control of a running program: one line of JSON asks, one line answers, over a Unix socket that only root can
// use.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/io/event_loop.h"

namespace switchback::io {

/// Bounds of the protocol; a peer that exceeds one is cut off.
inline constexpr std::size_t kMaxControlRequest = 64 * 1024;          // octets of a line
inline constexpr std::size_t kMaxControlResponse = 64 * 1024 * 1024;  // octets of a line
inline constexpr std::size_t kMaxControlConnections = 16;             // further ones wait in the listen queue
inline constexpr std::chrono::seconds kControlIdleTimeout{30};        // without a request, or with an unread response

/// The socket's usual place, "/run/switchback/<program>-<tun>.sock"; program is "client" or "headend".
[[nodiscard]] std::string control_socket_path(std::string_view program, std::string_view tun_name);

class ControlServer {
  struct Impl;
  struct Connection;

 public:
  /// The right to answer one request, now or later, on the loop's thread. Destroyed unused, it closes the connection;
  /// used after the connection or the server has gone, it does nothing.
  class Reply {
   public:
    Reply(Reply&&) noexcept = default;
    Reply& operator=(Reply&&) noexcept = default;
    ~Reply();
    /// @param line  the response, without a line break
    void send(std::string line);

   private:
    friend class ControlServer;
    explicit Reply(std::shared_ptr<Connection> connection) noexcept : connection_{std::move(connection)} {}
    std::shared_ptr<Connection> connection_;
  };
  using Handler = std::function<void(std::string_view request, Reply reply)>;

  /// Creates the directory (0700) and the socket (0600), and replaces a socket that nobody listens on any more. Peers
  /// other than root and this program's own user are refused. The loop outlives the server.
  /// Errors: another process listens there; the path cannot be created.
  [[nodiscard]] static Result<ControlServer, UserError> listen(EventLoop& loop, std::string path, Handler handler);

  ControlServer(ControlServer&&) noexcept;
  ControlServer& operator=(ControlServer&&) noexcept;
  ~ControlServer();  // closes all connections and removes the socket
  [[nodiscard]] const std::string& path() const noexcept;

 private:
  explicit ControlServer(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

enum class ControlErrc {
  not_running,  // nobody listens on the socket
  denied,       // not root
  failed,       // cut off, timed out, or the answer broke a bound
};
struct ControlError {
  ControlErrc code;
  UserError user;  // the same for a person
};

/// Blocking: sends one request line and waits for the response line. For the commands that talk to a running program.
[[nodiscard]] Result<std::string, ControlError> control_request(const std::string& path, std::string_view request,
                                                                std::chrono::milliseconds timeout);

}  // namespace switchback::io
