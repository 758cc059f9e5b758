// Packets that a transport took and dropped itself, for having no room in a connection: the network never saw them, and
// they must not look like its loss.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/ip_address.h"

namespace switchback::transports {

struct OwnDrops {
  AddressPair path;
  std::uint32_t packets = 0;
};

/// By path, until somebody asks. Bounded: of more paths than it has places for, nothing is told.
class OwnDropsLog {
 public:
  void add(const AddressPair& path, std::uint32_t packets) noexcept {
    if (packets == 0) return;
    for (std::size_t i = 0; i < count_; ++i) {
      if (drops_[i].path != path) continue;
      drops_[i].packets += packets;
      return;
    }
    if (count_ < drops_.size()) drops_[count_++] = {path, packets};
  }
  [[nodiscard]] std::optional<OwnDrops> next() noexcept {
    if (count_ == 0) return std::nullopt;
    return drops_[--count_];
  }

 private:
  std::array<OwnDrops, 16> drops_{};
  std::size_t count_ = 0;
};

}  // namespace switchback::transports
