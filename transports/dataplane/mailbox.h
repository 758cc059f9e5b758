// Messages between the control thread and a packet thread: a vector under a mutex and a descriptor that wakes.
#pragma once

#include <sys/eventfd.h>

#include <cstdint>
#include <iterator>
#include <mutex>
#include <new>
#include <vector>

#include "common/base/unique_fd.h"

namespace switchback::transports {

/// One lock per message or bundle of messages, never per packet. Any number of writers, one reader.
template <class Message>
class Mailbox {
 public:
  Mailbox() : fd_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {
    if (!fd_) throw std::bad_alloc{};  // start-up
  }

  void post(Message message) {
    bool first = false;
    {
      const std::lock_guard lock{mutex_};
      first = messages_.empty();
      messages_.push_back(std::move(message));
    }
    // Who wrote the first wakes the reader; until it takes them it needs no other call.
    if (first) wake();
  }
  /// Moves all of `bundle` in; it is empty afterwards and keeps its capacity.
  void post_all(std::vector<Message>& bundle) {
    if (bundle.empty()) return;
    bool first = false;
    {
      const std::lock_guard lock{mutex_};
      first = messages_.empty();
      std::move(bundle.begin(), bundle.end(), std::back_inserter(messages_));
    }
    bundle.clear();
    if (first) wake();
  }
  /// Appends all messages so far to `out`.
  void take(std::vector<Message>& out) {
    // The descriptor first: a message that comes between the two wakes the reader once for nothing, never too seldom.
    std::uint64_t count = 0;
    (void)!::read(fd_.get(), &count, sizeof count);
    const std::lock_guard lock{mutex_};
    if (out.empty()) {
      out.swap(messages_);
    } else {
      std::move(messages_.begin(), messages_.end(), std::back_inserter(out));
      messages_.clear();
    }
  }
  /// For the reader.
  [[nodiscard]] bool has_messages() {
    const std::lock_guard lock{mutex_};
    return !messages_.empty();
  }
  /// Readable when there are messages. Borrowed.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  void wake() noexcept {
    const std::uint64_t one = 1;
    (void)!::write(fd_.get(), &one, sizeof one);
  }

  UniqueFd fd_;
  std::mutex mutex_;
  std::vector<Message> messages_;
};

}  // namespace switchback::transports
