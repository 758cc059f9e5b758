// The system's randomness, for programs; tests hand cores a predictable source instead.
#pragma once

#include "common/base/random.h"

namespace switchback::crypto {

/// OpenSSL's two generators, seeded by the kernel: what is seen on the wire tells nothing about what stays secret.
/// Any thread. A generator that cannot deliver ends the process: there is no safe way on.
class SystemRandom final : public RandomSource {
 public:
  void public_fill(ByteSpan out) override;
  void secret_fill(ByteSpan out) override;
};

}  // namespace switchback::crypto
