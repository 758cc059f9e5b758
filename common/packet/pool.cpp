#include "common/packet/pool.h"

#include <sys/mman.h>

#include <new>

namespace switchback::packet {

void PacketPool::Unmap::operator()(std::uint8_t* memory) const noexcept { ::munmap(memory, bytes); }

PacketPool::PacketPool(std::size_t slabs) : memory_{nullptr, Unmap{slabs * kSlabBytes}}, slabs_(slabs) {
  auto* mapped = ::mmap(nullptr, slabs * kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc{};
  memory_.reset(static_cast<std::uint8_t*>(mapped));
  for (std::size_t i = slabs; i-- > 0;) {
    slabs_[i] = Slab{this, free_, 0, static_cast<std::uint32_t>(kSlabBytes), memory_.get() + i * kSlabBytes};
    free_ = &slabs_[i];
  }
  free_count_ = slabs;
}

PacketPool::~PacketPool() { assert(free_count_ == slabs_.size() && "a packet outlives its pool"); }

Packet PacketPool::allocate(std::size_t headroom) noexcept {
  assert(headroom <= kSlabBytes);
  if (free_ == nullptr) return {};
  auto* slab = std::exchange(free_, free_->next_free);
  --free_count_;
  const auto begin = static_cast<std::uint32_t>(headroom);
  return Packet{slab, 0, begin, begin, slab->capacity};
}

void PacketPool::give_back(Slab* slab) noexcept {
  slab->next_free = free_;
  free_ = slab;
  ++free_count_;
}

void Packet::reset() noexcept {
  auto* slab = std::exchange(slab_, nullptr);
  if (slab != nullptr && --slab->references == 0) slab->pool->give_back(slab);
}

}  // namespace switchback::packet
