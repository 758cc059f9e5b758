// Where randomness comes from. Cores take a RandomSource&; only tests hand in a predictable one.
#pragma once

#include "common/base/bytes.h"

namespace switchback {

class RandomSource {
 public:
  virtual ~RandomSource() = default;
  /// Unpredictable octets that will be seen on the wire: nonces, SPIs, cookies.
  virtual void public_fill(ByteSpan out) = 0;
  /// Unpredictable octets that stay secret: private keys. A separate stream, so that what is seen tells nothing.
  virtual void secret_fill(ByteSpan out) = 0;

 protected:
  RandomSource() = default;
  RandomSource(const RandomSource&) = default;
  RandomSource& operator=(const RandomSource&) = default;
};

/// A random integer for the wire.
template <class UInt>
[[nodiscard]] UInt public_random(RandomSource& source) {
  std::array<std::uint8_t, sizeof(UInt)> octets{};
  source.public_fill(octets);
  return load_be<UInt>(octets.data());
}

}  // namespace switchback
