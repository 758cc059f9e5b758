// Connection tracking that drops what is outside the window: the rules of Linux's nf_conntrack, before and since 6.1.
#pragma once

#include <array>

#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

/// As measured against kernel 6.18 with be_liberal=0, loose=0; the older rules are those of kernels up to 6.0.
class Tracker final : public Device {
 public:
  /// @param lower_bounds  old and late segments are invalid too, as they were before Linux 6.1
  explicit Tracker(bool lower_bounds) noexcept : lower_bounds_{lower_bounds} {}
  void handle(Segment segment, Instant now, Output& out) override;

 private:
  /// `maximum_end` is how far this end may send by what the other acknowledged and advertised.
  struct Half {
    bool known = false;
    std::uint32_t end = 0, maximum_end = 0, maximum_window = 0;
    std::uint8_t scale = 0;
  };
  static constexpr std::uint32_t kLateAck = 66000;  // the kernel's MAXACKWINCONST

  [[nodiscard]] std::string_view judge(const Segment& segment, const Half& sender, const Half& receiver,
                                       bool& update) const noexcept;
  [[nodiscard]] std::uint32_t highest_acknowledged(const Segment& segment) const noexcept;

  bool lower_bounds_;
  bool established_scale_ = false;
  std::array<Half, 2> halves_;
};

}  // namespace switchback::middlebox
