// Seal and open for each suite, backend and size, without ESP around them: what common/crypto costs for each packet.
#include <cstring>
#include <string>
#include <vector>

#include "common/crypto/aead.h"
#include "tests/benchmark/manual_time.h"

using namespace switchback;
using namespace switchback::crypto;
using namespace switchback::testing;

namespace {

constexpr std::size_t kPackets = 64;  // about what one read of the TUN gives
constexpr std::size_t kSizes[] = {64, 256, 576, 1400, 8900};

struct Batch {
  std::size_t size;
  std::unique_ptr<Aead> aead;
  Bytes text, sealed;
  std::array<std::array<std::uint8_t, kAeadTagOctets>, kPackets> tags{};
  std::array<std::array<std::uint8_t, 8>, kPackets> headers{};  // as ESP without ESN has them
  std::array<AeadJob, kPackets> jobs{};

  Batch(AeadAlgorithm algorithm, AeadBackend backend, std::size_t packet_octets)
      : size{packet_octets}, text(kPackets * packet_octets, 0x5a) {
    AeadKey key{algorithm, Secret{aead_key_octets(algorithm) + kAeadSaltOctets}};
    for (auto& octet : key.key_and_salt.span()) octet = 0x42;
    aead = make_aead(key, backend);
    prepare();
    aead->seal(jobs);
    sealed = text;
  }
  void prepare() {
    for (std::size_t i = 0; i < kPackets; ++i) {
      jobs[i] = {{1, 2, 3, 4, static_cast<std::uint8_t>(i)},
                 headers[i],
                 ByteSpan{text}.subspan(i * size, size),
                 tags[i].data()};
    }
  }
};

void seal(benchmark::State& state, AeadAlgorithm algorithm, AeadBackend backend, std::size_t size) {
  Batch batch{algorithm, backend, size};
  for ([[maybe_unused]] auto _ : state) {
    timed(state, [&] { batch.aead->seal(batch.jobs); });
  }
  count_packets(state, kPackets, size);
}

void open(benchmark::State& state, AeadAlgorithm algorithm, AeadBackend backend, std::size_t size) {
  Batch batch{algorithm, backend, size};
  for ([[maybe_unused]] auto _ : state) {
    std::memcpy(batch.text.data(), batch.sealed.data(), batch.text.size());
    timed(state, [&] { batch.aead->open(batch.jobs); });
    if (!batch.jobs.front().ok) state.SkipWithError("what was sealed does not open");
  }
  count_packets(state, kPackets, size);
}

// Which backends there are is known only when it runs.
const bool kRegistered = [] {
  for (const auto algorithm :
       {AeadAlgorithm::aes128_gcm, AeadAlgorithm::aes256_gcm, AeadAlgorithm::chacha20_poly1305}) {
    for (const auto backend : available_backends(algorithm)) {
      for (const auto size : kSizes) {
        const auto name =
            std::string{to_string(algorithm)} + '/' + std::string{to_string(backend)} + '/' + std::to_string(size);
        const auto add = [&](const char* what, auto* function) {
          benchmark::RegisterBenchmark((std::string{what} + '/' + name).c_str(), function, algorithm, backend, size)
              ->UseManualTime();
        };
        add("aead_seal", &seal);
        add("aead_open", &open);
      }
    }
  }
  return true;
}();

}  // namespace
