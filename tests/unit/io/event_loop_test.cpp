// The event loop: readiness is level-triggered, handles that are gone are silent, timers fire once.
#include "common/io/event_loop.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <optional>
#include <thread>
#include <vector>

#include "common/base/unique_fd.h"

using namespace switchback;
using io::EventLoop;

namespace {

UniqueFd event_fd(unsigned initial) { return UniqueFd{::eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC)}; }

}  // namespace

TEST_CASE("a descriptor that stays readable calls back again and again", "[io][event_loop]") {
  EventLoop loop;
  const auto fd = event_fd(1);
  int calls = 0;
  const auto watch = loop.on_readable(fd.get(), [&](Instant) {
    if (++calls == 3) loop.stop();
  });
  loop.run();
  CHECK(calls == 3);
}

TEST_CASE("reading and writing on one descriptor can be watched side by side", "[io][event_loop]") {
  EventLoop loop;
  const auto fd = event_fd(1);
  bool readable = false;
  bool writable = false;
  EventLoop::Watch read_watch = loop.on_readable(fd.get(), [&](Instant) {
    readable = true;
    if (writable) loop.stop();
  });
  EventLoop::Watch write_watch = loop.on_writable(fd.get(), [&](Instant) {
    writable = true;
    if (readable) loop.stop();
  });
  loop.run();
  CHECK(readable);
  CHECK(writable);
}

TEST_CASE("a watch may be dropped inside its own callback and is not heard of again", "[io][event_loop]") {
  EventLoop loop;
  const auto fd = event_fd(1);
  int calls = 0;
  EventLoop::Watch watch;
  watch = loop.on_readable(fd.get(), [&](Instant) {
    ++calls;
    watch = {};
    loop.post([&] { loop.post([&] { loop.stop(); }); });
  });
  loop.run();
  CHECK(calls == 1);
}

TEST_CASE("a watch leaves the caller's descriptor open", "[io][event_loop]") {
  EventLoop loop;
  const auto fd = event_fd(0);
  {
    const auto watch = loop.on_readable(fd.get(), [](Instant) {});
  }
  CHECK(::fcntl(fd.get(), F_GETFD) >= 0);
}

TEST_CASE("arming a timer again replaces its deadline, and a timer fires once", "[io][event_loop]") {
  EventLoop loop;
  int expired = 0;
  bool replaced_fired = false;
  auto replaced = loop.make_timer([&](Instant) { replaced_fired = true; });
  auto timer = loop.make_timer([&](Instant) {
    ++expired;
    loop.post([&] { loop.stop(); });
  });
  const auto now = monotonic_now();
  replaced.arm(now);
  replaced.arm(now + std::chrono::hours{1});
  timer.arm(now);  // in the past by the time the loop runs: fires at once
  loop.run();
  CHECK(expired == 1);
  CHECK_FALSE(replaced_fired);
}

TEST_CASE("an expiry that is already queued is forgotten when the timer is cancelled", "[io][event_loop]") {
  EventLoop loop;
  bool fired = false;
  std::optional<EventLoop::Timer> second;
  auto first = loop.make_timer([&](Instant) {
    second->cancel();
    loop.post([&] { loop.post([&] { loop.stop(); }); });
  });
  second = loop.make_timer([&](Instant) { fired = true; });
  const auto past = monotonic_now();
  first.arm(past);
  second->arm(past + std::chrono::nanoseconds{1});
  loop.run();
  CHECK_FALSE(fired);
}

TEST_CASE("work posted by another thread runs on the loop, in order", "[io][event_loop]") {
  EventLoop loop;
  std::vector<int> order;
  std::thread other{[&] {
    for (int i = 0; i < 100; ++i) loop.post([&order, i] { order.push_back(i); });
    loop.post([&] { loop.stop(); });
  }};
  loop.run();
  other.join();
  REQUIRE(order.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a watched signal is delivered to the loop", "[io][event_loop]") {
  EventLoop loop;
  int caught = 0;
  const auto watch = loop.on_signals({SIGUSR1, SIGHUP}, [&](int signal) {
    caught = signal;
    loop.stop();
  });
  loop.post([] { (void)::raise(SIGUSR1); });
  loop.run();
  CHECK(caught == SIGUSR1);
}
