// The control socket: one line in, one line out, within bounds, and nothing left behind.
#include "common/io/control_socket.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/unique_fd.h"

using namespace switchback;
using namespace std::chrono_literals;
using io::ControlErrc;
using io::ControlServer;
using io::EventLoop;

namespace {

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/sb-control-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  [[nodiscard]] std::string file(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// A loop in a thread of its own, stopped at the end.
class RunningLoop {
 public:
  explicit RunningLoop(EventLoop& loop) : loop_{loop}, thread_{[&loop] { loop.run(); }} {}
  ~RunningLoop() {
    loop_.stop();
    thread_.join();
  }
  RunningLoop(const RunningLoop&) = delete;
  RunningLoop& operator=(const RunningLoop&) = delete;

 private:
  EventLoop& loop_;
  std::thread thread_;
};

UniqueFd connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

/// Everything until the other side closes, or until `lines` lines have come.
std::string read_lines(int fd, int lines) {
  std::string text;
  char octet = 0;
  while (lines > 0 && ::recv(fd, &octet, 1, 0) == 1) {
    text += octet;
    if (octet == '\n') --lines;
  }
  return text;
}

}  // namespace

TEST_CASE("a request line gets the handler's answer", "[io][control]") {
  const Directory directory;
  EventLoop loop;
  auto server = ControlServer::listen(loop, directory.file("s"), [](std::string_view request, ControlServer::Reply r) {
    r.send("echo " + std::string{request});
  });
  REQUIRE(server);
  const RunningLoop running{loop};
  CHECK(io::control_request(directory.file("s"), R"({"command":"status"})", 5s).value() ==
        R"(echo {"command":"status"})");
}

TEST_CASE("answers larger than the socket's buffer arrive whole", "[io][control]") {
  const Directory directory;
  EventLoop loop;
  auto server = ControlServer::listen(
      loop, directory.file("s"), [](std::string_view, ControlServer::Reply r) { r.send(std::string(8'000'000, 'x')); });
  REQUIRE(server);
  const RunningLoop running{loop};
  CHECK(io::control_request(directory.file("s"), "all", 10s).value().size() == 8'000'000);
}

TEST_CASE("requests of one connection are answered one after the other, also when sent at once", "[io][control]") {
  const Directory directory;
  EventLoop loop;
  std::optional<ControlServer::Reply> held;
  auto server = ControlServer::listen(loop, directory.file("s"), [&](std::string_view request, ControlServer::Reply r) {
    if (request == "later") {
      held.emplace(std::move(r));
      loop.post([&] { held->send("later"); });
    } else {
      r.send("now");
    }
  });
  REQUIRE(server);
  const RunningLoop running{loop};
  const auto fd = connect_to(directory.file("s"));
  REQUIRE(::send(fd.get(), "later\nnow\n", 10, 0) == 10);
  CHECK(read_lines(fd.get(), 2) == "later\nnow\n");
}

TEST_CASE("a request beyond the bound cuts the connection off", "[io][control]") {
  const Directory directory;
  EventLoop loop;
  bool handled = false;
  auto server =
      ControlServer::listen(loop, directory.file("s"), [&](std::string_view, ControlServer::Reply) { handled = true; });
  REQUIRE(server);
  const RunningLoop running{loop};
  const auto answer = io::control_request(directory.file("s"), std::string(io::kMaxControlRequest + 10, 'x'), 5s);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == ControlErrc::failed);
  CHECK_FALSE(handled);
}

TEST_CASE("a reply that is dropped closes the connection", "[io][control]") {
  const Directory directory;
  EventLoop loop;
  auto server = ControlServer::listen(loop, directory.file("s"), [](std::string_view, ControlServer::Reply) {});
  REQUIRE(server);
  const RunningLoop running{loop};
  const auto answer = io::control_request(directory.file("s"), "x", 5s);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == ControlErrc::failed);
}

TEST_CASE("more connections than the bound wait instead of being refused", "[io][control]") {
  const Directory directory;
  EventLoop loop;
  auto server =
      ControlServer::listen(loop, directory.file("s"), [](std::string_view, ControlServer::Reply r) { r.send("ok"); });
  REQUIRE(server);
  const RunningLoop running{loop};
  std::vector<UniqueFd> idle;
  for (std::size_t i = 0; i < io::kMaxControlConnections; ++i) idle.push_back(connect_to(directory.file("s")));
  const auto waiting = connect_to(directory.file("s"));
  REQUIRE(::send(waiting.get(), "x\n", 2, 0) == 2);
  idle.clear();
  CHECK(read_lines(waiting.get(), 1) == "ok\n");
}

#if !defined(__SANITIZE_ADDRESS__)  // UBSan's check of virtual calls opens a pipe, and reports an error where it cannot
TEST_CASE("a server without descriptors waits for some instead of ending", "[io][control]") {
  const Directory directory;
  EventLoop loop;
  auto server =
      ControlServer::listen(loop, directory.file("s"), [](std::string_view, ControlServer::Reply r) { r.send("ok"); });
  REQUIRE(server);
  auto waiting = connect_to(directory.file("s"));
  REQUIRE(::send(waiting.get(), "x\n", 2, 0) == 2);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit small{64, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &small) == 0);
  std::vector<UniqueFd> taken;
  for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) taken.emplace_back(fd);
  // None for the connection; then one, but none for watching it. That one is closed, and the next is served.
  const auto spare = GENERATE(0U, 1U);
  for (unsigned i = 0; i < spare; ++i) taken.pop_back();
  bool freed = false, answered = false;
  const auto give_up = monotonic_now() + 20s;
  EventLoop::Timer timer = loop.make_timer([&](Instant now) {
    if (!std::exchange(freed, true)) {
      taken.clear();
      if (spare != 0) {
        waiting = connect_to(directory.file("s"));
        CHECK(::send(waiting.get(), "x\n", 2, 0) == 2);
      }
    }
    char octet = 0;
    answered = ::recv(waiting.get(), &octet, 1, MSG_DONTWAIT) == 1;
    if (answered || now > give_up) return loop.stop();
    timer.arm(now + 10ms);
  });
  timer.arm(monotonic_now() + 20ms);
  loop.run();
  CHECK(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(answered);
}
#endif

TEST_CASE("the socket is for its owner alone and goes away with the server", "[io][control]") {
  const Directory directory;
  const auto path = directory.file("new/s");
  EventLoop loop;
  {
    auto server = ControlServer::listen(loop, path, [](std::string_view, ControlServer::Reply) {});
    REQUIRE(server);
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 0777U) == 0600U);
    REQUIRE(::stat(directory.file("new").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777U) == 0700U);
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a socket that a killed process left is replaced, a live one is not", "[io][control]") {
  const Directory directory;
  const auto path = directory.file("s");
  {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const UniqueFd dead{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  EventLoop loop;
  const auto handler = [](std::string_view, ControlServer::Reply) {};
  auto server = ControlServer::listen(loop, path, handler);
  REQUIRE(server);
  const auto second = ControlServer::listen(loop, path, handler);
  REQUIRE_FALSE(second);
  CHECK(second.error().message.find("another process") != std::string::npos);
}

TEST_CASE("asking where nobody listens says so", "[io][control]") {
  const Directory directory;
  const auto answer = io::control_request(directory.file("none"), "x", 1s);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().code == ControlErrc::not_running);
}
