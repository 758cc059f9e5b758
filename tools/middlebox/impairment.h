// What a line does to packets, for each direction by itself: loss, delay, reordering, corruption, rate, size.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <set>
#include <string_view>

#include "common/base/time.h"

namespace switchback::middlebox {

/// Two states with a loss rate of their own and chances to change between them at each packet (Gilbert 1960, Elliott
/// 1963).
struct BurstLoss {
  double to_bad = 0, to_good = 1;  // chances per packet
  double loss_good = 0, loss_bad = 1;
};

struct ImpairmentRules {
  double loss = 0;  // chances from 0 to 1
  std::optional<BurstLoss> burst;
  std::set<std::uint64_t> lose;  // packets by number, from 1
  double duplicate = 0, corrupt = 0, reorder = 0;
  Duration reorder_by = std::chrono::milliseconds{10};  // how much earlier than its delay a reordered packet goes
  Duration delay{}, jitter{};                           // jitter: uniform, ± about the delay
  double rate = 0;                                      // octets per second; 0: any
  std::size_t queue_octets = 64 * 1024;                 // in front of the rate; what does not fit is lost
  std::uint32_t mtu = 0;                                // 0: any
  bool mtu_icmp = true;                                 // says so when a packet is too large

  [[nodiscard]] bool none() const noexcept {
    return loss == 0 && !burst && lose.empty() && duplicate == 0 && corrupt == 0 && reorder == 0 &&
           delay == Duration{} && jitter == Duration{} && rate == 0 && mtu == 0;
  }
};

/// What becomes of one packet. `leave_at` and `second_at` are when it, and its duplicate, go on.
struct Fate {
  std::string_view lost;  // why; empty: it goes on
  Instant leave_at{};
  std::optional<Instant> second_at;
  std::optional<std::uint32_t> corrupt_bit;  // to be flipped, counted from the first octet, modulo its bits
  bool too_big = false;                      // `lost` for its size
};

/// The same seed and packets give the same fates. Pure.
class Impairment {
 public:
  Impairment(const ImpairmentRules& rules, std::uint64_t seed) : rules_{rules}, random_{seed} {}
  [[nodiscard]] Fate decide(std::size_t octets, Instant now);
  [[nodiscard]] const ImpairmentRules& rules() const noexcept { return rules_; }
  [[nodiscard]] std::uint64_t packets() const noexcept { return packets_; }

 private:
  [[nodiscard]] bool chance(double probability) {
    return probability > 0 && static_cast<double>(random_() >> 11U) * 0x1.0p-53 < probability;
  }
  [[nodiscard]] Duration delay(bool early);

  ImpairmentRules rules_;
  std::mt19937_64 random_;
  std::uint64_t packets_ = 0;
  bool bad_ = false;
  Instant line_free_{};  // when the rate lets the next packet begin
  Instant last_leave_{};
};

}  // namespace switchback::middlebox
