// Strong<T, Tag>: an integer that does not mix with others of the same width.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace switchback {

template <class T, class Tag>
struct Strong {
  T value{};
  constexpr Strong() = default;
  explicit constexpr Strong(T v) noexcept : value{v} {}
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;
};

/// Security parameter index of ESP, RFC 4303 §2.1; 1..255 are reserved, 0 is never on the wire.
using Spi = Strong<std::uint32_t, struct SpiTag>;
/// One end's SPI of an IKE SA, RFC 7296 §3.1.
using IkeSpi = Strong<std::uint64_t, struct IkeSpiTag>;
/// Message ID of an IKE exchange, RFC 7296 §2.2.
using MessageId = Strong<std::uint32_t, struct MessageIdTag>;
/// Extended sequence number of ESP, RFC 4303 §2.2.1; the wire carries its low half.
using SeqNo = Strong<std::uint64_t, struct SeqNoTag>;

}  // namespace switchback

template <class T, class Tag>
struct std::hash<switchback::Strong<T, Tag>> {
  [[nodiscard]] std::size_t operator()(const switchback::Strong<T, Tag>& strong) const noexcept {
    return std::hash<T>{}(strong.value);
  }
};
