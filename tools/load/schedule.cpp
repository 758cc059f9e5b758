#include "tools/load/schedule.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace switchback::load {
namespace {

constexpr std::size_t kMostSessions = 1'000'000;
constexpr double kMostPerSecond = 1e7;
constexpr unsigned kMostSeconds = 86'400;
constexpr double kRampRate = 100;
/// A ramp may take so much longer than its rate asks for.
constexpr std::chrono::seconds kRampPatience{60};

constexpr std::string_view kSyntax =
    "write ramp=SESSIONS@RATE, hold=SECONDS, active=SESSIONS@RATE,SECONDS, churn=RATE,SECONDS, storm=RATE,SECONDS or "
    "restart=SECONDS";

/// Takes a number off the front of `text`.
template <class Number>
std::optional<Number> take_number(std::string_view& text, Number least, Number most) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || !(value >= least && value <= most)) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char expected) {
  if (text.empty() || text.front() != expected) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<Kind> kind_of(std::string_view name) {
  for (const auto kind : {Kind::ramp, Kind::hold, Kind::active, Kind::churn, Kind::storm, Kind::restart}) {
    if (to_string(kind) == name) return kind;
  }
  return std::nullopt;
}

std::optional<Activity> parse_activity(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  const auto kind = kind_of(text.substr(0, equals));
  if (!kind) return std::nullopt;
  auto rest = text.substr(equals + 1);
  Activity activity;
  activity.kind = *kind;
  const bool counted = *kind == Kind::ramp || *kind == Kind::active;
  const bool paced = *kind == Kind::churn || *kind == Kind::storm;
  if (counted) {
    const auto sessions = take_number<std::size_t>(rest, 1, kMostSessions);
    if (!sessions) return std::nullopt;
    activity.sessions = *sessions;
  }
  if (paced || (counted && take(rest, '@'))) {
    const auto rate = take_number<double>(rest, 0.001, kMostPerSecond);
    if (!rate) return std::nullopt;
    activity.rate = *rate;
  } else if (*kind == Kind::ramp) {
    activity.rate = kRampRate;
  } else if (*kind == Kind::active) {
    return std::nullopt;
  }
  if (*kind == Kind::ramp && rest.empty()) {
    const auto needed = static_cast<double>(activity.sessions) / activity.rate;
    activity.time = std::chrono::seconds{static_cast<std::chrono::seconds::rep>(needed)} + kRampPatience;
    return activity;
  }
  if ((counted || paced) && !take(rest, ',')) return std::nullopt;
  const auto seconds = take_number<unsigned>(rest, 1, kMostSeconds);
  if (!seconds || !rest.empty()) return std::nullopt;
  activity.time = std::chrono::seconds{*seconds};
  return activity;
}

}  // namespace

std::string_view to_string(Kind kind) noexcept {
  switch (kind) {
    case Kind::ramp: return "ramp";
    case Kind::hold: return "hold";
    case Kind::active: return "active";
    case Kind::churn: return "churn";
    case Kind::storm: return "storm";
    case Kind::restart: return "restart";
  }
  return "unknown";
}

Result<Phase, UserError> parse_phase(std::string_view text) {
  Phase phase;
  phase.text = text;
  for (auto rest = text;;) {
    const auto plus = rest.find('+');
    const auto activity = parse_activity(rest.substr(0, plus));
    if (!activity) return fail_user("the phase \"" + phase.text + "\" is not understood: " + std::string{kSyntax});
    phase.activities.push_back(*activity);
    if (plus == std::string_view::npos) return phase;
    rest.remove_prefix(plus + 1);
  }
}

Result<std::size_t, UserError> check_plan(const std::vector<Phase>& phases) {
  std::size_t made = 0;
  for (const auto& phase : phases) {
    std::size_t wanted = 0;
    for (const auto& activity : phase.activities) {
      if (activity.kind == Kind::active) wanted += activity.sessions;
      if (activity.kind == Kind::ramp) made = std::max(made, activity.sessions);
    }
    if (made == 0) return fail_user("the phase \"" + phase.text + "\" has no sessions: begin with ramp=SESSIONS@RATE");
    if (wanted > made) {
      return fail_user("the phase \"" + phase.text + "\" uses " + std::to_string(wanted) + " sessions, but only " +
                       std::to_string(made) + " are there by then");
    }
  }
  if (made == 0) return fail_user("there is nothing to do: give phases, the first of them ramp=SESSIONS@RATE");
  return made;
}

Pacer::Pacer(double per_second, Instant start) noexcept
    : interval_{std::max(Duration{1}, std::chrono::duration_cast<Duration>(
                                          std::chrono::duration<double>(1.0 / std::max(per_second, 1e-6))))},
      next_{start} {}

std::size_t Pacer::take(Instant now) noexcept {
  if (now < next_) return 0;
  constexpr Duration kCatchUp = std::chrono::milliseconds{100};
  next_ = std::max(next_, now - kCatchUp);
  const auto due = (now - next_) / interval_ + 1;
  next_ += due * interval_;
  return static_cast<std::size_t>(due);
}

std::optional<IpAddress> source_address(const IpPrefix& prefix, std::size_t index) noexcept {
  constexpr std::size_t kNetOctets = 256, kHosts = 254;  // 1 to 254 of each /24
  const auto first = prefix.first();
  const auto host_bits = prefix.address.bits() - prefix.length;
  if (prefix.address.is_v4() && host_bits >= 8) {
    const auto networks = std::size_t{1} << (host_bits - 8U);
    if (index >= networks * kHosts) return std::nullopt;
    return first.plus(index % networks * kNetOctets + index / networks + 1);
  }
  const auto addresses = host_bits >= 63 ? std::numeric_limits<std::size_t>::max() : std::size_t{1} << host_bits;
  if (host_bits == 0) return index == 0 ? std::optional{first} : std::nullopt;
  if (index + 2 >= addresses) return std::nullopt;
  return first.plus(index + 1);
}

}  // namespace switchback::load
