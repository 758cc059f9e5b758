// Why the selector did what it did: every decision with the figures it was made on, for people and for `status`.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/time.h"
#include "common/path/stall.h"
#include "common/path/states.h"
#include "common/path/types.h"

namespace switchback::path {

enum class EventKind : std::uint8_t {
  tried,      // a path is being opened
  opened,     // its transport is open
  failed,     // it could not be opened, or no probe came back
  up,         // a probe went both ways
  suspected,  // a signal reached its threshold
  cleared,    // the suspicion was dropped
  stalled,    // the suspicion was confirmed
  twinned,    // data goes on a second path too
  untwinned,  // … no longer
  moved,      // data goes on another path
  held,       // a move would exceed the bound; data goes on both paths instead
  outage,     // nothing works
  closed,     // a path was closed
  noted,      // a signal that people should know about
  network,    // this host is on another network
  declined,   // what the user asked for cannot be had
};
[[nodiscard]] std::string_view to_string(EventKind kind) noexcept;

/// Why a path was tried, left or moved to.
enum class Reason : std::uint8_t {
  none,
  start,
  stall,
  better_transport,
  outage,
  superseded,
  grace_over,
  stopped,
  timeout,
  unanswered,
  refused,
  withdrawn,
  requested
};
[[nodiscard]] std::string_view to_string(Reason reason) noexcept;

struct Figures {
  std::uint32_t count = 0;      // of the signal …
  std::uint32_t threshold = 0;  // … and what it was compared with
  Duration quiet{};             // since something authentic last said that data arrives
  Duration limit{};             // what `quiet` was compared with
  /// Of `moved`: since the oldest data that nothing had confirmed when the path left became suspect, or since that
  /// where no data was waiting.
  Duration stalled{};
  std::uint32_t probes = 0;   // sent since the suspicion, or since the path opened …
  std::uint32_t answers = 0;  // … and answered
  std::optional<Duration> srtt;
  std::optional<double> loss;  // towards the peer, 0 to 1
  friend bool operator==(const Figures&, const Figures&) = default;
};

struct Event {
  Instant at{};
  EventKind kind = EventKind::noted;
  PathId path;
  Candidate candidate;
  std::optional<Candidate> from;  // of `moved`: what was left
  std::optional<Signal> signal;
  Reason reason = Reason::none;
  Figures figures;
};

/// One line for people, without the time: "moved from udp v4 to ctcp v4: report_missing, quiet 612 ms (limit 500 ms)
/// …".
[[nodiscard]] std::string describe(const Event& event);

/// The last decisions, oldest first.
class EventLog {
 public:
  static constexpr std::size_t kKept = 100;
  void add(const Event& event) {
    if (events_.size() == kKept) events_.pop_front();
    events_.push_back(event);
  }
  [[nodiscard]] const std::deque<Event>& all() const noexcept { return events_; }

 private:
  std::deque<Event> events_;
};

}  // namespace switchback::path
