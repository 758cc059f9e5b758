#include "common/base/secret.h"

#include <sodium.h>

#include <array>
#include <bit>
#include <mutex>
#include <new>
#include <utility>

namespace switchback {
namespace {

// Slabs of equal blocks per size class. Slabs are never given back: a headend's peak number of keys is its working set.
class SecretArena {
 public:
  static SecretArena& instance() {
    static auto* arena = new SecretArena;  // never destroyed: secrets in other statics may go later
    return *arena;
  }

  std::uint8_t* take(std::size_t size) {
    const auto block = block_size(size);
    if (block > kLargestBlock) return allocate(size);
    const std::lock_guard lock{mutex_};
    auto& free_list = free_[class_of(block)];
    if (free_list == nullptr) free_list = carve(block);
    auto* taken = free_list;
    free_list = taken->next;
    taken->next = nullptr;
    return reinterpret_cast<std::uint8_t*>(taken);
  }

  void give_back(std::uint8_t* data, std::size_t size) noexcept {
    const auto block = block_size(size);
    if (block > kLargestBlock) {
      sodium_free(data);  // wipes
      return;
    }
    sodium_memzero(data, block);
    const std::lock_guard lock{mutex_};
    auto* freed = new (data) FreeBlock{free_[class_of(block)]};
    free_[class_of(block)] = freed;
  }

 private:
  struct FreeBlock {
    FreeBlock* next;
  };
  static constexpr std::size_t kSmallestBlock = 32;
  static constexpr std::size_t kLargestBlock = 512;
  static constexpr std::size_t kSlabBytes = 32768;

  SecretArena() {
    if (sodium_init() < 0) throw std::bad_alloc{};
  }
  static std::size_t block_size(std::size_t size) noexcept { return std::bit_ceil(std::max(size, kSmallestBlock)); }
  static std::size_t class_of(std::size_t block) noexcept {
    return static_cast<std::size_t>(std::countr_zero(block / kSmallestBlock));
  }
  static std::uint8_t* allocate(std::size_t size) {
    auto* memory = static_cast<std::uint8_t*>(sodium_malloc(size));
    if (memory == nullptr) throw std::bad_alloc{};
    return memory;
  }
  static FreeBlock* carve(std::size_t block) {
    auto* slab = allocate(kSlabBytes);
    FreeBlock* list = nullptr;
    for (std::size_t at = 0; at + block <= kSlabBytes; at += block) list = new (slab + at) FreeBlock{list};
    return list;
  }

  std::mutex mutex_;
  std::array<FreeBlock*, 5> free_{};  // 32, 64, 128, 256, 512 octets
};

}  // namespace

Secret::Secret(std::size_t size) : data_{size == 0 ? nullptr : SecretArena::instance().take(size)}, size_{size} {
  if (size_ != 0) sodium_memzero(data_, size_);
}

Secret::Secret(ByteView copy_of) : Secret{copy_of.size()} { std::copy(copy_of.begin(), copy_of.end(), data_); }

Secret::Secret(Secret&& other) noexcept
    : data_{std::exchange(other.data_, nullptr)}, size_{std::exchange(other.size_, 0)} {}

Secret& Secret::operator=(Secret&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Secret::~Secret() {
  if (data_ != nullptr) SecretArena::instance().give_back(data_, size_);
}

bool Secret::equals(ByteView other) const noexcept { return constant_time_equal(view(), other); }

bool constant_time_equal(ByteView a, ByteView b) noexcept {
  return a.size() == b.size() && (a.empty() || sodium_memcmp(a.data(), b.data(), a.size()) == 0);
}

void wipe(ByteSpan octets) noexcept { sodium_memzero(octets.data(), octets.size()); }

}  // namespace switchback
