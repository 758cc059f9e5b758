// The Internet checksum (RFC 1071) and its update in place (RFC 1624).
#pragma once

#include <cstdint>

#include "common/base/bytes.h"

namespace switchback::packet {

/// A one's-complement sum that is not folded yet. Words are added as they lie in memory, since RFC 1071 §2(B) makes the
/// sum independent of byte order; finish() gives a value for store_be.
class ChecksumSum {
 public:
  constexpr ChecksumSum() noexcept = default;
  /// Pre: every piece but the last is of even length.
  ChecksumSum& add(ByteView octets) noexcept;
  /// Adds a 16-bit field by its value.
  ChecksumSum& add_u16(std::uint16_t value) noexcept {
    std::array<std::uint8_t, 2> octets{};
    store_be(octets.data(), value);
    std::uint16_t word = 0;
    std::memcpy(&word, octets.data(), 2);
    return add_folded(word);
  }
  /// Adds the pseudo header of TCP or UDP (RFC 9293 §3.1, RFC 8200 §8.1). `addresses`: source and destination as they
  /// stand in the IP header.
  ChecksumSum& add_pseudo_header(ByteView addresses, std::uint8_t protocol, std::uint32_t l4_bytes) noexcept {
    add(addresses);
    add_u16(static_cast<std::uint16_t>(l4_bytes >> 16U));
    add_u16(static_cast<std::uint16_t>(l4_bytes));
    return add_u16(protocol);
  }
  /// The sum, folded, not complemented: what NEEDS_CSUM wants in the checksum field when only a pseudo header is added.
  [[nodiscard]] std::uint16_t folded() const noexcept;
  /// The checksum field. A sum over octets that include a right checksum gives 0.
  [[nodiscard]] std::uint16_t finish() const noexcept { return static_cast<std::uint16_t>(~folded()); }

 private:
  ChecksumSum& add_folded(std::uint64_t more) noexcept {
    sum_ += more;
    sum_ += static_cast<std::uint64_t>(sum_ < more);  // end-around carry
    return *this;
  }
  std::uint64_t sum_ = 0;
};

/// Checksum field over the octets, for store_be. 0 if they include a right one.
[[nodiscard]] inline std::uint16_t checksum(ByteView octets) noexcept { return ChecksumSum{}.add(octets).finish(); }

/// RFC 1624 equation 3: the checksum after a 16-bit field it covers has changed from `before` to `after`.
[[nodiscard]] constexpr std::uint16_t updated_checksum(std::uint16_t checksum, std::uint16_t before,
                                                       std::uint16_t after) noexcept {
  std::uint32_t sum = static_cast<std::uint16_t>(~checksum);
  sum += static_cast<std::uint16_t>(~before);
  sum += after;
  sum = (sum & 0xFFFFU) + (sum >> 16U);
  sum = (sum & 0xFFFFU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

}  // namespace switchback::packet
