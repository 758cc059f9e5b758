// Appends network byte order to a growing buffer, with lengths that are filled in once they are known.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "common/base/bytes.h"

namespace switchback {

class WireWriter {
 public:
  explicit WireWriter(Bytes& out) noexcept : out_{out} {}

  void u8(std::uint8_t value) { out_.push_back(value); }
  void u16be(std::uint16_t value) { integer(value); }
  void u32be(std::uint32_t value) { integer(value); }
  void u64be(std::uint64_t value) { integer(value); }
  void bytes(ByteView view) { append(out_, view); }
  void zeros(std::size_t count) { out_.insert(out_.end(), count, 0); }

  [[nodiscard]] std::size_t size() const noexcept { return out_.size(); }
  /// Overwrites octets written before, at an offset into the buffer.
  void patch_u8(std::size_t at, std::uint8_t value) noexcept { out_[at] = value; }
  void patch_u16be(std::size_t at, std::uint16_t value) noexcept { patch(at, value); }
  void patch_u32be(std::size_t at, std::uint32_t value) noexcept { patch(at, value); }
  /// Stores at `at` how many octets follow `from`, as generic payload headers want it. Pre: it fits 16 bits.
  void patch_length_u16be(std::size_t at, std::size_t from) noexcept {
    assert(out_.size() - from <= std::numeric_limits<std::uint16_t>::max());
    patch_u16be(at, static_cast<std::uint16_t>(out_.size() - from));
  }

 private:
  template <class UInt>
  void integer(UInt value) {
    const auto at = out_.size();
    out_.resize(at + sizeof(UInt));
    store_be(out_.data() + at, value);
  }
  template <class UInt>
  void patch(std::size_t at, UInt value) noexcept {
    assert(at + sizeof(UInt) <= out_.size());
    store_be(out_.data() + at, value);
  }

  Bytes& out_;
};

}  // namespace switchback
