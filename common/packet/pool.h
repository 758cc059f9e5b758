// Per-thread free list of slabs: the only place where packet memory comes from.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "common/packet/packet.h"

namespace switchback::packet {

/// A fixed number of slabs, all of them made at construction; pages are touched only when used. Not thread-safe: one
/// pool per packet thread, and its packets stay there. Must outlive its packets.
class PacketPool {
 public:
  /// Holds a full GSO/GRO read (65535 octets and a virtio-net header) or the segments cut from half of one. Not a power
  /// of two, so that the beginnings of slabs do not share cache sets.
  static constexpr std::size_t kSlabBytes = 65536 + 4096 + 192;

  explicit PacketPool(std::size_t slabs);
  ~PacketPool();
  PacketPool(const PacketPool&) = delete;
  PacketPool& operator=(const PacketPool&) = delete;

  /// A packet of zero octets with `headroom` before it and the rest of a slab behind it; empty when the pool is
  /// exhausted, which the caller counts and takes as "drop". Pre: headroom <= kSlabBytes.
  [[nodiscard]] Packet allocate(std::size_t headroom) noexcept;
  [[nodiscard]] std::size_t free_slabs() const noexcept { return free_count_; }

 private:
  friend class Packet;
  void give_back(Slab* slab) noexcept;

  struct Unmap {
    std::size_t bytes;
    void operator()(std::uint8_t* memory) const noexcept;
  };
  std::unique_ptr<std::uint8_t, Unmap> memory_;
  std::vector<Slab> slabs_;
  Slab* free_ = nullptr;
  std::size_t free_count_ = 0;
};

}  // namespace switchback::packet
