// From counts to findings: how much gets lost in each direction, between which routers, and how sure that is. Pure.
//
// What is measured from end to end is exact: each end says how many packets have come. What routers answer is not: an
// answer may be lost on its way back, and routers need not answer at all. So loss between two routers is never read off
// one router's answers. Every place where the known loss could be (one link, or two that share it), every place where
// answers could get lost on their way back (as much as is known to get lost in that direction), and for every router
// the chance that it just does not answer all, are weighed against all answers together (Bayes' rule).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/locate_statistics.h"
#include "client/locate_trail.h"

namespace switchback::client::locate {

enum class Direction : std::uint8_t { out, back };  // towards the headend; from it

/// From end to end.
struct Passage {
  std::uint64_t sent = 0, lost = 0;
  double inflation = 1;  // by bursts

  [[nodiscard]] double share() const noexcept {
    return sent == 0 ? 0 : static_cast<double>(lost) / static_cast<double>(sent);
  }
  [[nodiscard]] Interval interval(double z = k95) const noexcept;
};

/// All that was observed of one direction.
struct Evidence {
  Passage whole;
  /// The routers from the sender's side on; empty where none is known.
  std::vector<Hop> hops;
  /// The last of `hops` is the last router before the other end.
  bool complete = false;
};

enum class Certainty : std::uint8_t { sure, likely, unknown };
[[nodiscard]] std::string_view to_string(Certainty certainty) noexcept;

/// A stretch of the way, from the sender's side: 0 is the sender, n the n-th router, hops.size() + 1 the other end.
struct Stretch {
  std::size_t from = 0, to = 0;
  friend bool operator==(const Stretch&, const Stretch&) = default;
};

/// Loss on a stretch between neighbours (or routers with silent ones between them), or where that is not known on a
/// longer one.
struct LossyStretch {
  Stretch where;
  double share = 0;
  Interval interval;  // 95 %
  Certainty certainty = Certainty::unknown;
  double probability = 0;  // that it is there
};

struct Findings {
  bool lossy = false;  // more is lost than a word is worth
  Interval interval;   // of the whole way, 95 %
  std::vector<LossyStretch> places;
};

/// Where loss begins to be worth a word.
inline constexpr std::uint64_t kLeastLost = 3;
inline constexpr double kLeastLoss = 0.0005;  // of the interval's lower end

/// @param evidence  of the direction asked about
/// @param opposite  of the other one, in which the routers' answers come
/// @param thorough  two links may share the loss; takes some ten milliseconds
[[nodiscard]] Findings find_loss(const Evidence& evidence, const Passage& opposite, bool thorough = true);

/// The narrowest that is of use: the measurement may end.
[[nodiscard]] bool precise(const Findings& findings, const Passage& whole) noexcept;

}  // namespace switchback::client::locate
