#include "common/esp/replay_window.h"

#include <algorithm>
#include <cassert>

namespace switchback::esp {

std::uint64_t ReplayWindow::widen(std::uint32_t low) const noexcept {
  if (!esn_) return low;
  // RFC 4303 A2.2. T is the highest number seen, W the window; [T - W + 1, T] lies in one or two 2^32 subspaces.
  const auto top_high = highest_ >> 32U;
  const auto top_low = static_cast<std::uint32_t>(highest_);
  const auto bottom_low = static_cast<std::uint32_t>(top_low - (kPackets - 1));
  if (top_low >= kPackets - 1) {  // case A: the window lies in one subspace
    const auto high = low >= bottom_low ? top_high : top_high + 1;
    return (high << 32U) | low;
  }
  if (low >= bottom_low) {  // case B: it began in the subspace before
    return top_high == 0 ? 0 : ((top_high - 1) << 32U) | low;
  }
  return (top_high << 32U) | low;
}

void ReplayWindow::mark(std::uint64_t seq) noexcept {
  assert(fresh(seq));
  if (seq > highest_) {
    const auto from = highest_ / kBlockBits;
    const auto steps = std::min(seq / kBlockBits - from, kBlocks);
    for (std::uint64_t i = 1; i <= steps; ++i) blocks_[(from + i) & (kBlocks - 1)] = 0;
    highest_ = seq;
  }
  blocks_[block_of(seq)] |= bit_of(seq);
}

}  // namespace switchback::esp
