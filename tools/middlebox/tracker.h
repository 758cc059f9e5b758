// Connection tracking that drops what is outside the window: the rules of Linux's nf_conntrack, before and since 6.1,
// and stricter ones.
#pragma once

#include <array>
#include <optional>

#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

enum class TrackerRules : std::uint8_t {
  linux_now,  // since 6.1: up to one more window past the edge; what is old or late passes
  linux_old,  // up to 6.0: a segment begins within the window, and is neither old nor late
  exact,      // a segment ends within the window, and is neither old nor late
  asa,        // a segment begins within the window; what is old or late passes; nothing is forgotten
};

/// As measured against kernel 6.18 with be_liberal=0, loose=0; the older rules are those of kernels up to 6.0. A flow
/// is forgotten after five days, but after 300 s while data is not acknowledged or after the same ACK has come four
/// times (tcp_timeout_unacknowledged, tcp_timeout_max_retrans), and 10 s after an RST.
class Tracker final : public Device {
 public:
  explicit Tracker(TrackerRules rules) noexcept : rules_{rules} {}
  void handle(Segment segment, Instant now, Output& out) override;

 private:
  /// `maximum_end` is how far this end may send by what the other acknowledged and advertised.
  struct Half {
    bool known = false, unacknowledged = false;
    std::uint32_t end = 0, maximum_end = 0, maximum_window = 0;
    std::uint8_t scale = 0;
  };
  static constexpr std::uint32_t kLateAck = 66000;  // the kernel's MAXACKWINCONST

  [[nodiscard]] std::string_view judge(const Segment& segment, const Half& sender, const Half& receiver,
                                       bool& update) const noexcept;
  [[nodiscard]] std::uint32_t highest_acknowledged(const Segment& segment) const noexcept;

  void arm(const Segment& segment, std::uint32_t end, Instant now) noexcept;

  /// What was last seen, as far as a repetition of it shows that nothing gets through.
  struct Last {
    Direction direction = Direction::outward;
    std::uint32_t sequence = 0, acknowledgement = 0, end = 0;
    std::uint16_t window = 0;
    friend bool operator==(const Last&, const Last&) = default;
  };

  TrackerRules rules_;
  std::optional<Last> last_;
  unsigned repeated_ = 0;
  std::optional<Instant> expires_;
  bool closed_ = false;  // by an RST
  bool established_scale_ = false;
  std::array<Half, 2> halves_;
};

}  // namespace switchback::middlebox
