// Whether a receive offload of one interface may be trusted: by what the SAs make of the packets that it joined.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "common/base/time.h"

namespace switchback::transports::datagram {

/// Packets that came joined and fail, while others do not, throw suspicion on the offload; but only an experiment
/// convicts it, since whoever is on the way can send packets that fail, too. It is turned off for a while (`trial`),
/// on again (`recheck`), and if failures go and come with it, off for long (`quarantined`). If they do not, it is
/// acquitted, and the next suspicion is heard only after a time that grows.
///
/// Pure. The caller turns the offload off while is_off(), and may be late with it: in each state only packets count
/// that came as that state wants them.
class OffloadGuard {
 public:
  enum class State : std::uint8_t { in_use, trial, recheck, quarantined };

  /// Suspicion: that many failures, being more than a fiftieth of what came joined in a window. One packet spoilt in
  /// each message is no more than that: up to 45 full-sized ones are joined.
  static constexpr std::uint32_t kSuspiciousFailures = 8, kSuspiciousPart = 50, kFewestJoined = 50;
  static constexpr Duration kWindow = std::chrono::seconds{1};
  /// Packets of an experiment: as many as would have brought kExpected failures, but no fewer than kFewest. Failures
  /// count as gone if their part is less than a third of what it was.
  static constexpr std::uint32_t kExpected = 40, kFewest = 400, kGonePart = 3;
  /// An experiment without enough traffic ends undecided.
  static constexpr Duration kPatience = std::chrono::seconds{30};
  static constexpr Duration kQuarantine = std::chrono::minutes{10}, kLongestQuarantine = std::chrono::hours{8};
  static constexpr Duration kAcquittal = std::chrono::minutes{1}, kLongestAcquittal = std::chrono::hours{1};
  /// So long without the same again, and the times start from the shortest.
  static constexpr Duration kForgiven = std::chrono::hours{10};

  /// Some packets in a row. @param flow  tells sessions apart, roughly. Returns whether state() changed.
  bool handle_packets(bool joined, std::uint8_t flow, std::uint32_t authentic, std::uint32_t failed, Instant now);
  bool handle_deadline(Instant now);

  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept { return until_; }
  [[nodiscard]] State state() const noexcept { return state_; }
  [[nodiscard]] bool is_off() const noexcept { return state_ == State::trial || state_ == State::quarantined; }
  /// When the state began; nothing for `in_use` from the start. The end of it, if nothing happens, is next_deadline().
  [[nodiscard]] std::optional<Instant> since() const noexcept { return since_; }
  /// Why it is not, or is again, `in_use`, for people; empty if it always was.
  [[nodiscard]] std::string reason() const;

 private:
  struct Count {
    std::uint32_t packets = 0, failed = 0;
    void add(std::uint32_t authentic, std::uint32_t failures) noexcept {
      packets += authentic + failures;
      failed += failures;
    }
    /// Whether the part that fails is less than one `nth` of the other's.
    [[nodiscard]] bool fails_less_than(const Count& other, std::uint32_t nth) const noexcept {
      return std::uint64_t{failed} * other.packets * nth < std::uint64_t{other.failed} * packets;
    }
  };
  enum class Outcome : std::uint8_t { none, suspected, undecided, acquitted, convicted };

  bool suspect(Instant now);
  [[nodiscard]] std::uint32_t sample() const noexcept;
  [[nodiscard]] bool is_suspicious(Instant now) const noexcept;
  bool enter(State state, Instant now, std::optional<Duration> length);
  bool acquit(Instant now);
  void start_window(Instant now) noexcept;

  static constexpr std::size_t kFlows = 16;
  State state_ = State::in_use;
  Outcome outcome_ = Outcome::none;
  std::optional<Instant> since_, until_;
  // The window of `in_use`.
  Instant window_start_{};
  Count joined_, single_;
  std::array<Count, kFlows> flows_{};
  // The experiment: what came before, without and again with the offload.
  Count before_, without_, again_;
  std::optional<Instant> deaf_until_, last_conviction_, last_acquittal_;
  unsigned convictions_ = 0, acquittals_ = 0;
};

[[nodiscard]] const char* name_of(OffloadGuard::State state) noexcept;

}  // namespace switchback::transports::datagram
