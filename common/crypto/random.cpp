#include "common/crypto/random.h"

#include <openssl/rand.h>

#include <cstdlib>

namespace switchback::crypto {
namespace {

template <class Generator>
void fill(ByteSpan out, Generator generate) {
  constexpr std::size_t kChunk = std::size_t{1} << 20U;  // the library counts in int
  while (!out.empty()) {
    const auto count = std::min(out.size(), kChunk);
    if (generate(out.data(), static_cast<int>(count)) != 1) std::abort();
    out = out.subspan(count);
  }
}

}  // namespace

void SystemRandom::public_fill(ByteSpan out) { fill(out, RAND_bytes); }
void SystemRandom::secret_fill(ByteSpan out) { fill(out, RAND_priv_bytes); }

}  // namespace switchback::crypto
