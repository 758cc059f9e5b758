// A pair of SAs with one key, and packets for them.
#pragma once

#include "common/esp/codec.h"
#include "tests/unit/packet/builders.h"

namespace switchback::testing {

inline packet::TrafficSelectors everything() {
  return {packet::from_prefix(*IpPrefix::parse("0.0.0.0/0")), packet::from_prefix(*IpPrefix::parse("::/0"))};
}

struct SaOptions {
  crypto::AeadAlgorithm algorithm = crypto::AeadAlgorithm::aes128_gcm;
  bool esn = true;
  esp::LifetimeLimits lifetime{};
  packet::TrafficSelectors local = everything(), remote = everything();
  Instant installed{};
};

inline esp::SaParams make_params(const SaOptions& options) {
  esp::SaParams params;
  params.spi = Spi{0x01020304};
  params.key = {options.algorithm, Secret{counting(crypto::aead_key_octets(options.algorithm) + 4, 0x40)}};
  params.esn = options.esn;
  params.lifetime = options.lifetime;
  params.local = options.local;
  params.remote = options.remote;
  params.installed = options.installed;
  return params;
}

/// Sender and receiver. The selectors are the receiver's view: remote is where packets come from.
struct SaPair {
  packet::PacketPool pool{200};
  esp::OutboundSa out;
  esp::InboundSa in;

  explicit SaPair(const SaOptions& options = {}, std::uint64_t next_sequence = 1)
      : out{make_params(swapped(options)), next_sequence}, in{make_params(options), next_sequence - 1} {}

  std::vector<packet::Packet> sealed(std::span<const Bytes> inner) {
    std::vector<packet::Packet> batch;
    for (const auto& octets : inner) batch.push_back(pooled(pool, octets));
    batch.resize(esp::seal(out, batch));
    return batch;
  }
  packet::Packet sealed(const Bytes& inner) {
    auto batch = sealed(std::span{&inner, 1});
    return batch.empty() ? packet::Packet{} : std::move(batch.front());
  }
  packet::Packet sealed_raw(const Bytes& body) {
    auto packet = pooled(pool, body);
    (void)esp::seal_dummies(out, std::span{&packet, 1});
    return packet;
  }
  std::vector<esp::Verdict> open(std::span<packet::Packet> batch) {
    std::vector<esp::Verdict> verdicts(batch.size());
    esp::open(in, batch, verdicts);
    return verdicts;
  }
  esp::Verdict open(packet::Packet& packet) { return open(std::span{&packet, 1}).front(); }

 private:
  static SaOptions swapped(SaOptions options) {
    std::swap(options.local, options.remote);
    return options;
  }
};

}  // namespace switchback::testing
