// The control thread's event loop: readiness, timers, signals and work handed over from other threads.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>

#include "common/base/result.h"
#include "common/base/time.h"

namespace switchback::io {

/// One thread's loop. Asio lives behind it, so that its headers stay in one file. Everything but post() and stop() is
/// for the thread that runs the loop, or for before it runs. Callbacks must not throw. Handles (Watch, Timer) may be
/// destroyed at any time, also inside their own callback; no callback comes afterwards. The loop outlives its handles.
class EventLoop {
  struct Impl;
  struct WatchState;
  struct TimerState;

 public:
  /// Keeps a callback registered for as long as it lives. Default-constructed: nothing.
  class Watch {
   public:
    Watch() noexcept;
    Watch(Watch&&) noexcept;
    Watch& operator=(Watch&&) noexcept;
    ~Watch();

   private:
    friend class EventLoop;
    explicit Watch(std::shared_ptr<WatchState> state) noexcept;
    std::shared_ptr<WatchState> state_;
  };

  /// One-shot timer, armed again as often as one likes.
  class Timer {
   public:
    Timer() noexcept;
    Timer(Timer&&) noexcept;
    Timer& operator=(Timer&&) noexcept;
    ~Timer();
    /// Calls back once at or soon after `when` (at once if it has passed); replaces an earlier deadline.
    void arm(Instant when);
    void cancel();

   private:
    friend class EventLoop;
    explicit Timer(std::shared_ptr<TimerState> state) noexcept;
    std::shared_ptr<TimerState> state_;
  };

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Calls `ready` while `fd` is readable: level-triggered, once per loop turn. The descriptor is borrowed: it stays
  /// the caller's and must stay open until the watch is gone.
  [[nodiscard]] Watch on_readable(int fd, std::function<void(Instant now)> ready);
  /// As on_readable(), for writability.
  [[nodiscard]] Watch on_writable(int fd, std::function<void(Instant now)> ready);
  [[nodiscard]] Timer make_timer(std::function<void(Instant now)> expired);
  /// Takes over these signals of the process (SIGINT, SIGTERM, SIGHUP …) for as long as the watch lives.
  [[nodiscard]] Watch on_signals(std::initializer_list<int> signals, std::function<void(int signal)> caught);

  /// Runs `work` on the loop's thread, soon and in the order of the calls. Thread-safe.
  void post(std::function<void()> work);
  /// Until stop(). Work left over stays queued for another run().
  void run();
  /// Thread-safe.
  void stop();

 private:
  [[nodiscard]] Watch watch(int fd, bool readable, std::function<void(Instant)> ready);
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchback::io
