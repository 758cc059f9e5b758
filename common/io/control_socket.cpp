#include "common/io/control_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "common/base/log.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"

namespace switchback::io {
namespace {

std::optional<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) noexcept { return reinterpret_cast<const sockaddr*>(&address); }

std::string reason(int error) { return std::error_code{error, std::system_category()}.message(); }

constexpr std::chrono::seconds kAcceptPause{1};

bool would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

std::string control_socket_path(std::string_view program, std::string_view tun_name) {
  return "/run/switchback/" + std::string{program} + "-" + std::string{tun_name} + ".sock";
}

// Lives while the server lists it or a Reply holds it. `server` is null once it is no longer served.
struct ControlServer::Connection : std::enable_shared_from_this<ControlServer::Connection> {
  Connection(Impl* owner, UniqueFd socket) : server{owner}, fd{std::move(socket)} {}

  void start();
  void readable();
  void next_request();
  void answer(std::string line);
  void flush();
  void close();

  Impl* server;
  UniqueFd fd;
  EventLoop::Watch reading, writing;
  EventLoop::Timer idle;
  std::string in, out;
  std::size_t sent = 0;
  bool write_pending = false;
  bool answering = false;  // a Reply is out, or `out` is not yet gone: further requests wait
};

struct ControlServer::Impl {
  Impl(EventLoop& l, std::string p, Handler h, UniqueFd socket)
      : loop{l}, path{std::move(p)}, handler{std::move(h)}, listener{std::move(socket)} {
    watch();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    ::unlink(path.c_str());
    for (const auto open = connections; const auto& connection : open) connection->close();
  }

  void watch() {
    accepting = loop.on_readable(listener.get(), [this](Instant) { accept(); });
  }
  void accept();
  void pause_accepting();
  void gone(const std::shared_ptr<Connection>& connection) {
    connections.erase(connection);
    if (paused) {
      paused = false;
      watch();
    }
  }

  EventLoop& loop;
  std::string path;
  Handler handler;
  UniqueFd listener;
  EventLoop::Watch accepting;
  EventLoop::Timer resume;
  bool paused = false;
  std::unordered_set<std::shared_ptr<Connection>> connections;
};

void ControlServer::Impl::accept() {
  UniqueFd socket{::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
  if (!socket) {
    // Out of descriptors or memory the listener stays readable: look again in a while, and do not spin meanwhile.
    if (!would_block(errno) && errno != ECONNABORTED) pause_accepting();
    return;
  }
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return;
  if (peer.uid != 0 && peer.uid != ::geteuid()) {
    log::warning("control_refused", {{"uid", peer.uid}, {"pid", peer.pid}});
    return;
  }
  auto connection = std::make_shared<Connection>(this, std::move(socket));
  try {
    connection->start();
  } catch (const std::system_error&) {  // no descriptor is left for watching it
    connection->server = nullptr;
    return pause_accepting();
  }
  connections.insert(connection);
  if (connections.size() >= kMaxControlConnections) {
    paused = true;
    accepting = {};
  }
}

void ControlServer::Impl::pause_accepting() {
  accepting = {};
  resume = loop.make_timer([this](Instant now) {
    try {
      watch();
    } catch (const std::system_error&) {
      resume.arm(now + kAcceptPause);
    }
  });
  resume.arm(monotonic_now() + kAcceptPause);
}

void ControlServer::Connection::start() {
  idle = server->loop.make_timer([this](Instant) {
    if (!answering || !out.empty()) close();  // a request that the program still works on may take its time
  });
  idle.arm(monotonic_now() + kControlIdleTimeout);
  reading = server->loop.on_readable(fd.get(), [this](Instant) { readable(); });
}

void ControlServer::Connection::readable() {
  const auto self = shared_from_this();  // close() may drop the last other owner
  std::array<char, 8192> chunk;
  const auto count = ::recv(fd.get(), chunk.data(), chunk.size(), 0);
  if (count < 0 && would_block(errno)) return;
  if (count <= 0) return close();
  in.append(chunk.data(), static_cast<std::size_t>(count));
  if (in.size() > kMaxControlRequest) return close();
  next_request();
}

void ControlServer::Connection::next_request() {
  if (answering) return;
  const auto end = in.find('\n');
  if (end == std::string::npos) return;
  const auto line = in.substr(0, end);
  in.erase(0, end + 1);
  answering = true;
  server->handler(line, Reply{shared_from_this()});
}

void ControlServer::Connection::answer(std::string line) {
  if (line.size() >= kMaxControlResponse) return close();
  out = std::move(line);
  out += '\n';
  sent = 0;
  idle.arm(monotonic_now() + kControlIdleTimeout);
  flush();
}

void ControlServer::Connection::flush() {
  const auto self = shared_from_this();
  while (sent < out.size()) {
    const auto count = ::send(fd.get(), out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
    if (count < 0) {
      if (!would_block(errno)) return close();
      if (!std::exchange(write_pending, true)) {
        writing = server->loop.on_writable(fd.get(), [this](Instant) { flush(); });
      }
      return;
    }
    sent += static_cast<std::size_t>(count);
  }
  if (std::exchange(write_pending, false)) writing = {};
  out = {};
  answering = false;
  next_request();
}

void ControlServer::Connection::close() {
  if (server == nullptr) return;
  const auto self = shared_from_this();
  reading = {};
  writing = {};
  idle = {};
  fd = {};
  std::exchange(server, nullptr)->gone(self);
}

ControlServer::Reply::~Reply() {
  if (connection_) connection_->close();
}

void ControlServer::Reply::send(std::string line) {
  if (const auto connection = std::exchange(connection_, nullptr); connection && connection->server != nullptr) {
    connection->answer(std::move(line));
  }
}

Result<ControlServer, UserError> ControlServer::listen(EventLoop& loop, std::string path, Handler handler) {
  const auto address = unix_address(path);
  if (!address) {
    return fail_user("the control socket path \"" + path + "\" is empty or longer than 107 characters: choose another");
  }
  const auto refuse = [&](std::string_view what) {
    return fail_user("cannot create the control socket " + path + ": " + std::string{what});
  };
  if (const auto directory = std::filesystem::path{path}.parent_path();
      !directory.empty() && ::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return refuse(reason(errno));
  }
  if (UniqueFd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)}; probe) {
    if (::connect(probe.get(), generic(*address), sizeof *address) == 0) {
      return refuse("another process already answers there; stop it first");
    }
    if (errno == ECONNREFUSED) ::unlink(path.c_str());  // left behind by a process that was killed
  }
  UniqueFd listener{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (!listener) return refuse(reason(errno));
  // Before bind: then the socket has this mode from its first moment in the file system.
  if (::fchmod(listener.get(), 0600) != 0 || ::bind(listener.get(), generic(*address), sizeof *address) != 0 ||
      ::listen(listener.get(), 16) != 0) {
    return refuse(reason(errno));
  }
  return ControlServer{std::make_unique<Impl>(loop, std::move(path), std::move(handler), std::move(listener))};
}

ControlServer::ControlServer(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
ControlServer::ControlServer(ControlServer&&) noexcept = default;
ControlServer& ControlServer::operator=(ControlServer&&) noexcept = default;
ControlServer::~ControlServer() = default;
const std::string& ControlServer::path() const noexcept { return impl_->path; }

Result<std::string, ControlError> control_request(const std::string& path, std::string_view request,
                                                  std::chrono::milliseconds timeout) {
  const auto error = [](ControlErrc code, std::string message) {
    return fail(ControlError{code, UserError{std::move(message)}});
  };
  const auto address = unix_address(path);
  if (!address) return error(ControlErrc::failed, "the control socket path \"" + path + "\" is too long");
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return error(ControlErrc::failed, "cannot open a socket: " + reason(errno));
  if (::connect(fd.get(), generic(*address), sizeof *address) != 0) {
    const int why = errno;
    if (why == ENOENT || why == ECONNREFUSED) {
      return error(ControlErrc::not_running, "nothing is running there: nobody listens on " + path);
    }
    if (why == EACCES || why == EPERM) {
      return error(ControlErrc::denied, "no permission to use " + path + ": run this command as root");
    }
    return error(ControlErrc::failed, "cannot reach " + path + ": " + reason(why));
  }
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) return error(ControlErrc::failed, reason(errno));

  const auto until = monotonic_now() + timeout;
  const auto wait = [&](short events) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - monotonic_now()).count();
    pollfd one{fd.get(), events, 0};
    return left > 0 && ::poll(&one, 1, static_cast<int>(left)) > 0;
  };
  const auto no_answer = [&] { return error(ControlErrc::failed, "no answer on " + path + " in time"); };
  const auto cut_off = [&] {
    return error(ControlErrc::failed, "the program at " + path + " closed the connection without an answer");
  };

  std::string line{request};
  line += '\n';
  for (std::size_t sent = 0; sent < line.size();) {
    const auto count = ::send(fd.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if (!would_block(errno)) {
      return cut_off();
    } else if (!wait(POLLOUT)) {
      return no_answer();
    }
  }
  std::string response;
  std::array<char, 65536> chunk;
  for (;;) {
    const auto count = ::recv(fd.get(), chunk.data(), chunk.size(), 0);
    if (count < 0) {
      if (!would_block(errno)) return cut_off();
      if (!wait(POLLIN)) return no_answer();
      continue;
    }
    if (count == 0) return cut_off();
    response.append(chunk.data(), static_cast<std::size_t>(count));
    if (const auto end = response.find('\n'); end != std::string::npos) {
      response.resize(end);
      return response;
    }
    if (response.size() > kMaxControlResponse)
      return error(ControlErrc::failed, "the answer on " + path + " is too long");
  }
}

}  // namespace switchback::io
