// What bench-datagrams says to itself over the path it measures: one header at the start of every datagram.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"

namespace switchback::bench {

enum class Kind : std::uint32_t {
  load = 0x53424C44,    // counts for its run
  ask = 0x53424153,     // what of this run has arrived?
  answer = 0x5342414E,  // so many
};

struct Header {
  Kind kind{};
  std::uint32_t run = 0;
  std::uint64_t count = 0;  // of an answer

  static constexpr std::size_t kBytes = 16;
  void store(std::uint8_t* to) const noexcept {
    store_be(to, static_cast<std::uint32_t>(kind));
    store_be(to + 4, run);
    store_be(to + 8, count);
  }
  [[nodiscard]] static std::optional<Header> load(ByteView from) noexcept {
    if (from.size() < kBytes) return std::nullopt;
    return Header{Kind{load_be<std::uint32_t>(from.data())}, load_be<std::uint32_t>(from.data() + 4),
                  load_be<std::uint64_t>(from.data() + 8)};
  }
};

/// A run of load is of this size in IP packets; UDP and IPv4 headers come off.
inline constexpr std::size_t kIpUdpBytes = 28;

}  // namespace switchback::bench
