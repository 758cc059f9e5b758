#include "common/crypto/aead.h"

#include <cassert>
#include <chrono>

#include "common/crypto/aead_backends.h"

namespace switchback::crypto {
namespace {

constexpr std::array kBackends{AeadBackend::ipsec_mb, AeadBackend::openssl, AeadBackend::libsodium};

AeadKey known_key(AeadAlgorithm algorithm) {
  AeadKey key{algorithm, Secret{aead_key_octets(algorithm) + kAeadSaltOctets}};
  std::uint8_t next = 0;
  for (auto& octet : key.key_and_salt.span()) octet = next++;
  return key;
}

constexpr std::size_t kKnownSizes[] = {0, 1, 63, 1400};

struct Sealed {
  Bytes text;
  std::array<std::uint8_t, kAeadTagOctets> tag;
  friend bool operator==(const Sealed&, const Sealed&) = default;
};

Sealed seal_known(Aead& aead, std::size_t size) {
  const std::array<std::uint8_t, 12> aad{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  Sealed sealed{Bytes(size, 0x5a), {}};
  std::array jobs{AeadJob{{9, 8, 7}, aad, sealed.text, sealed.tag.data()}};
  aead.seal(jobs);
  return sealed;
}

// A library that computes something else on this CPU must not be chosen, however fast it is.
bool agrees(Aead& aead, Aead& reference) {
  for (const auto size : kKnownSizes) {
    auto sealed = seal_known(aead, size);
    if (sealed != seal_known(reference, size)) return false;
    const std::array<std::uint8_t, 12> aad{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    auto again = sealed;
    std::array jobs{AeadJob{{9, 8, 7}, aad, sealed.text, sealed.tag.data()}};
    aead.open(jobs);
    if (!jobs[0].ok || sealed.text != Bytes(size, 0x5a)) return false;
    again.tag[15] ^= 1U;
    std::array forged{AeadJob{{9, 8, 7}, aad, again.text, again.tag.data()}};
    aead.open(forged);
    if (forged[0].ok) return false;
  }
  return true;
}

// The best of several short rounds, since another program may be running in some of them.
std::chrono::nanoseconds measure(Aead& aead) {
  constexpr std::size_t kBatch = 16, kPacketOctets = 1400;
  constexpr int kRounds = 8;
  Bytes text(kBatch * kPacketOctets);
  std::array<std::array<std::uint8_t, kAeadTagOctets>, kBatch> tags{};
  const std::array<std::uint8_t, 8> aad{};
  auto best = std::chrono::nanoseconds::max();
  for (int round = 0; round < kRounds; ++round) {
    std::array<AeadJob, kBatch> jobs{};
    for (std::size_t i = 0; i < kBatch; ++i) {
      jobs[i] = {{static_cast<std::uint8_t>(i)},
                 aad,
                 ByteSpan{text}.subspan(i * kPacketOctets, kPacketOctets),
                 tags[i].data()};
    }
    const auto start = std::chrono::steady_clock::now();
    aead.seal(jobs);
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - start);
  }
  return best;
}

std::unique_ptr<Aead> make_unchecked(const AeadKey& key, AeadBackend backend) {
  switch (backend) {
    case AeadBackend::ipsec_mb: return make_ipsec_mb_aead(key);
    case AeadBackend::openssl: return make_openssl_aead(key);
    case AeadBackend::libsodium: return make_sodium_aead(key);
  }
  return nullptr;
}

struct Survey {
  std::vector<AeadBackend> available;
  AeadBackend chosen = AeadBackend::openssl;
};

Survey survey(AeadAlgorithm algorithm) {
  Survey found;
  const auto key = known_key(algorithm);
  const auto reference = make_openssl_aead(key);
  auto best = std::chrono::nanoseconds::max();
  for (const auto backend : kBackends) {
    const auto aead = make_unchecked(key, backend);
    if (aead == nullptr || !agrees(*aead, *reference)) continue;
    found.available.push_back(backend);
    if (const auto taken = measure(*aead); taken < best) {
      best = taken;
      found.chosen = backend;
    }
  }
  return found;
}

// Once for each algorithm that is used.
const Survey& surveyed(AeadAlgorithm algorithm) {
  switch (algorithm) {
    case AeadAlgorithm::aes128_gcm: {
      static const auto found = survey(AeadAlgorithm::aes128_gcm);
      return found;
    }
    case AeadAlgorithm::aes256_gcm: {
      static const auto found = survey(AeadAlgorithm::aes256_gcm);
      return found;
    }
    case AeadAlgorithm::chacha20_poly1305: break;
  }
  static const auto found = survey(AeadAlgorithm::chacha20_poly1305);
  return found;
}

}  // namespace

std::string_view to_string(AeadAlgorithm algorithm) noexcept {
  switch (algorithm) {
    case AeadAlgorithm::aes128_gcm: return "aes128gcm16";
    case AeadAlgorithm::aes256_gcm: return "aes256gcm16";
    case AeadAlgorithm::chacha20_poly1305: return "chacha20poly1305";
  }
  return "unknown";
}

std::string_view to_string(AeadBackend backend) noexcept {
  switch (backend) {
    case AeadBackend::ipsec_mb: return "ipsec-mb";
    case AeadBackend::openssl: return "openssl";
    case AeadBackend::libsodium: return "libsodium";
  }
  return "unknown";
}

std::unique_ptr<Aead> make_aead(const AeadKey& key, AeadBackend backend) {
  assert(key.key_and_salt.size() == aead_key_octets(key.algorithm) + kAeadSaltOctets);
  const auto& usable = surveyed(key.algorithm).available;
  if (std::find(usable.begin(), usable.end(), backend) == usable.end()) return nullptr;
  return make_unchecked(key, backend);
}

std::unique_ptr<Aead> make_aead(const AeadKey& key) { return make_aead(key, chosen_backend(key.algorithm)); }

std::vector<AeadBackend> available_backends(AeadAlgorithm algorithm) { return surveyed(algorithm).available; }

AeadBackend chosen_backend(AeadAlgorithm algorithm) { return surveyed(algorithm).chosen; }

}  // namespace switchback::crypto
