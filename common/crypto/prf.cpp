#include "common/crypto/prf.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#include <cassert>
#include <new>

#include "common/crypto/openssl.h"

namespace switchback::crypto {
namespace {

const char* digest_name(PrfAlgorithm algorithm) noexcept {
  switch (algorithm) {
    case PrfAlgorithm::hmac_sha2_256: return "SHA2-256";
    case PrfAlgorithm::hmac_sha2_384: return "SHA2-384";
    case PrfAlgorithm::hmac_sha2_512: return "SHA2-512";
  }
  return "SHA2-256";
}

// One keyed HMAC context, started anew for each output. The library fails here for want of memory only.
class Hmac {
 public:
  Hmac(PrfAlgorithm algorithm, ByteView key) {
    // Fetching searches the providers: once per process. Never freed: threads may still use it at exit.
    static EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
    if (mac != nullptr) context_.reset(EVP_MAC_CTX_new(mac));
    // OSSL_PARAM wants mutable text, and reads it.
    std::array<char, 16> digest{};
    const std::string_view name = digest_name(algorithm);
    std::copy(name.begin(), name.end(), digest.begin());
    const std::array params{OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
                            OSSL_PARAM_construct_end()};
    // A null key would mean "the key of before": an empty one needs an address.
    static constexpr std::uint8_t kNothing = 0;
    const auto* octets = key.empty() ? &kNothing : key.data();
    check(context_ != nullptr && EVP_MAC_init(context_.get(), octets, key.size(), params.data()) == 1);
  }

  void restart() { check(EVP_MAC_init(context_.get(), nullptr, 0, nullptr) == 1); }
  void update(ByteView part) {
    if (!part.empty()) check(EVP_MAC_update(context_.get(), part.data(), part.size()) == 1);
  }
  void finish(ByteSpan out) {
    std::size_t size = 0;
    check(EVP_MAC_final(context_.get(), out.data(), &size, out.size()) == 1 && size == out.size());
  }

 private:
  static void check(bool worked) {
    if (!worked) throw std::bad_alloc{};
  }
  EvpMacCtxPtr context_;
};

template <std::size_t Size>
std::array<std::uint8_t, Size> hash(const EVP_MD* digest, std::initializer_list<ByteView> parts) {
  const EvpMdCtxPtr context{EVP_MD_CTX_new()};
  std::array<std::uint8_t, Size> out{};
  bool worked = context != nullptr && EVP_DigestInit_ex(context.get(), digest, nullptr) == 1;
  for (const auto part : parts) worked = worked && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  if (!worked || EVP_DigestFinal_ex(context.get(), out.data(), nullptr) != 1) throw std::bad_alloc{};
  return out;
}

}  // namespace

std::string_view to_string(PrfAlgorithm algorithm) noexcept {
  switch (algorithm) {
    case PrfAlgorithm::hmac_sha2_256: return "prfsha256";
    case PrfAlgorithm::hmac_sha2_384: return "prfsha384";
    case PrfAlgorithm::hmac_sha2_512: return "prfsha512";
  }
  return "unknown";
}

Secret prf(PrfAlgorithm algorithm, ByteView key, std::initializer_list<ByteView> parts) {
  Secret out{prf_octets(algorithm)};
  Hmac hmac{algorithm, key};
  for (const auto part : parts) hmac.update(part);
  hmac.finish(out.span());
  return out;
}

Secret prf_plus(PrfAlgorithm algorithm, ByteView key, std::initializer_list<ByteView> seeds, std::size_t octets) {
  assert(octets <= prf_plus_limit(algorithm));
  // T1 = prf(K, S | 0x01), Tn = prf(K, T(n-1) | S | n)
  Secret out{octets};
  Secret block{prf_octets(algorithm)};
  Hmac hmac{algorithm, key};
  std::uint8_t counter = 0;
  for (std::size_t done = 0; done < octets;) {
    if (counter != 0) {
      hmac.restart();
      hmac.update(block.view());
    }
    ++counter;
    for (const auto seed : seeds) hmac.update(seed);
    hmac.update({&counter, 1});
    hmac.finish(block.span());
    const auto count = std::min(block.size(), octets - done);
    std::copy_n(block.view().begin(), count, out.span().subspan(done).begin());
    done += count;
  }
  return out;
}

std::array<std::uint8_t, 20> sha1(std::initializer_list<ByteView> parts) { return hash<20>(EVP_sha1(), parts); }
std::array<std::uint8_t, 32> sha256(std::initializer_list<ByteView> parts) { return hash<32>(EVP_sha256(), parts); }

}  // namespace switchback::crypto
