// What firewalls change in TCP headers on the way through: sequence numbers and options. And the one that loses
// segments by their number.
#pragma once

#include <array>
#include <set>

#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

struct EditRules {
  bool randomize_isn = false;  // in both directions; ACKs and SACK blocks are changed to match
  bool strip_sack = false;     // SACK-permitted and SACK blocks
  bool strip_timestamps = false;
  bool strip_window_scale = false;
  std::uint16_t mss = 0;  // most that a SYN may announce; 0: any
};

/// Options that are taken away become NOPs, so that segments keep their size.
class Editor final : public Device {
 public:
  /// @param offsets  of the sequence numbers, by direction, for randomize_isn
  Editor(const EditRules& rules, std::array<std::uint32_t, 2> offsets) noexcept : rules_{rules}, offsets_{offsets} {
    if (!rules_.randomize_isn) offsets_ = {};
  }
  void handle(Segment segment, Instant now, Output& out) override;

 private:
  EditRules rules_;
  std::array<std::uint32_t, 2> offsets_;
};

/// Loses segments with data by their number in one direction of the flow, from 1; a segment that is sent again counts
/// again.
class Loser final : public Device {
 public:
  Loser(Direction direction, std::set<std::uint64_t> numbers) : direction_{direction}, numbers_{std::move(numbers)} {}
  void handle(Segment segment, Instant now, Output& out) override;

 private:
  Direction direction_;
  std::set<std::uint64_t> numbers_;
  std::uint64_t seen_ = 0;
};

}  // namespace switchback::middlebox
