// What a run does and when: phases as the command line has them, a pace, and who comes from which address. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/time.h"

namespace switchback::load {

enum class Kind : std::uint8_t { ramp, hold, active, churn, storm, restart };
[[nodiscard]] std::string_view to_string(Kind kind) noexcept;

/// One thing that a phase does.
struct Activity {
  Kind kind = Kind::hold;
  std::size_t sessions = 0;  // ramp: up to so many in all; active: so many of them
  double rate = 0;           // ramp, churn, storm: sessions a second; active: echo requests a second of each session
  std::chrono::seconds time{0};  // how long; ramp, storm, restart: at most so long
};

/// Activities side by side, over when all of them are.
struct Phase {
  std::string text;  // as it was given
  std::vector<Activity> activities;
};

/// "ramp=1000@200", "hold=60", "active=100@10,30", "churn=20,30", "storm=500,60", "restart=60", or several with "+"
/// between them. ramp without a rate is as fast as 100 a second; ",T" after it is optional. Errors name the phase.
[[nodiscard]] Result<Phase, UserError> parse_phase(std::string_view text);
/// How many sessions the phases need at most; an error if one uses sessions that none before it has made.
[[nodiscard]] Result<std::size_t, UserError> check_plan(const std::vector<Phase>& phases);

/// Things that shall happen `per_second` times a second. Whoever is late catches up a tenth of a second at most, so
/// that a machine that is too slow shows a lower rate rather than a burst.
class Pacer {
 public:
  Pacer(double per_second, Instant start) noexcept;
  /// How many are due; they count as done.
  [[nodiscard]] std::size_t take(Instant now) noexcept;
  /// When the next one is.
  [[nodiscard]] Instant next() const noexcept { return next_; }

 private:
  Duration interval_;
  Instant next_;
};

/// The address of client number `index` within a prefix: neighbours in number lie in different IPv4 /24s, since a
/// headend bounds how many may come from one at once. The network's own address and the last of each /24 are left out.
/// Nothing if the prefix has no so many.
[[nodiscard]] std::optional<IpAddress> source_address(const IpPrefix& prefix, std::size_t index) noexcept;

}  // namespace switchback::load
