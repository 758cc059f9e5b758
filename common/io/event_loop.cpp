#include "common/io/event_loop.h"

#include <fcntl.h>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <cerrno>
#include <system_error>
#include <utility>

namespace switchback::io {

struct EventLoop::Impl {
  asio::io_context context{1};
};

// The states live as long as an operation is pending or a callback runs; `alive` says whether anybody still cares.
struct EventLoop::WatchState {
  WatchState() = default;
  WatchState(const WatchState&) = delete;
  WatchState& operator=(const WatchState&) = delete;
  virtual ~WatchState() = default;
  virtual void close() noexcept = 0;
  bool alive = true;
};

struct EventLoop::TimerState : std::enable_shared_from_this<EventLoop::TimerState> {
  TimerState(asio::io_context& context, std::function<void(Instant)> callback)
      : timer{context}, expired{std::move(callback)} {}

  void arm(Instant when) {
    const auto armed = ++generation;  // an expiry that is already queued must not count for the new deadline
    timer.expires_at(std::chrono::time_point_cast<std::chrono::steady_clock::duration>(when));
    timer.async_wait([self = shared_from_this(), armed](const std::error_code& error) {
      if (!error && self->alive && armed == self->generation) self->expired(monotonic_now());
    });
  }
  void cancel() {
    ++generation;
    timer.cancel();
  }

  asio::steady_timer timer;
  std::function<void(Instant)> expired;
  std::uint64_t generation = 0;
  bool alive = true;
};

EventLoop::EventLoop() : impl_{std::make_unique<Impl>()} {}
EventLoop::~EventLoop() = default;

EventLoop::Watch EventLoop::watch(int fd, bool readable, std::function<void(Instant)> ready) {
  struct Descriptor final : WatchState, std::enable_shared_from_this<Descriptor> {
    Descriptor(asio::io_context& context, int own_fd, bool readable_, std::function<void(Instant)> callback)
        : descriptor{context, own_fd}, is_readable{readable_}, on_ready{std::move(callback)} {}
    void wait() {
      const auto what =
          is_readable ? asio::posix::descriptor_base::wait_read : asio::posix::descriptor_base::wait_write;
      descriptor.async_wait(what, [self = shared_from_this()](const std::error_code& error) {
        if (error || !self->alive) return;
        self->on_ready(monotonic_now());
        if (self->alive) self->wait();
      });
    }
    void close() noexcept override {
      std::error_code ignored;
      descriptor.close(ignored);
    }
    asio::posix::stream_descriptor descriptor;
    bool is_readable;
    std::function<void(Instant)> on_ready;
  };
  // Asio closes what it watches, and will have a descriptor only once: it gets a duplicate of its own.
  const int duplicate = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (duplicate < 0) throw std::system_error{errno, std::system_category(), "cannot watch a descriptor"};
  auto state = std::make_shared<Descriptor>(impl_->context, duplicate, readable, std::move(ready));
  state->wait();
  return Watch{std::move(state)};
}

EventLoop::Watch EventLoop::on_readable(int fd, std::function<void(Instant)> ready) {
  return watch(fd, true, std::move(ready));
}

EventLoop::Watch EventLoop::on_writable(int fd, std::function<void(Instant)> ready) {
  return watch(fd, false, std::move(ready));
}

EventLoop::Watch EventLoop::on_signals(std::initializer_list<int> signals, std::function<void(int)> caught) {
  struct Signals final : WatchState, std::enable_shared_from_this<Signals> {
    Signals(asio::io_context& context, std::initializer_list<int> numbers, std::function<void(int)> callback)
        : set{context}, on_caught{std::move(callback)} {
      for (const int number : numbers) set.add(number);
    }
    void wait() {
      set.async_wait([self = shared_from_this()](const std::error_code& error, int number) {
        if (error || !self->alive) return;
        self->on_caught(number);
        if (self->alive) self->wait();
      });
    }
    void close() noexcept override {
      std::error_code ignored;
      set.clear(ignored);
      set.cancel(ignored);
    }
    asio::signal_set set;
    std::function<void(int)> on_caught;
  };
  auto state = std::make_shared<Signals>(impl_->context, signals, std::move(caught));
  state->wait();
  return Watch{std::move(state)};
}

EventLoop::Timer EventLoop::make_timer(std::function<void(Instant)> expired) {
  return Timer{std::make_shared<TimerState>(impl_->context, std::move(expired))};
}

void EventLoop::post(std::function<void()> work) { asio::post(impl_->context, std::move(work)); }

void EventLoop::run() {
  const auto guard = asio::make_work_guard(impl_->context);
  impl_->context.restart();
  impl_->context.run();
}

void EventLoop::stop() { impl_->context.stop(); }

EventLoop::Watch::Watch() noexcept = default;
EventLoop::Watch::Watch(std::shared_ptr<WatchState> state) noexcept : state_{std::move(state)} {}
EventLoop::Watch::Watch(Watch&& other) noexcept : state_{std::move(other.state_)} {}
EventLoop::Watch& EventLoop::Watch::operator=(Watch&& other) noexcept {
  Watch taken{std::move(other)};
  std::swap(state_, taken.state_);
  return *this;
}
EventLoop::Watch::~Watch() {
  if (!state_) return;
  state_->alive = false;
  state_->close();
}

EventLoop::Timer::Timer() noexcept = default;
EventLoop::Timer::Timer(std::shared_ptr<TimerState> state) noexcept : state_{std::move(state)} {}
EventLoop::Timer::Timer(Timer&& other) noexcept : state_{std::move(other.state_)} {}
EventLoop::Timer& EventLoop::Timer::operator=(Timer&& other) noexcept {
  Timer taken{std::move(other)};
  std::swap(state_, taken.state_);
  return *this;
}
EventLoop::Timer::~Timer() {
  if (!state_) return;
  state_->alive = false;
  state_->cancel();
}
void EventLoop::Timer::arm(Instant when) { state_->arm(when); }
void EventLoop::Timer::cancel() {
  if (state_) state_->cancel();
}

}  // namespace switchback::io
