#include <thread>

#include "common/crypto/aead.h"
#include "tests/unit/crypto/support.h"

namespace switchback::crypto {
namespace {

constexpr std::array kAlgorithms{AeadAlgorithm::aes128_gcm, AeadAlgorithm::aes256_gcm,
                                 AeadAlgorithm::chacha20_poly1305};

AeadKey make_key(AeadAlgorithm algorithm, std::uint8_t seed) {
  AeadKey key{algorithm, Secret{aead_key_octets(algorithm) + kAeadSaltOctets}};
  for (auto& octet : key.key_and_salt.span()) octet = seed = static_cast<std::uint8_t>(seed * 29 + 7);
  return key;
}

AeadAlgorithm algorithm_of(const std::string& name) {
  for (const auto algorithm : kAlgorithms) {
    if (to_string(algorithm) == name) return algorithm;
  }
  FAIL("unknown algorithm " << name);
  return {};
}

Bytes pattern(std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::uint8_t>(i * 7 + 3);
  return out;
}

TEST_CASE("every backend gives the published ciphertexts and opens them again",
          "[crypto][aead][rfc4106][rfc8439][rfc7634]") {
  for (auto& vector : read_vectors("aead.txt")) {
    const auto algorithm = algorithm_of(vector["Algorithm"]);
    auto material = from_hex(vector["Key"]);
    material.insert(material.end(), kAeadSaltOctets, 0);
    const AeadKey key{algorithm, Secret{ByteView{material}}};
    const auto nonce = from_hex(vector["Nonce"]);
    const auto aad = from_hex(vector["Aad"]);
    for (const auto backend : available_backends(algorithm)) {
      CAPTURE(to_string(backend), vector["Algorithm"], vector["Tag"]);
      const auto aead = make_aead(key, backend);
      REQUIRE(aead);
      CHECK(aead->backend() == backend);
      auto text = from_hex(vector["Plaintext"]);
      Bytes tag(kAeadTagOctets);
      std::array jobs{AeadJob{{}, aad, text, tag.data()}};
      std::copy(nonce.begin(), nonce.end(), jobs[0].nonce.begin());
      aead->seal(jobs);
      CHECK(jobs[0].ok);
      CHECK(to_hex(text) == vector["Ciphertext"]);
      CHECK(to_hex(tag) == vector["Tag"]);
      jobs[0].ok = false;
      aead->open(jobs);
      CHECK(jobs[0].ok);
      CHECK(to_hex(text) == vector["Plaintext"]);
    }
  }
}

TEST_CASE("all backends agree on every length around their block sizes", "[crypto][aead]") {
  for (const auto algorithm : kAlgorithms) {
    const auto key = make_key(algorithm, 5);
    const auto backends = available_backends(algorithm);
    const auto reference = make_aead(key, AeadBackend::openssl);
    REQUIRE(reference);
    for (std::size_t size = 0; size < 1600; size += size < 600 ? 1 : 61) {
      for (const std::size_t aad_size : {std::size_t{8}, std::size_t{12}, size % 70}) {
        const auto aad = pattern(aad_size);
        auto expected = pattern(size);
        Bytes expected_tag(kAeadTagOctets);
        const std::array<std::uint8_t, 12> nonce{static_cast<std::uint8_t>(size), 1, 2};
        std::array reference_jobs{AeadJob{nonce, aad, expected, expected_tag.data()}};
        reference->seal(reference_jobs);
        for (const auto backend : backends) {
          const auto aead = make_aead(key, backend);
          auto text = pattern(size);
          Bytes tag(kAeadTagOctets);
          std::array jobs{AeadJob{nonce, aad, text, tag.data()}};
          aead->seal(jobs);
          const bool same = text == expected && tag == expected_tag;
          aead->open(jobs);
          if (!same || !jobs[0].ok || text != pattern(size)) {
            FAIL(to_string(algorithm) << " of " << to_string(backend) << " differs at " << size << "/" << aad_size);
          }
        }
      }
    }
  }
}

TEST_CASE("a flipped bit anywhere is refused and no plaintext is released", "[crypto][aead]") {
  for (const auto algorithm : kAlgorithms) {
    const auto key = make_key(algorithm, 9);
    for (const auto backend : available_backends(algorithm)) {
      CAPTURE(to_string(algorithm), to_string(backend));
      const auto aead = make_aead(key, backend);
      const auto plain = pattern(90);
      auto sealed = plain;
      Bytes aad = pattern(12), tag(kAeadTagOctets);
      std::array sealing{AeadJob{{1}, aad, sealed, tag.data()}};
      aead->seal(sealing);
      for (std::size_t bit = 0; bit < (90 + 12 + 16 + 12) * 8; ++bit) {
        auto text = sealed;
        auto bad_aad = aad, bad_tag = tag;
        std::array<std::uint8_t, 12> nonce{1};
        const auto at = bit / 8;
        const auto mask = static_cast<std::uint8_t>(1U << (bit % 8));
        (at < 90 ? text[at] : at < 102 ? bad_aad[at - 90] : at < 118 ? bad_tag[at - 102] : nonce[at - 118]) ^= mask;
        std::array jobs{AeadJob{nonce, bad_aad, text, bad_tag.data(), true}};
        aead->open(jobs);
        if (jobs[0].ok || text != Bytes(90, 0)) FAIL("bit " << bit << " was accepted or its text released");
      }
    }
  }
}

TEST_CASE("one forged packet of a batch does not touch the others", "[crypto][aead]") {
  for (const auto algorithm : kAlgorithms) {
    for (const auto backend : available_backends(algorithm)) {
      CAPTURE(to_string(algorithm), to_string(backend));
      const auto aead = make_aead(make_key(algorithm, 1), backend);
      std::array<Bytes, 5> texts;
      std::array<std::array<std::uint8_t, kAeadTagOctets>, 5> tags{};
      std::array<AeadJob, 5> jobs{};
      for (std::uint8_t i = 0; i < 5; ++i) {
        texts[i] = pattern(100U + i * 33U);
        jobs[i] = {{i}, {}, texts[i], tags[i].data()};
      }
      aead->seal(jobs);
      tags[2][15] ^= 0x80U;
      aead->open(jobs);
      for (std::size_t i = 0; i < 5; ++i) {
        CHECK(jobs[i].ok == (i != 2));
        CHECK(texts[i] == (i == 2 ? Bytes(texts[i].size(), 0) : pattern(texts[i].size())));
      }
    }
  }
}

TEST_CASE("OpenSSL is always there, and what is chosen is among the available", "[crypto][aead]") {
  for (const auto algorithm : kAlgorithms) {
    const auto backends = available_backends(algorithm);
    CHECK(std::find(backends.begin(), backends.end(), AeadBackend::openssl) != backends.end());
    CHECK(std::find(backends.begin(), backends.end(), chosen_backend(algorithm)) != backends.end());
    CHECK(make_aead(make_key(algorithm, 3))->backend() == chosen_backend(algorithm));
  }
  CHECK(make_aead(make_key(AeadAlgorithm::aes128_gcm, 3), AeadBackend::libsodium) == nullptr);
}

TEST_CASE("ciphers with keys of their own run side by side in threads", "[crypto][aead]") {
  std::array<int, 4> failures{};
  std::vector<std::thread> threads;
  for (std::uint8_t t = 0; t < 4; ++t) {
    threads.emplace_back([t, &failures] {
      const auto aead = make_aead(make_key(kAlgorithms[t % 3U], t));
      for (std::uint8_t i = 0; i < 100; ++i) {
        auto text = pattern(1400);
        std::array<std::uint8_t, kAeadTagOctets> tag{};
        std::array jobs{AeadJob{{i}, {}, text, tag.data()}};
        aead->seal(jobs);
        aead->open(jobs);
        if (!jobs[0].ok || text != pattern(1400)) ++failures[t];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(failures == std::array<int, 4>{});
}

}  // namespace
}  // namespace switchback::crypto
