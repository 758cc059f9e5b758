// Records from one packet thread to another: a bounded ring of octets without locks.
#pragma once

#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "common/base/bytes.h"

namespace switchback::transports {

/// One producer, one consumer. Each record is one range of memory, written and read where it stands, so that crossing
/// costs one copy; neither end ever waits. Its pages are touched only when records come by.
class HandoverRing {
 public:
  /// @param octets  a power of two, at least 64; the largest record is a quarter of it less kAlign
  explicit HandoverRing(std::size_t octets) : size_{octets}, memory_{new std::uint8_t[octets]} {  // not initialised
    assert(octets >= 64 && (octets & (octets - 1)) == 0);
  }
  HandoverRing(const HandoverRing&) = delete;
  HandoverRing& operator=(const HandoverRing&) = delete;

  static constexpr std::size_t kAlign = 16;
  [[nodiscard]] std::size_t largest_record() const noexcept { return size_ / 4 - kAlign; }

  // --- the producer's ---
  /// Memory for a record, aligned to kAlign; empty when the ring is full. It is the consumer's after commit(), and
  /// forgotten by the next reserve() before that. Pre: 0 < octets <= largest_record().
  [[nodiscard]] ByteSpan reserve(std::size_t octets) noexcept {
    assert(octets != 0 && octets <= largest_record());
    const auto room = rounded(octets);
    const auto at = written_ & (size_ - 1);
    // A record does not wrap: what is left at the end is skipped.
    const auto skip = size_ - at < room ? size_ - at : 0;
    if (size_ - (written_ - seen_read_) < skip + room) {
      seen_read_ = read_.load(std::memory_order_acquire);
      if (size_ - (written_ - seen_read_) < skip + room) return {};
    }
    if (skip != 0) store_length(at, kSkip);
    reserved_ = skip + room;
    const auto begin = skip != 0 ? 0 : at;
    store_length(begin, static_cast<std::uint32_t>(octets));
    return {memory_.get() + begin + kAlign, octets};
  }
  /// Pre: reserve() gave memory.
  void commit() noexcept {
    written_ += reserved_;
    reserved_ = 0;
    write_.store(written_, std::memory_order_release);
  }
  /// After reserve() has failed: the consumer is to say, by resumes_producer(), when there is room again. False: there
  /// may be room already, try once more.
  [[nodiscard]] bool wait_for_room() noexcept {
    producer_waits_.exchange(true, std::memory_order_acq_rel);
    return !has_moved();
  }
  /// The consumer has taken something since reserve() failed. To be asked once more between Doorbell::about_to_sleep()
  /// and sleeping.
  [[nodiscard]] bool has_moved() const noexcept { return read_.load(std::memory_order_acquire) != seen_read_; }

  // --- the consumer's ---
  /// The oldest record; empty if there is none. It stays until pop().
  [[nodiscard]] ByteView front() noexcept {
    for (;;) {
      if (consumed_ == seen_written_) {
        seen_written_ = write_.load(std::memory_order_acquire);
        if (consumed_ == seen_written_) return {};
      }
      const auto at = consumed_ & (size_ - 1);
      const auto length = load_length(at);
      if (length != kSkip) return {memory_.get() + at + kAlign, length};
      consumed_ += size_ - at;
    }
  }
  /// Pre: front() gave a record.
  void pop() noexcept {
    consumed_ += rounded(load_length(consumed_ & (size_ - 1)));
    read_.store(consumed_, std::memory_order_release);
  }
  [[nodiscard]] bool empty() noexcept { return front().empty(); }
  /// Asked after a series of pop(): true once if the producer waits for room.
  [[nodiscard]] bool resumes_producer() noexcept {
    // A read-modify-write, as the producer's: whichever comes second sees what the other had done before.
    return producer_waits_.exchange(false, std::memory_order_acq_rel);
  }

 private:
  static constexpr std::uint32_t kSkip = 0xFFFFFFFF;
  [[nodiscard]] static constexpr std::size_t rounded(std::size_t octets) noexcept {
    return kAlign + ((octets + kAlign - 1) & ~(kAlign - 1));
  }
  void store_length(std::size_t at, std::uint32_t length) noexcept {
    std::memcpy(memory_.get() + at, &length, sizeof length);
  }
  [[nodiscard]] std::uint32_t load_length(std::size_t at) const noexcept {
    std::uint32_t length = 0;
    std::memcpy(&length, memory_.get() + at, sizeof length);
    return length;
  }

  static constexpr std::size_t kLine = 64;  // of the caches: each end writes its own
  const std::size_t size_;
  const std::unique_ptr<std::uint8_t[]> memory_;
  // Positions only grow. What each end knows of the other's may be old, which is on the safe side.
  alignas(kLine) std::size_t written_ = 0, reserved_ = 0, seen_read_ = 0;
  alignas(kLine) std::size_t consumed_ = 0, seen_written_ = 0;
  alignas(kLine) std::atomic<std::size_t> write_{0};
  alignas(kLine) std::atomic<std::size_t> read_{0};
  alignas(kLine) std::atomic<bool> producer_waits_{false};
};

}  // namespace switchback::transports
