// Anti-replay window of one inbound SA: RFC 4303 §3.4.3 in the block form of RFC 6479.
#pragma once

#include <array>
#include <cstdint>

namespace switchback::esp {

/// Remembers which of the last kPackets sequence numbers came. A ring of 64-bit blocks, so that moving the window on
/// clears whole blocks and never shifts (RFC 6479 §2). 1 KiB, no allocation. Not thread-safe.
class ReplayWindow {
 public:
  static constexpr std::uint64_t kBlockBits = 64, kBlocks = 128;
  /// How far below the highest number a new one may lie: one block is always being refilled. At least 4096, since
  /// packets overtake each other by thousands when a path moves.
  static constexpr std::uint64_t kPackets = kBlockBits * (kBlocks - 1);
  static_assert(kPackets >= 4096 && (kBlocks & (kBlocks - 1)) == 0);

  /// @param highest  0 but for tests: as if only this one had come so far
  explicit constexpr ReplayWindow(bool esn, std::uint64_t highest = 0) noexcept : highest_{highest}, esn_{esn} {
    if (highest != 0) blocks_[block_of(highest)] |= bit_of(highest);
  }

  /// The 64-bit number of a received one: with ESN the high half is inferred, RFC 4303 A2.2; without, it is zero. A
  /// number that would lie before the first packet of the SA becomes 0, which is never fresh.
  [[nodiscard]] std::uint64_t widen(std::uint32_t low) const noexcept;

  /// Not seen and not left of the window. Cheap; ask before the cipher and again before mark().
  [[nodiscard]] bool fresh(std::uint64_t seq) const noexcept {
    if (seq == 0) return false;  // RFC 4303 §3.3.3: the first packet has number 1
    if (seq > highest_) return true;
    if (highest_ - seq >= kPackets) return false;
    return (blocks_[block_of(seq)] & bit_of(seq)) == 0;
  }

  /// Records an authenticated number and moves the window on. Pre: fresh(seq).
  void mark(std::uint64_t seq) noexcept;

  /// 0 before the first packet.
  [[nodiscard]] std::uint64_t highest() const noexcept { return highest_; }

 private:
  static constexpr std::size_t block_of(std::uint64_t seq) noexcept { return (seq / kBlockBits) & (kBlocks - 1); }
  static constexpr std::uint64_t bit_of(std::uint64_t seq) noexcept { return std::uint64_t{1} << (seq % kBlockBits); }

  std::array<std::uint64_t, kBlocks> blocks_{};
  std::uint64_t highest_ = 0;
  bool esn_;
};

}  // namespace switchback::esp
