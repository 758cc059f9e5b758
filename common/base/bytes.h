// Byte views and the big-endian loads and stores of every header on the wire.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace switchback {

/// Borrowed octets. A view never outlives the call it is passed to unless its documentation says "borrowed from …".
using ByteView = std::span<const std::uint8_t>;
using ByteSpan = std::span<std::uint8_t>;
/// Owned octets that are not secret; secrets are `Secret`.
using Bytes = std::vector<std::uint8_t>;

template <class UInt>
[[nodiscard]] constexpr UInt load_be(const std::uint8_t* from) noexcept {
  UInt value = 0;
  for (std::size_t i = 0; i < sizeof(UInt); ++i) value = static_cast<UInt>((value << 8U) | from[i]);
  return value;
}
template <>
[[nodiscard]] constexpr std::uint8_t load_be<std::uint8_t>(const std::uint8_t* from) noexcept {
  return *from;
}

template <class UInt>
constexpr void store_be(std::uint8_t* to, UInt value) noexcept {
  for (std::size_t i = 0; i < sizeof(UInt); ++i) {
    to[i] = static_cast<std::uint8_t>(value >> (8U * (sizeof(UInt) - 1 - i)));
  }
}

/// The octets of a text, as they stand.
[[nodiscard]] inline ByteView as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

[[nodiscard]] inline std::string_view as_text(ByteView bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

[[nodiscard]] inline Bytes to_bytes(ByteView view) { return {view.begin(), view.end()}; }

inline void append(Bytes& to, ByteView more) { to.insert(to.end(), more.begin(), more.end()); }

/// Equality of public data. Secrets are compared with Secret::equals, in constant time.
[[nodiscard]] inline bool same_bytes(ByteView a, ByteView b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

/// Lower-case hexadecimal without separators.
[[nodiscard]] std::string to_hex(ByteView bytes);

}  // namespace switchback
