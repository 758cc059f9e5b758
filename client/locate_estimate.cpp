#include "client/locate_estimate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace switchback::client::locate {
namespace {

constexpr double kSure = 0.99, kLikely = 0.85, kRange = 0.95;
/// Before any answer is seen: that a router which seems to answer all does not, and that one does which limits its
/// answers and is asked slowly since that was seen.
constexpr double kReticent = 0.05, kReticentAfterAll = 0.3;
/// That it leaves out one in some hundreds, being busy. One answer in some thousands may always be missing.
constexpr double kNearlyAll = 0.02, kNearlyAllShape = 200, kStray = 0.0003;
/// Two links rather than one.
constexpr double kTwo = 0.15;
/// One link is what people look for: two are only spoken of where it is this unlikely that it is one.
constexpr double kNotTwo = 0.1;
/// Answers come back another way, or are lost beyond the last router.
constexpr double kElsewhere = 0.2;

/// Loss adds up as its negative logarithm of survival: here from 0 in steps of 0.05 %, coarser where it is heavy.
constexpr double kFine = 0.0005, kFineEnd = 0.7, kCoarse = 0.01, kEnd = 6;
constexpr std::size_t kFineCells = 1400, kCells = kFineCells + 530 + 1;

std::size_t cell_of(double loss) noexcept {
  if (loss < kFineEnd) return static_cast<std::size_t>(std::max(loss, 0.0) / kFine + 0.5);
  return kFineCells + static_cast<std::size_t>((std::min(loss, kEnd) - kFineEnd) / kCoarse);
}
double loss_of(std::size_t cell) noexcept {
  return cell <= kFineCells ? static_cast<double>(cell) * kFine
                            : kFineEnd + static_cast<double>(cell - kFineCells) * kCoarse;
}
double as_log(double share) noexcept { return -std::log1p(-std::min(share, 0.995)); }

double log_sum(double a, double b) noexcept {
  const double most = std::max(a, b);
  return std::isinf(most) ? most : most + std::log(std::exp(a - most) + std::exp(b - most));
}

/// Logarithm of the probability of `answered` of `asked` in one given order where each is answered with `survival`.
double in_order(double answered, double asked, double survival) noexcept {
  const double lost = asked - answered;
  return (answered > 0 ? answered * std::log(std::max(survival, 1e-300)) : 0) +
         (lost > 0 ? lost * std::log(std::max(1 - survival, 1e-300)) : 0);
}

/// The same where the router answers a share of what survives that nobody knows: Beta(shape, 1), whose density is
/// shape · a^(shape - 1). Integrated over it: shape · s^-shape · B(x + shape, n - x + 1) · P(Beta(x + shape, n - x + 1)
/// ≤ s), the last by a normal distribution, and never more than the best single share gives.
double some_answered(double answered, double asked, double survival, double shape) noexcept {
  const double a = answered + shape, b = asked - answered + 1;
  const double mean = a / (a + b);
  const double spread = std::sqrt(mean * (1 - mean) / (a + b + 1));
  const double tail = 0.5 * std::erfc((mean - survival) / spread / std::sqrt(2.0));
  const double sum = std::log(shape) - shape * std::log(survival) + std::lgamma(a) + std::lgamma(b) -
                     std::lgamma(a + b) + std::log(std::max(tail, 1e-300));
  return std::min(sum, in_order(answered, asked, std::min(survival, asked > 0 ? answered / asked : 1)));
}

/// How well a router's answers fit, by the loss up to there and back.
std::vector<double> fit(const Hop& hop, double inflation) {
  const double asked = hop.asked / inflation, answered = hop.answered / inflation;
  const double reticent = hop.kind == HopKind::limited ? kReticentAfterAll : kReticent;
  std::vector<double> all(kCells);
  for (std::size_t cell = 0; cell < kCells; ++cell) {
    const double survival = std::exp(-loss_of(cell));
    double sum = std::log(1 - reticent - kNearlyAll) + in_order(answered, asked, survival * (1 - kStray));
    sum = log_sum(sum, std::log(kNearlyAll) + some_answered(answered, asked, survival, kNearlyAllShape));
    sum = log_sum(sum, std::log(reticent) + some_answered(answered, asked, survival, 1));
    all[cell] = sum;
  }
  return all;
}

/// A direction's routers that say something, and the stretches between them.
class Way {
 public:
  /// @param inflation  of losses from end to end, which routers see less of: they are asked less often
  Way(const Evidence& evidence, double inflation) {
    std::size_t last = 0;
    for (std::size_t i = 0; i < evidence.hops.size(); ++i) {
      if (!evidence.hops[i].usable()) continue;
      stretches_.push_back({last, i + 1});
      last = i + 1;
      const auto& hop = evidence.hops[i];
      const double part =
          static_cast<double>(hop.asked) / static_cast<double>(std::max<std::uint64_t>(evidence.whole.sent, 1));
      nodes_.push_back(fit(hop, 1 + (inflation - 1) * std::min(1.0, part)));
    }
    stretches_.push_back({last, evidence.hops.size() + 1});
    // Sums over the nodes before each, so that a run of them with one loss costs two look-ups.
    sums_.assign((nodes_.size() + 1) * kCells, 0);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      for (std::size_t cell = 0; cell < kCells; ++cell) {
        sums_[(i + 1) * kCells + cell] = sums_[i * kCells + cell] + nodes_[i][cell];
      }
    }
  }

  [[nodiscard]] const std::vector<Stretch>& stretches() const noexcept { return stretches_; }
  /// Links that a stretch stands for: more than one where a router in it says nothing.
  [[nodiscard]] double links(std::size_t stretch) const noexcept {
    return static_cast<double>(stretches_[stretch].to - stretches_[stretch].from);
  }

  struct Step {
    std::size_t stretch;
    double loss;  // logarithmic
  };
  /// How well all answers fit losses on these stretches. Stretch i is in front of node i.
  [[nodiscard]] double weigh(std::array<Step, 3> steps) const noexcept {
    if (steps[1].stretch < steps[0].stretch) std::swap(steps[0], steps[1]);
    if (steps[2].stretch < steps[1].stretch) std::swap(steps[1], steps[2]);
    if (steps[1].stretch < steps[0].stretch) std::swap(steps[0], steps[1]);
    double sum = 0, loss = 0;
    std::size_t at = 0;
    for (const auto& step : steps) {
      const auto to = std::min(step.stretch, nodes_.size());
      sum += run(at, to, loss);
      loss += step.loss;
      at = to;
    }
    return sum + run(at, nodes_.size(), loss);
  }

 private:
  [[nodiscard]] double run(std::size_t from, std::size_t to, double loss) const noexcept {
    if (to <= from) return 0;
    const auto cell = cell_of(loss);
    return sums_[to * kCells + cell] - sums_[from * kCells + cell];
  }

  std::vector<Stretch> stretches_;
  std::vector<std::vector<double>> nodes_;
  std::vector<double> sums_;
};

/// Equally likely values of a share that `lost` of `sent` were seen of.
std::vector<double> likely_losses(const Passage& whole, int count) {
  const double trials = static_cast<double>(whole.sent) / whole.inflation;
  const double lost = static_cast<double>(whole.lost) / whole.inflation;
  std::vector<double> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(as_log(beta_quantile(lost + 0.5, trials - lost + 0.5, (i + 0.5) / count)));
  }
  return all;
}

/// A weighted sample of shares, for its mean and quantiles.
class Shares {
 public:
  void add(double share, double weight) {
    all_.emplace_back(share, weight);
    total_ += weight;
    sum_ += share * weight;
  }
  [[nodiscard]] double mean() const noexcept { return total_ > 0 ? sum_ / total_ : 0; }
  [[nodiscard]] Interval middle(double part) {
    std::sort(all_.begin(), all_.end());
    return {quantile((1 - part) / 2), quantile((1 + part) / 2)};
  }

 private:
  [[nodiscard]] double quantile(double at) const noexcept {
    double sum = 0;
    for (const auto& [share, weight] : all_) {
      sum += weight;
      if (sum >= at * total_) return share;
    }
    return all_.empty() ? 0 : all_.back().first;
  }
  std::vector<std::pair<double, double>> all_;
  double total_ = 0, sum_ = 0;
};

struct Hypothesis {
  std::size_t first, second;  // the same: one link
  double loss, part;          // logarithmic, of the whole; what of it the first has
  double weight;              // logarithmic, then not
};

Certainty certainty_of(double probability) noexcept {
  if (probability >= kSure) return Certainty::sure;
  return probability >= kLikely ? Certainty::likely : Certainty::unknown;
}

double share_of(double loss) noexcept { return -std::expm1(-loss); }

}  // namespace

std::string_view to_string(Certainty certainty) noexcept {
  switch (certainty) {
    case Certainty::sure: return "sure";
    case Certainty::likely: return "likely";
    case Certainty::unknown: return "unknown";
  }
  return {};
}

Interval Passage::interval(double z) const noexcept {
  return wilson(static_cast<double>(lost) / inflation, static_cast<double>(sent) / inflation, z);
}

Findings find_loss(const Evidence& evidence, const Passage& opposite, bool thorough) {
  Findings findings;
  const auto& whole = evidence.whole;
  findings.interval = whole.interval();
  findings.lossy = whole.lost >= kLeastLost && findings.interval.low >= kLeastLoss;
  if (!findings.lossy) return findings;

  const Way way{evidence, std::max(whole.inflation, opposite.inflation)};
  const auto& stretches = way.stretches();
  const auto count = stretches.size();
  const double links = std::accumulate(stretches.begin(), stretches.end(), 0.0, [](double sum, const Stretch& one) {
    return sum + static_cast<double>(one.to - one.from);
  });
  const auto losses = likely_losses(whole, 9);
  const auto returns = likely_losses(opposite, 5);
  const auto prior_of = [&](std::size_t stretch) { return std::log(way.links(stretch) / links); };

  /// Summed over where answers get lost on their way back.
  const auto weigh = [&](const Hypothesis& one) {
    double sum = -INFINITY;
    for (const auto back : returns) {
      for (std::size_t lost = 0; lost < count; ++lost) {
        double prior = (1 - kElsewhere) * way.links(lost) / links;
        if (lost + 1 == count) prior += kElsewhere;  // beyond the last router: none of its answers
        sum = log_sum(sum, std::log(prior) +
                               way.weigh({Way::Step{one.first, one.loss * one.part},
                                          Way::Step{one.second, one.loss * (1 - one.part)}, Way::Step{lost, back}}));
      }
    }
    return sum;
  };
  std::vector<Hypothesis> all;
  const bool pairs = thorough && count > 1;
  for (std::size_t i = 0; i < count; ++i) {
    for (const auto loss : losses) {
      Hypothesis one{i, i, loss, 1, std::log(pairs ? 1 - kTwo : 1) + prior_of(i)};
      one.weight += weigh(one);
      all.push_back(one);
    }
  }
  if (pairs) {
    constexpr std::array kParts{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
    // A good many, and only those matter whose middle loss fits at all.
    const double among = static_cast<double>(count * (count - 1)) / 2 * static_cast<double>(kParts.size());
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t j = i + 1; j < count; ++j) {
        for (const auto part : kParts) {
          for (const auto loss : {losses[1], losses[4], losses[7]}) {
            Hypothesis two{i, j, loss, part, std::log(kTwo * 3 / among)};
            two.weight += weigh(two);
            all.push_back(two);
          }
        }
      }
    }
  }
  double most = -INFINITY;
  for (const auto& one : all) most = std::max(most, one.weight);
  double total = 0;
  std::vector<double> alone(count), carries(count);
  double single = 0;
  for (auto& one : all) {
    one.weight = std::exp(one.weight - most);
    total += one.weight;
    carries[one.first] += one.weight;
    if (one.first == one.second) {
      alone[one.first] += one.weight;
      single += one.weight;
    } else {
      carries[one.second] += one.weight;
    }
  }
  for (std::size_t i = 0; i < count; ++i) carries[i] /= total;

  if (single >= total * kNotTwo) {
    for (auto& weight : alone) weight /= single;
    const auto best = static_cast<std::size_t>(std::max_element(alone.begin(), alone.end()) - alone.begin());
    LossyStretch place;
    place.share = whole.share();
    place.interval = findings.interval;
    place.where = stretches[best];
    place.probability = carries[best];
    place.certainty = evidence.hops.empty() ? Certainty::unknown : certainty_of(place.probability);
    if (place.certainty == Certainty::sure && single < total * kLikely) place.certainty = Certainty::likely;
    if (count == 1 && evidence.complete && evidence.hops.empty()) place.certainty = Certainty::sure;  // the only link
    if (place.certainty == Certainty::unknown) {
      // The shortest run of stretches that it is in all the same.
      std::size_t from = best, to = best;
      double held = alone[best];
      while (held < kRange && (from > 0 || to + 1 < count)) {
        const double before = from > 0 ? alone[from - 1] : -1, after = to + 1 < count ? alone[to + 1] : -1;
        held += before > after ? alone[--from] : alone[++to];
      }
      place.where = {stretches[from].from, stretches[to].to};
      place.probability = held * single / total;
    }
    findings.places.push_back(place);
    return findings;
  }
  // Two of them: the likeliest pair, and what each has.
  std::vector<double> pairs_weight(count * count);
  for (const auto& one : all) {
    if (one.first != one.second) pairs_weight[one.first * count + one.second] += one.weight;
  }
  const auto best =
      static_cast<std::size_t>(std::max_element(pairs_weight.begin(), pairs_weight.end()) - pairs_weight.begin());
  Shares first, second;
  std::vector<Hypothesis> fine;
  double best_weight = -INFINITY;
  for (int part = 1; part < 50; ++part) {
    for (const auto loss : losses) {
      fine.push_back({best / count, best % count, loss, part / 50.0, 0});
      fine.back().weight = weigh(fine.back());
      best_weight = std::max(best_weight, fine.back().weight);
    }
  }
  for (const auto& one : fine) {
    const double weight = std::exp(one.weight - best_weight);
    first.add(share_of(one.loss * one.part), weight);
    second.add(share_of(one.loss * (1 - one.part)), weight);
  }
  for (auto* shares : {&first, &second}) {
    const auto stretch = shares == &first ? best / count : best % count;
    LossyStretch place;
    place.where = stretches[stretch];
    place.share = shares->mean();
    place.interval = shares->middle(0.95);
    place.probability = carries[stretch];
    place.certainty = certainty_of(place.probability);
    findings.places.push_back(place);
  }
  return findings;
}

bool precise(const Findings& findings, const Passage& whole) noexcept {
  if (!findings.lossy) return findings.interval.high <= 0.001;
  const bool narrow = findings.interval.width() / 2 <= std::max(0.0015, 0.15 * whole.share());
  return narrow && std::all_of(findings.places.begin(), findings.places.end(),
                               [](const LossyStretch& place) { return place.certainty == Certainty::sure; });
}

}  // namespace switchback::client::locate
