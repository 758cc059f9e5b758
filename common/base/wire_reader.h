// Bounds-checked cursor over hostile octets. It fails once and stays failed: read everything, check ok() once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/bytes.h"
#include "common/base/result.h"

namespace switchback {

enum class ParseErrc : std::uint8_t {
  truncated,     // the data ends before the field does
  bad_length,    // a length field that cannot be true
  bad_value,     // a field holds a value that the standard forbids
  bad_spi_size,  // SPI size that does not fit the protocol
  bad_padding,   // padding longer than what holds it
  too_many,      // more elements than the bound for this element
  unsupported,   // well formed, but a version or critical payload that is not understood
};
[[nodiscard]] const char* to_string(ParseErrc code) noexcept;

struct ParseError {
  ParseErrc code;
  std::size_t offset;  // octets into the input of the parser that failed
  friend bool operator==(const ParseError&, const ParseError&) = default;
};

[[nodiscard]] inline tl::unexpected<ParseError> fail(ParseErrc code, std::size_t offset) {
  return tl::unexpected<ParseError>(ParseError{code, offset});
}

/// Reads network byte order. A failed read returns zeros or an empty view and makes ok() false for good.
class WireReader {
 public:
  explicit constexpr WireReader(ByteView input) noexcept : input_{input} {}

  [[nodiscard]] constexpr std::uint8_t u8() noexcept { return integer<std::uint8_t>(); }
  [[nodiscard]] constexpr std::uint16_t u16be() noexcept { return integer<std::uint16_t>(); }
  [[nodiscard]] constexpr std::uint32_t u32be() noexcept { return integer<std::uint32_t>(); }
  [[nodiscard]] constexpr std::uint64_t u64be() noexcept { return integer<std::uint64_t>(); }
  /// Borrowed from the input.
  [[nodiscard]] constexpr ByteView bytes(std::size_t count) noexcept {
    if (!ok_ || count > remaining()) {
      ok_ = false;
      return {};
    }
    const auto view = input_.subspan(offset_, count);
    offset_ += count;
    return view;
  }
  [[nodiscard]] constexpr ByteView rest() noexcept { return bytes(remaining()); }
  constexpr void skip(std::size_t count) noexcept { (void)bytes(count); }

  [[nodiscard]] constexpr bool ok() const noexcept { return ok_; }
  [[nodiscard]] constexpr std::size_t offset() const noexcept { return offset_; }
  [[nodiscard]] constexpr std::size_t remaining() const noexcept { return input_.size() - offset_; }
  [[nodiscard]] constexpr bool at_end() const noexcept { return remaining() == 0; }

 private:
  template <class UInt>
  constexpr UInt integer() noexcept {
    const auto view = bytes(sizeof(UInt));
    return view.empty() ? UInt{0} : load_be<UInt>(view.data());
  }

  ByteView input_;
  std::size_t offset_ = 0;
  bool ok_ = true;
};

}  // namespace switchback
