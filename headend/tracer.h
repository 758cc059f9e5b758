// The headend's part in finding where packets get lost on the way back: a client orders packets that expire on their
// way to it, and is told which of them the routers there answered. Pure; of one session.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/rate_limit.h"
#include "common/base/time.h"
#include "common/path/control.h"
#include "common/path/limited_probes.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::headend {

/// The order, if that is what the body of a control message is.
[[nodiscard]] std::optional<path::TraceOrder> parse_order(ByteView body);

class Tracer {
 public:
  /// Orders a second of one session, and reports.
  static constexpr double kOrdersPerSecond = 160, kOrderBurst = 80;
  static constexpr Duration kReportEvery = std::chrono::milliseconds{250};

  /// What is to be sent for an order; nothing where it is only a report that is wanted, or where there are too many.
  /// The hop limit of a packet that goes all the way is 0.
  [[nodiscard]] std::optional<path::TracePacket> handle_order(const path::TraceOrder& order, const AddressPair& path,
                                                              Instant now);
  /// What became of a packet that was to be sent.
  void handle_sent(const transports::LimitedSent& sent);
  void handle_answer(const path::LimitedAnswer& answer);
  /// The errors of routers cannot be heard here.
  void set_deaf() noexcept { available_ = false; }

  /// Where the report goes.
  [[nodiscard]] const AddressPair& path() const noexcept { return path_; }
  /// Marks what was ordered, so that answers to an earlier trace's packets are not counted in this one.
  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
  /// A report that is due and earned. @param sent_count  packets on the path before it
  [[nodiscard]] std::optional<path::TraceReport> poll_report(std::uint64_t sent_count, Instant now);
  [[nodiscard]] Instant last_order() const noexcept { return last_order_; }

 private:
  [[nodiscard]] std::size_t report_octets() const noexcept;

  AddressPair path_;
  std::optional<std::uint64_t> id_;
  std::uint32_t generation_ = 0;
  std::array<path::TraceHop, path::kMaxTraceHops> hops_{};  // by hop limit less one
  bool available_ = true;
  std::size_t earned_octets_ = 0;  // of orders since the last report
  std::optional<Instant> reported_;
  Instant last_order_{};
  TokenBucket orders_{kOrdersPerSecond, kOrderBurst};
};

}  // namespace switchback::headend
