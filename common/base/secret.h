// Owned secret octets: locked in memory, left out of core dumps, wiped when they go.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/bytes.h"

namespace switchback {

/// Move-only secret of fixed size. Many small ones share guarded, locked slabs (sodium_malloc), since guard pages for
/// each key do not scale to a headend. Not printable, not copyable by accident; equality takes constant time.
class Secret {
 public:
  Secret() noexcept = default;
  explicit Secret(std::size_t size);  // zeroed
  explicit Secret(ByteView copy_of);  // the caller wipes its own
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  [[nodiscard]] Secret clone() const { return Secret{view()}; }
  /// Borrowed from this secret.
  [[nodiscard]] ByteView view() const noexcept { return {data_, size_}; }
  [[nodiscard]] ByteSpan span() noexcept { return {data_, size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// Takes the same time whatever differs; sizes are not secret.
  [[nodiscard]] bool equals(ByteView other) const noexcept;

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Comparison of authenticators and other secrets that live elsewhere; sizes are not secret.
[[nodiscard]] bool constant_time_equal(ByteView a, ByteView b) noexcept;
/// Zeroes octets in a way that the optimiser keeps.
void wipe(ByteSpan octets) noexcept;

}  // namespace switchback
