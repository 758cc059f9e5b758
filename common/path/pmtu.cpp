#include "common/path/pmtu.h"

#include <algorithm>
#include <cassert>

namespace switchback::path {
namespace {

/// What links and tunnels commonly leave: tried first, so that most searches end after one or two probes.
constexpr std::array<std::uint16_t, 9> kCommon{1280, 1400, 1420, 1440, 1454, 1472, 1492, 1500, 9000};

}  // namespace

std::string_view to_string(PmtuState state) noexcept {
  switch (state) {
    case PmtuState::disabled: return "disabled";
    case PmtuState::base: return "base";
    case PmtuState::searching: return "searching";
    case PmtuState::complete: return "complete";
    case PmtuState::error: return "error";
  }
  return "unknown";
}

PmtuConfig PmtuConfig::for_path(IpFamily family, std::uint16_t interface_mtu) noexcept {
  PmtuConfig config;
  if (family == IpFamily::v6) {
    config.minimum = 1280;
    config.base = 1280;
  }
  config.maximum = std::clamp(interface_mtu, config.minimum, kLargestPmtu);
  config.base = std::min(config.base, config.maximum);
  return config;
}

PmtuSearch::PmtuSearch(PmtuConfig config, std::uint64_t first_id) noexcept
    : config_{config}, mtu_{config.base}, ceiling_{0}, next_id_{first_id} {
  config_.maximum = std::min(config_.maximum, kLargestPmtu);
  config_.minimum = std::min(config_.minimum, config_.maximum);
  config_.base = std::clamp(config_.base, config_.minimum, config_.maximum);
  config_.precision = std::max(config_.precision, std::uint16_t{1});
  config_.max_probes = std::max(config_.max_probes, 1U);
  mtu_ = config_.base;
  ceiling_ = static_cast<std::uint16_t>(config_.maximum + 1);
}

void PmtuSearch::handle_start(Instant now) {
  if (state_ != PmtuState::disabled) return;
  enter(PmtuState::base);
  probe(config_.base, now);
}

void PmtuSearch::handle_answer(std::uint64_t id, std::uint16_t packet_octets, Instant now) {
  if (probed_ == 0 || packet_octets != probed_ || id < first_try_id_ || id >= next_id_) return;
  carried(probed_, now);
}

void PmtuSearch::handle_hint(std::uint16_t packet_octets, Instant now) {
  if (state_ == PmtuState::disabled) return;
  if (probed_ > packet_octets && probed_ > mtu_) tries_ = config_.max_probes;
  if (packet_octets < mtu_) handle_large_lost(now);
}

void PmtuSearch::handle_large_lost(Instant now) {
  if (state_ != PmtuState::complete || probed_ != 0) return;  // a search under way finds out by itself
  probe(mtu_, now);
}

void PmtuSearch::handle_path_changed(Instant now) {
  if (state_ != PmtuState::disabled) restart(now);
}

void PmtuSearch::handle_deadline(Instant now) {
  if (!deadline_ || now < *deadline_) return;
  if (probed_ != 0) {
    if (tries_ < config_.max_probes) return probe(probed_, now);
    return not_carried(now);
  }
  if (state_ != PmtuState::complete) return;
  if (raise_at_ && now >= *raise_at_) {
    raise_at_.reset();
    ceiling_ = static_cast<std::uint16_t>(config_.maximum + 1);
    ceiling_known_ = false;
    if (mtu_ < config_.maximum) {
      enter(PmtuState::searching);
      return search_on(now);
    }
  }
  probe(mtu_, now);  // confirmation
}

std::optional<PmtuSearch::ProbeOut> PmtuSearch::poll_probe() {
  const auto out = out_;
  out_.reset();
  return out;
}

std::optional<std::uint16_t> PmtuSearch::poll_changed() {
  if (!changed_) return std::nullopt;
  changed_ = false;
  return mtu_;
}

void PmtuSearch::enter(PmtuState next) noexcept {
  assert(std::any_of(kPmtuTransitions.begin(), kPmtuTransitions.end(),
                     [&](const auto& row) { return row.from == state_ && row.to == next; }));
  state_ = next;
}

void PmtuSearch::probe(std::uint16_t size, Instant now) {
  if (size != probed_) {
    tries_ = 0;
    first_try_id_ = next_id_;
  }
  probed_ = size;
  ++tries_;
  out_ = ProbeOut{next_id_++, size};
  deadline_ = now + config_.probe_timer;
}

void PmtuSearch::carried(std::uint16_t size, Instant now) {
  probed_ = 0;
  switch (state_) {
    case PmtuState::base:
      use(size);
      enter(PmtuState::searching);
      return search_on(now);
    case PmtuState::error:
      use(size);
      enter(PmtuState::searching);
      return search_on(now);
    case PmtuState::searching: use(size); return search_on(now);
    case PmtuState::complete: return complete(now);
    case PmtuState::disabled: return;
  }
}

void PmtuSearch::not_carried(Instant now) {
  const auto size = probed_;
  probed_ = 0;
  switch (state_) {
    case PmtuState::base:
      // RFC 8899 §5.2: even the base size is lost. Go on with the least that every path must carry.
      enter(PmtuState::error);
      ceiling_ = size;
      ceiling_known_ = true;
      use(config_.minimum);
      return search_on(now);
    case PmtuState::error:
    case PmtuState::searching:
      ceiling_ = std::min(ceiling_, size);
      ceiling_known_ = true;
      return search_on(now);
    case PmtuState::complete:  // RFC 8899 §4.3: black hole
      ++black_holes_;
      return restart(now);
    case PmtuState::disabled: return;
  }
}

/// The next larger size, or the end of the search.
void PmtuSearch::search_on(Instant now) {
  if (const auto size = next_size(); size != 0) return probe(size, now);
  complete(now);
}

void PmtuSearch::complete(Instant now) {
  if (state_ != PmtuState::complete) {
    enter(PmtuState::complete);
    raise_at_ = now + config_.raise_timer;
  }
  probed_ = 0;
  deadline_ = earliest(now + config_.confirm_every, raise_at_);
}

void PmtuSearch::restart(Instant now) {
  if (state_ == PmtuState::error) {  // on its way to something better already; begin anew below the base
    ceiling_ = config_.base;
    ceiling_known_ = true;
    probed_ = 0;
    use(config_.minimum);
    return search_on(now);
  }
  if (state_ != PmtuState::base) enter(PmtuState::base);
  ceiling_ = static_cast<std::uint16_t>(config_.maximum + 1);
  ceiling_known_ = false;
  raise_at_.reset();
  probed_ = 0;
  use(config_.base);
  probe(config_.base, now);
}

void PmtuSearch::use(std::uint16_t size) noexcept {
  if (mtu_ == size) return;
  mtu_ = size;
  changed_ = true;
}

/// 0 if what is open between the size in use and the ceiling is not worth a probe.
std::uint16_t PmtuSearch::next_size() const noexcept {
  const auto largest = static_cast<std::uint16_t>(ceiling_ - 1);
  if (largest <= mtu_) return 0;
  if (!ceiling_known_) {
    // Nothing has failed yet: the maximum of an ordinary interface at once, the way to jumbo frames by its common stop.
    return mtu_ < 1500 ? std::min(largest, std::uint16_t{1500}) : largest;
  }
  if (largest - mtu_ < config_.precision) return 0;
  const auto middle = static_cast<std::uint16_t>(mtu_ + (largest - mtu_ + 1) / 2);
  // The common size nearest to the middle, if it is not far off.
  std::uint16_t best = middle;
  int distance = std::max(8, (largest - mtu_) / 4);
  for (const auto size : kCommon) {
    if (size <= mtu_ || size > largest) continue;
    const int off = size > middle ? size - middle : middle - size;
    if (off <= distance) {
      distance = off;
      best = size;
    }
  }
  return best;
}

}  // namespace switchback::path
