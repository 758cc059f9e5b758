// One path's side of the in-band conversation that is the same at both ends: probes are answered, what arrives is
// reported, and the figures that follow from both are kept. Pure; one instance for each path.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "common/base/rate_limit.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/path/control.h"
#include "common/path/measure.h"
#include "common/path/stall.h"

namespace switchback::path {

/// Running totals of one path since it was opened, as the packet thread counts them.
struct PathTotals {
  std::uint64_t sent_packets = 0;      // ESP, control messages included
  std::uint64_t received_packets = 0;  // authentic, control messages included
  std::uint64_t received_octets = 0;   // inner octets: control messages have none, or two ends would report for ever
  Instant last_in{};                   // of the last authentic packet
  Spi spi{};                           // inbound SA that `highest` is about, if known
  std::uint64_t highest = 0;           // extended sequence number; 0: unknown
};

struct AnswererConfig {
  Duration report_every = std::chrono::milliseconds{250};  // while data arrives
  /// Probes of its own while data arrives, for the round-trip time alone; zero: none. For the end that has no selector.
  Duration probe_every{};
  std::uint64_t first_probe_id = 1;
  /// Probes of both kinds that are answered; more are counted.
  double answers_per_second = 40;
  double answers_burst = 40;
};

/// What an end knows of a path without deciding about it.
struct PathQuality {
  std::optional<Duration> srtt;
  Duration rtt_variation{};
  std::optional<double> loss_out, loss_in;  // 0 to 1
  double goodput_out = 0, goodput_in = 0;   // inner octets per second; out: by the peer's reports
};

class Answerer {
 public:
  explicit Answerer(const AnswererConfig& config = {}) noexcept
      : config_{config},
        allowance_{config.answers_per_second, config.answers_burst},
        next_probe_id_{config.first_probe_id} {}

  /// A message that came by this path. @param totals  with this message counted
  /// @param decision  the greatest that this end knows: what an answer says
  /// @param at  when it came off the wire, not later than `now`
  /// @return what goes back by the same path at once, if anything
  [[nodiscard]] std::optional<ControlMessage> handle_message(const ControlMessage& message, const PathTotals& totals,
                                                             std::uint32_t decision, Instant at, Instant now);
  /// What is due: a report, or a probe. Call it at next_deadline(), after handle_message() and whenever totals are read
  /// anyway, until it returns nothing.
  /// @param claim  what this end does with the path; the end that follows claims nothing: {0, standby}
  [[nodiscard]] std::optional<ControlMessage> poll(const PathTotals& totals, const Claim& claim, Instant now);
  /// None while nothing arrives: a path that sleeps needs no timer, and the peer's first probe wakes it.
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept { return report_at_; }

  /// Once for each time that much of what is sent does not arrive though probes do: PmtuSearch::handle_large_lost().
  /// For the end that has no selector.
  [[nodiscard]] bool take_mtu_doubt() noexcept { return std::exchange(mtu_doubt_, false); }
  [[nodiscard]] PathQuality quality() const noexcept;
  [[nodiscard]] std::uint64_t answered() const noexcept { return answered_; }
  /// Probes that came faster than they are answered.
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }

 private:
  struct SentProbe {
    std::uint64_t id = 0;
    Instant at{};
    bool waiting = false;
    std::uint64_t sent_packets = 0;  // before it
  };

  void arrived(std::uint64_t sent, std::uint64_t received, Instant now) noexcept;
  void heard(std::uint64_t sent_count, const PathTotals& totals, Instant now) noexcept;
  [[nodiscard]] Report make_report(const PathTotals& totals, const Claim& claim, Instant now) noexcept;

  AnswererConfig config_;
  TokenBucket allowance_;
  std::uint64_t next_probe_id_;

  std::optional<std::uint64_t> peer_sent_;  // newest count of the peer's packets that came …
  std::uint64_t received_then_ = 0;         // … and of those received at that moment
  std::uint32_t reports_ = 0;
  std::uint64_t reported_octets_ = 0;
  std::optional<Instant> report_at_;
  bool flowing_ = false;  // data came since the report before the last

  std::array<SentProbe, 4> probes_{};
  std::size_t next_slot_ = 0;
  std::optional<Instant> last_probe_;

  RttEstimator rtt_;
  LossMeter loss_out_, loss_in_;
  std::uint64_t loss_out_sent_ = 0;
  std::optional<Instant> mtu_doubted_;
  bool mtu_doubt_ = false;
  GoodputMeter goodput_out_, goodput_in_;
  std::uint64_t answered_ = 0, refused_ = 0;
};

/// Microseconds of this host's monotonic clock: what time fields of control messages carry.
[[nodiscard]] std::uint64_t to_microseconds(Instant at) noexcept;

}  // namespace switchback::path
