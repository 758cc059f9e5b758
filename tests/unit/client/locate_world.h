// Routers in a row between two ends, for tests of what is found about them: links that lose packets in either
// direction, routers that limit their answers, leave some out, or are silent. In virtual time, by seed.
#pragma once

#include <deque>
#include <random>
#include <vector>

#include "client/locate_estimate.h"
#include "client/locate_trail.h"

namespace switchback::testing {

struct SimRouter {
  double answers_per_second = 0, bucket = 6;  // 0: no limit
  double leaves_out = 0;                      // share of answers, at random
  bool silent = false;
};

struct SimWay {
  std::vector<SimRouter> routers;
  std::vector<double> out, back;          // loss of each link, routers.size() + 1 of them, from the asking side
  std::vector<double> answers_back = {};  // where answers go another way: loss of the whole of it, for each router
  double burst = 1;                       // mean length of a loss, in packets of the whole flow
};

struct SimResult {
  client::locate::Evidence out;
  client::locate::Passage back;
};

/// As the asker would see it after `seconds`: some 105 packets a second out, 70 back, and the trail's packets.
inline SimResult simulate(const SimWay& way, double seconds, unsigned seed) {
  using namespace client::locate;
  std::mt19937 random{seed};
  std::uniform_real_distribution<double> chance;
  const auto count = way.routers.size();
  std::vector<double> tokens(count), filled(count, 0);
  for (std::size_t i = 0; i < count; ++i) tokens[i] = way.routers[i].bucket;
  // Gilbert's model: a link is in a bad state, in which it loses all, or in a good one.
  std::vector<double> bad_until(2 * (count + 1), -1);
  constexpr double kPerSecond = 185;
  const auto lost = [&](std::size_t link, bool outwards, double at) {
    const double share = outwards ? way.out[link] : way.back[link];
    if (share <= 0) return false;
    if (way.burst <= 1) return chance(random) < share;
    auto& until = bad_until[2 * link + (outwards ? 1 : 0)];
    if (at < until) return true;
    if (chance(random) >= share / way.burst) return false;
    until = at + std::exponential_distribution<double>{kPerSecond / way.burst}(random);
    return true;
  };
  const Instant start{std::chrono::seconds{100}};
  Trail trail{static_cast<std::uint8_t>(count), {}, start};
  SimResult result;
  std::vector<Block> out_blocks, back_blocks;
  double next_out = 0, next_back = 0, next_judge = 1;
  for (double at = 0; at < seconds; at += 0.001) {
    const auto now = start + std::chrono::microseconds{static_cast<std::int64_t>(at * 1e6)};
    if (at >= next_judge) {
      const auto share = [](const Passage& whole) {
        return wilson(static_cast<double>(whole.lost), static_cast<double>(whole.sent), k99).high;
      };
      trail.judge((1 - share(result.out.whole)) * (1 - share(result.back)), now);
      next_judge += 1;
    }
    const auto through = [&](bool outwards) {
      for (std::size_t link = 0; link <= count; ++link) {
        if (lost(link, outwards, at)) return false;
      }
      return true;
    };
    if (out_blocks.size() <= static_cast<std::size_t>(at)) out_blocks.emplace_back(), back_blocks.emplace_back();
    if (at >= next_out) {
      next_out += 1 / 105.0;
      ++result.out.whole.sent;
      ++out_blocks.back().trials;
      if (!through(true)) ++result.out.whole.lost, ++out_blocks.back().lost;
    }
    if (at >= next_back) {
      next_back += 1 / 70.0;
      ++result.back.sent;
      ++back_blocks.back().trials;
      if (!through(false)) ++result.back.lost, ++back_blocks.back().lost;
    }
    while (const auto limit = trail.poll(now)) {
      bool answered = true;
      for (std::size_t link = 0; link < *limit && answered; ++link) answered = !lost(link, true, at);
      const auto index = *limit - std::size_t{1};
      const auto& router = way.routers[index];
      if (answered) answered = !router.silent && chance(random) >= router.leaves_out;
      if (answered && router.answers_per_second > 0) {
        tokens[index] = std::min(router.bucket, tokens[index] + (at - filled[index]) * router.answers_per_second);
        filled[index] = at;
        answered = tokens[index] >= 1;
        if (answered) tokens[index] -= 1;
      }
      if (answered && !way.answers_back.empty()) {
        answered = chance(random) >= way.answers_back[index];
      } else {
        for (std::size_t link = *limit; link > 0 && answered; --link) answered = !lost(link - 1, false, at);
      }
      if (answered) trail.handle_identity(*limit, IpAddress::v4(0x0A000001U + 256U * *limit), Duration{});
      trail.handle_outcome(*limit, 1, answered ? 1 : 0, now, now);
    }
  }
  result.out.whole.inflation = inflation(out_blocks);
  result.back.inflation = inflation(back_blocks);
  result.out.hops = trail.hops();
  result.out.complete = true;
  return result;
}

}  // namespace switchback::testing
