#include "common/packet/checksum.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace switchback::packet {
namespace {

// 32-bit halves of 64-bit loads go to accumulators of their own, so that no carry can get lost within 2^32 loads.
std::uint64_t sum_words(const std::uint8_t* from, std::size_t size) noexcept {
  std::uint64_t low = 0, high = 0;
  for (; size >= 8; from += 8, size -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, 8);
    low += word & 0xFFFFFFFFU;
    high += word >> 32U;
  }
  if (size != 0) {
    std::uint64_t rest = 0;  // an odd last octet is padded with zero on the right, RFC 1071
    std::memcpy(&rest, from, size);
    low += rest & 0xFFFFFFFFU;
    high += rest >> 32U;
  }
  return low + high;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) std::uint64_t sum_words_avx2(const std::uint8_t* from, std::size_t size) noexcept {
  const auto zero = _mm256_setzero_si256();
  auto a = zero, b = zero, c = zero, d = zero;
  for (; size >= 64; from += 64, size -= 64) {
    const auto x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const auto y = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    a = _mm256_add_epi64(a, _mm256_unpacklo_epi32(x, zero));
    b = _mm256_add_epi64(b, _mm256_unpackhi_epi32(x, zero));
    c = _mm256_add_epi64(c, _mm256_unpacklo_epi32(y, zero));
    d = _mm256_add_epi64(d, _mm256_unpackhi_epi32(y, zero));
  }
  alignas(32) std::array<std::uint64_t, 4> lanes{};
  const auto sum = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes.data()), sum);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3] + sum_words(from, size);
}
const bool kHaveAvx2 = __builtin_cpu_supports("avx2") != 0;
#endif

std::uint64_t sum_octets(ByteView octets) noexcept {
#if defined(__x86_64__)
  if (octets.size() >= 128 && kHaveAvx2) return sum_words_avx2(octets.data(), octets.size());
#endif
  return sum_words(octets.data(), octets.size());
}

}  // namespace

ChecksumSum& ChecksumSum::add(ByteView octets) noexcept { return add_folded(sum_octets(octets)); }

std::uint16_t ChecksumSum::folded() const noexcept {
  auto sum = (sum_ & 0xFFFFFFFFU) + (sum_ >> 32U);
  sum = (sum & 0xFFFFU) + ((sum >> 16U) & 0xFFFFU) + (sum >> 32U);
  sum = (sum & 0xFFFFU) + (sum >> 16U);
  sum = (sum & 0xFFFFU) + (sum >> 16U);
  const auto word = static_cast<std::uint16_t>(sum);
  std::array<std::uint8_t, 2> memory{};
  std::memcpy(memory.data(), &word, 2);
  return load_be<std::uint16_t>(memory.data());
}

}  // namespace switchback::packet
