// The routers of one direction as packets with a hop limit find them: how often each is asked, what it answers, and
// whether it answers less because it limits its answers rather than because packets get lost. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/time.h"

namespace switchback::client::locate {

enum class HopKind : std::uint8_t {
  open,     // answers as often as it is asked, as far as is known
  limited,  // answered less than it was asked; asked more slowly since then
  erratic,  // answers some, however slowly it is asked: it says nothing of loss
  silent    // has never answered
};
[[nodiscard]] std::string_view to_string(HopKind kind) noexcept;

/// A router: what it answered of what it was asked.
struct Hop {
  std::uint8_t limit = 0;  // hop limit of what ends there, from whoever sends
  IpAddress address;       // who answered last
  bool several = false;    // not always the same: routes change, or there are parallel ones
  HopKind kind = HopKind::silent;
  /// At the present pace. What has no answer yet and may have one is not counted as asked.
  std::uint32_t asked = 0, answered = 0;
  std::uint32_t asked_in_all = 0, answered_in_all = 0;
  std::optional<double> answers_per_second;  // where it limits them
  std::optional<Duration> least_rtt;

  [[nodiscard]] double share() const noexcept { return asked == 0 ? 0 : static_cast<double>(answered) / asked; }
  [[nodiscard]] bool usable() const noexcept {
    return answered > 0 && (kind == HopKind::open || kind == HopKind::limited);
  }
};

struct TrailConfig {
  /// Asking all routers together, and one of them, no more often than this.
  double per_second = 80;
  Duration fastest = std::chrono::milliseconds{50};
  Duration slowest = std::chrono::seconds{3};
  Duration silent_every = std::chrono::seconds{1};  // in case it answers after all
  /// When a router's answers are judged, at first and whenever so much more is known.
  Duration judge_after = std::chrono::seconds{3};
  std::uint32_t judge_asked = 8;
  unsigned slower_at_most = 3;  // times
};

class Trail {
 public:
  /// @param routers  hop limits 1 to this end on the way; 0: the other end is next
  Trail(std::uint8_t routers, TrailConfig config, Instant now);

  /// The hop limit of a packet that is due; it counts as sent. Every router gets its turn.
  [[nodiscard]] std::optional<std::uint8_t> poll(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;

  /// Packets whose fate is known: `answered` of `asked`; a late answer may come by itself. @param sent  when the first
  /// of them left; those of an earlier pace count only in all
  void handle_outcome(std::uint8_t limit, std::uint32_t asked, std::uint32_t answered, Instant sent, Instant now);
  void handle_identity(std::uint8_t limit, const IpAddress& address, Duration rtt);
  /// Looks whose answers fall short of what loss explains. @param survival  share of round trips that survive from end
  /// to end, at least
  void judge(double survival, Instant now);

  [[nodiscard]] const std::vector<Hop>& hops() const noexcept { return hops_; }
  /// For tests and the curious.
  [[nodiscard]] Duration pace(std::uint8_t limit) const noexcept { return states_[limit - 1U].every; }

 private:
  struct State {
    Duration every{};
    Instant next{}, since{};  // of the present pace
    unsigned slowed = 0;
    /// Of the present pace, but without its beginning, when a limiter's bucket is full.
    std::uint32_t late_asked = 0, late_answered = 0;
    std::optional<Instant> late_since;
    std::uint32_t judged_asked = 0;
  };
  [[nodiscard]] double expected(std::size_t index, double survival) const noexcept;
  void slow_down(std::size_t index, Instant now);

  TrailConfig config_;
  std::vector<Hop> hops_;
  std::vector<State> states_;
};

}  // namespace switchback::client::locate
