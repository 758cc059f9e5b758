#include "transports/datagram/offload_guard.h"

#include <algorithm>

namespace switchback::transports::datagram {
namespace {

/// `shortest`, doubled with each time that it happened before.
[[nodiscard]] Duration grown(Duration shortest, Duration longest, unsigned times) noexcept {
  return std::min<Duration>(shortest * (1U << std::min(times, 10U)), longest);
}

}  // namespace

const char* name_of(OffloadGuard::State state) noexcept {
  switch (state) {
    case OffloadGuard::State::in_use: return "in use";
    case OffloadGuard::State::trial: return "off on trial";
    case OffloadGuard::State::recheck: return "in use on trial";
    case OffloadGuard::State::quarantined: return "quarantined";
  }
  return "?";
}

bool OffloadGuard::handle_packets(bool joined, std::uint8_t flow, std::uint32_t authentic, std::uint32_t failed,
                                  Instant now) {
  switch (state_) {
    case State::in_use:
      if (now - window_start_ >= kWindow) {
        if (is_suspicious(now)) return suspect(now);
        start_window(now);
      }
      (joined ? joined_ : single_).add(authentic, failed);
      if (joined) flows_[flow % kFlows].add(authentic, failed);
      return false;
    case State::trial:
      if (joined) return false;
      without_.add(authentic, failed);
      if (without_.packets < sample()) return false;
      if (without_.fails_less_than(before_, kGonePart)) return enter(State::recheck, now, kPatience);
      return acquit(now);
    case State::recheck:
      if (!joined) return false;
      again_.add(authentic, failed);
      if (again_.packets < kFewestJoined) return false;
      if (again_.failed >= kSuspiciousFailures && !again_.fails_less_than(before_, kGonePart)) {
        if (last_conviction_ && now - *last_conviction_ > kForgiven) convictions_ = 0;
        last_conviction_ = now;
        outcome_ = Outcome::convicted;
        return enter(State::quarantined, now, grown(kQuarantine, kLongestQuarantine, convictions_++));
      }
      return again_.packets >= sample() && acquit(now);
    case State::quarantined: return false;
  }
  return false;
}

bool OffloadGuard::handle_deadline(Instant now) {
  if (!until_ || now < *until_) return false;
  if (state_ == State::trial && without_.failed == 0 && without_.packets >= kFewestJoined) {
    return enter(State::recheck, now, kPatience);  // a slow line: enough to look at the other side of it
  }
  if (state_ != State::quarantined) outcome_ = Outcome::undecided;
  return enter(State::in_use, now, std::nullopt);
}

bool OffloadGuard::suspect(Instant now) {
  before_ = joined_;
  without_ = again_ = {};
  outcome_ = Outcome::suspected;
  return enter(State::trial, now, kPatience);
}

std::uint32_t OffloadGuard::sample() const noexcept {
  return std::max(kFewest, kExpected * before_.packets / std::max(before_.failed, 1U));
}

bool OffloadGuard::is_suspicious(Instant now) const noexcept {
  if (deaf_until_ && now < *deaf_until_) return false;
  if (joined_.packets < kFewestJoined || joined_.failed < kSuspiciousFailures ||
      joined_.failed <= joined_.packets / kSuspiciousPart) {
    return false;
  }
  // Single packets that fail as well: it is not the joining.
  if (single_.packets >= kSuspiciousFailures && !single_.fails_less_than(joined_, kGonePart)) return false;
  // An offload lies to everybody: one peer of many that sends rubbish is no reason.
  std::size_t seen = 0, failing = 0;
  for (const auto& flow : flows_) {
    if (flow.packets < kSuspiciousFailures) continue;
    ++seen;
    if (flow.failed > flow.packets / kSuspiciousPart) ++failing;
  }
  return 2 * failing >= seen;
}

bool OffloadGuard::enter(State state, Instant now, std::optional<Duration> length) {
  state_ = state;
  since_ = now;
  until_ = length ? std::optional{now + *length} : std::nullopt;
  if (state == State::in_use) start_window(now);
  return true;
}

bool OffloadGuard::acquit(Instant now) {
  if (last_acquittal_ && now - *last_acquittal_ > kForgiven) acquittals_ = 0;
  last_acquittal_ = now;
  deaf_until_ = now + grown(kAcquittal, kLongestAcquittal, acquittals_++);
  outcome_ = Outcome::acquitted;
  return enter(State::in_use, now, std::nullopt);
}

void OffloadGuard::start_window(Instant now) noexcept {
  window_start_ = now;
  joined_ = single_ = {};
  flows_ = {};
}

std::string OffloadGuard::reason() const {
  const auto part = [](const Count& count) {
    return std::to_string(count.failed) + " of " + std::to_string(count.packets);
  };
  const auto seen = part(before_) + " packets that came joined failed";
  switch (outcome_) {
    case Outcome::none: return {};
    case Outcome::suspected: return seen;
    case Outcome::undecided: return seen + "; too little traffic to tell why";
    case Outcome::acquitted:
      return seen + ", and so did " + part(without_) + " without the offload and " + part(again_) + " with it again";
    case Outcome::convicted:
      return seen + ", then " + part(without_) + " without the offload and " + part(again_) + " with it again";
  }
  return {};
}

}  // namespace switchback::transports::datagram
