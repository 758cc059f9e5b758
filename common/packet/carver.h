// Cuts slabs into packets of just the room they need, so that a burst of small packets touches few pages.
#pragma once

#include "common/packet/pool.h"

namespace switchback::packet {

/// Bump allocator over one slab at a time. Belongs to the thread of its pool, and goes before it.
class PacketCarver {
 public:
  explicit PacketCarver(PacketPool& pool) noexcept : pool_{pool} {}

  /// A packet of zero octets with `head` octets before it and room for `body` octets plus `tail` behind. Empty when the
  /// pool is exhausted: count it and drop. Pre: head + body + tail <= PacketPool::kSlabBytes.
  [[nodiscard]] Packet carve(std::size_t head, std::size_t body, std::size_t tail) noexcept {
    const auto room = round_up(head + body + tail);
    assert(room <= PacketPool::kSlabBytes);
    if (!slab_ || slab_.size() - used_ < room) {
      slab_ = pool_.allocate(0);
      used_ = 0;
      if (!slab_) return {};
      slab_.resize(PacketPool::kSlabBytes);
    }
    auto part = slab_.carve(used_, room, head);
    used_ += room;
    return part;
  }
  /// Gives the slab begun back as soon as its packets are gone.
  void release() noexcept {
    slab_.reset();
    used_ = 0;
  }

 private:
  // 16: the checksum and cipher loops like aligned starts.
  static constexpr std::size_t round_up(std::size_t room) noexcept { return (room + 15U) & ~std::size_t{15}; }

  PacketPool& pool_;
  Packet slab_;  // all of a slab as payload
  std::size_t used_ = 0;
};

}  // namespace switchback::packet
