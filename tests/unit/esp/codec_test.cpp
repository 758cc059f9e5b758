#include <catch2/catch.hpp>

#include "tests/unit/esp/sa_pair.h"

using namespace switchback;
using namespace switchback::testing;
using crypto::AeadAlgorithm;
using esp::Verdict;
using packet::PacketKind;

namespace {

Bytes inner(std::size_t payload = 100, bool v6 = false) {
  PacketSpec spec;
  if (v6) spec.source = "2001:db8::1", spec.destination = "2001:db8::2";
  spec.payload = counting(payload);
  return make_udp(spec);
}

packet::TrafficSelectors only(const char* prefix) { return {packet::from_prefix(*IpPrefix::parse(prefix))}; }

/// An authentic packet with a trailer of one's own: what seal() would never make.
packet::Packet with_trailer(SaPair& pair, Bytes body, Bytes trailer) {
  append(body, trailer);
  auto packet = pooled(pair.pool, body);
  auto params = make_params({});
  const auto aead = crypto::make_aead(params.key);
  crypto::AeadJob job;
  std::copy(params.key.salt().begin(), params.key.salt().end(), job.nonce.begin());
  std::fill(job.nonce.begin() + 4, job.nonce.end(), std::uint8_t{7});
  Bytes aad(12);
  store_be(&aad[0], params.spi.value);
  store_be(&aad[4], std::uint64_t{1});
  const auto tag = packet.append(16);
  job.aad = aad;
  job.text = packet.data().first(body.size());
  job.tag = tag.data();
  aead->seal(std::span{&job, 1});
  const auto front = packet.prepend(16);
  store_be(&front[0], params.spi.value);
  store_be(&front[4], std::uint32_t{1});
  std::fill_n(&front[8], 8, std::uint8_t{7});
  return packet;
}

}  // namespace

TEST_CASE("what is sealed opens again, for every cipher, family and length", "[esp][rfc4303]") {
  for (const auto algorithm :
       {AeadAlgorithm::aes128_gcm, AeadAlgorithm::aes256_gcm, AeadAlgorithm::chacha20_poly1305}) {
    for (const bool esn : {true, false}) {
      SaPair pair{{.algorithm = algorithm, .esn = esn}};
      std::vector<Bytes> packets;
      for (std::size_t payload = 0; payload < 70; ++payload) packets.push_back(inner(payload, payload % 2 == 1));
      packets.push_back(inner(1372));
      auto batch = pair.sealed(packets);
      REQUIRE(batch.size() == packets.size());
      for (std::size_t i = 0; i < batch.size(); ++i) {
        CHECK(batch[i].kind == PacketKind::esp);
        CHECK(batch[i].size() == esp::sealed_bytes(packets[i].size()));
        CHECK(batch[i].size() % 4 == 0);
        CHECK(esp::peek_spi(batch[i].data()) == pair.in.spi());
      }
      const auto verdicts = pair.open(batch);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        CHECK(verdicts[i] == Verdict::opened);
        CHECK(batch[i].kind == PacketKind::inner);
        CHECK(same_bytes(batch[i].data(), packets[i]));
      }
      CHECK(pair.in.counters()->packets == packets.size());
      CHECK(pair.in.counters()->bytes == pair.out.counters()->bytes);
    }
  }
}

TEST_CASE("sequence number and IV count up together and never repeat", "[esp][rfc4106]") {
  SaPair pair{{}, 0xFFFFFFFE};  // over the end of the low half
  for (std::uint64_t expected = 0xFFFFFFFE; expected < 0x100000003; ++expected) {
    const auto packet = pair.sealed(inner());
    CHECK(load_be<std::uint32_t>(&packet.data()[4]) == static_cast<std::uint32_t>(expected));
    CHECK(load_be<std::uint64_t>(&packet.data()[8]) == expected);
  }
}

TEST_CASE("extended sequence numbers go on past 2^32 at both ends", "[esp][rfc4303][esn]") {
  SaPair pair{{}, 0xFFFFFFF0};
  for (int i = 0; i < 64; ++i) {
    auto packet = pair.sealed(inner());
    REQUIRE(pair.open(packet) == Verdict::opened);
  }
  CHECK(pair.in.highest_sequence() == 0xFFFFFFF0ULL + 63);
}

TEST_CASE("the high half of an extended sequence number is authenticated", "[esp][rfc4303][esn]") {
  SaPair sender{{}, 0x500000001};
  SaPair receiver{{}, 0x100000001};
  auto packet = sender.sealed(inner());
  CHECK(receiver.open(packet) == Verdict::forged);
}

TEST_CASE("without ESN the last number is 2^32 - 1 and then the SA refuses, counted", "[esp][rfc4303]") {
  SaPair pair{{.esn = false}, 0xFFFFFFFD};
  std::vector<Bytes> five(5, inner());
  std::vector<packet::Packet> batch;
  for (const auto& octets : five) batch.push_back(pooled(pair.pool, octets));
  CHECK(esp::seal(pair.out, batch) == 3);
  CHECK(pair.out.counters()->exhausted == 2);
  CHECK(pair.out.counters()->packets == 3);
  CHECK(pair.out.sequence_left() == 0);
  CHECK(same_bytes(batch[3].data(), five[3]));  // untouched
  CHECK(batch[3].kind == PacketKind::inner);
  CHECK(esp::seal(pair.out, std::span{batch}.subspan(3)) == 0);
  CHECK(pair.open(std::span{batch}.first(3)) == std::vector<Verdict>(3, Verdict::opened));
}

TEST_CASE("with ESN the number space ends too", "[esp][rfc4303][esn]") {
  SaPair pair{{}, 0xFFFFFFFFFFFFFFFE};
  CHECK(pair.sealed(inner()));
  CHECK_FALSE(pair.sealed(inner()));
  CHECK(pair.out.counters()->exhausted == 1);
}

TEST_CASE("a copy is refused later and in the same batch", "[esp][rfc4303][replay]") {
  SaPair pair;
  auto first = pair.sealed(inner());
  const auto octets = to_bytes(first.data());
  std::vector<packet::Packet> batch;
  for (int i = 0; i < 3; ++i) batch.push_back(pooled(pair.pool, octets));
  CHECK(pair.open(batch) == std::vector{Verdict::opened, Verdict::replayed, Verdict::replayed});
  CHECK(pair.open(first) == Verdict::replayed);
  CHECK(pair.in.counters()->replayed == 3);
  CHECK(pair.in.counters()->packets == 1);
}

TEST_CASE("a forged copy ahead of the real packet does not shut it out", "[esp][rfc4303][replay]") {
  SaPair pair;
  auto real = pair.sealed(inner());
  auto forged = pooled(pair.pool, real.data());
  forged.data()[20] ^= 1U;
  std::vector<packet::Packet> batch;
  batch.push_back(std::move(forged));
  batch.push_back(std::move(real));
  CHECK(pair.open(batch) == std::vector{Verdict::forged, Verdict::opened});
  CHECK(pair.in.counters()->forged == 1);
}

TEST_CASE("a forged high number does not move the window", "[esp][rfc4303][replay]") {
  SaPair pair;
  auto forged = pair.sealed(inner());
  auto real = pair.sealed(inner());
  store_be(&forged.data()[4], std::uint32_t{1000000});
  CHECK(pair.open(forged) == Verdict::forged);
  CHECK(pair.in.highest_sequence() == 0);
  CHECK(pair.open(real) == Verdict::opened);
}

TEST_CASE("packets that cannot be ESP are malformed", "[esp][hostile]") {
  SaPair pair;
  for (std::size_t size = 0; size < 36; ++size) {
    auto packet = pooled(pair.pool, Bytes(size, 1));
    CHECK(pair.open(packet) == Verdict::malformed);
  }
  auto unaligned = pooled(pair.pool, Bytes(101, 1));
  CHECK(pair.open(unaligned) == Verdict::malformed);
  packet::Packet none;
  CHECK(pair.open(none) == Verdict::malformed);
  CHECK_FALSE(esp::peek_spi(Bytes(7, 1)));
  CHECK_FALSE(esp::peek_spi(Bytes(8, 0)));
}

TEST_CASE("sequence number 0 is never accepted", "[esp][rfc4303]") {
  SaPair pair;
  auto packet = pair.sealed(inner());
  store_be(&packet.data()[4], std::uint32_t{0});
  CHECK(pair.open(packet) == Verdict::replayed);
}

TEST_CASE("padding, its length and the next header are checked behind the tag", "[esp][rfc4303][hostile]") {
  const auto body = inner(98);  // 126 octets
  REQUIRE(body.size() % 4 == 2);
  const auto verdict_of = [&](const Bytes& octets, const Bytes& trailer) {
    SaPair pair;
    auto packet = with_trailer(pair, octets, trailer);
    return pair.open(packet);
  };
  CHECK(verdict_of(body, {0, 4}) == Verdict::opened);
  CHECK(verdict_of(body, {1, 2, 3, 4, 4, 4}) == Verdict::opened);  // more padding than needed, RFC 4303 §2.4
  CHECK(verdict_of(body, {0, 0, 0, 0, 4, 4}) == Verdict::malformed);
  CHECK(verdict_of(body, {1, 2, 3, 5, 4, 4}) == Verdict::malformed);
  CHECK(verdict_of(body, {255, 4}) == Verdict::malformed);
  CHECK(verdict_of(body, {0, 41}) == Verdict::malformed);  // says IPv6, is IPv4
  CHECK(verdict_of(body, {0, 6}) == Verdict::malformed);   // transport mode
  CHECK(verdict_of(body, {0, 0}) == Verdict::malformed);
  CHECK(verdict_of(Bytes{0x45, 0}, {0, 4}) == Verdict::malformed);
  CHECK(verdict_of({}, {1, 2, 2, 4}) == Verdict::malformed);
  CHECK(verdict_of({}, {0, 0, 3, 4}) == Verdict::malformed);  // padding longer than what is there
}

TEST_CASE("padding of 255 octets is accepted when it is right", "[esp][rfc4303]") {
  Bytes trailer = counting(255, 1);
  append(trailer, Bytes{255, 4});
  const auto body = inner((4 - (28 + trailer.size()) % 4) % 4);
  SaPair pair;
  auto packet = with_trailer(pair, body, trailer);
  CHECK(pair.open(packet) == Verdict::opened);
  CHECK(same_bytes(packet.data(), body));
}

TEST_CASE("octets behind the inner packet's length are trimmed", "[esp][rfc4303][tfc]") {
  const auto body = inner(98);
  auto padded = body;
  padded.resize(1026, 0xAA);
  SaPair pair;
  auto packet = with_trailer(pair, padded, {0, 4});
  CHECK(pair.open(packet) == Verdict::opened);
  CHECK(same_bytes(packet.data(), body));
}

TEST_CASE("dummy packets carry a body and count apart", "[esp][rfc4303]") {
  SaPair pair;
  for (const std::size_t size : {0U, 1U, 40U}) {
    auto dummy = pair.sealed_raw(counting(size));
    CHECK(dummy.kind == PacketKind::esp);
    CHECK(pair.open(dummy) == Verdict::dummy);
    CHECK(same_bytes(dummy.data(), counting(size)));
  }
  CHECK(pair.in.counters()->dummies == 3);
  CHECK(pair.in.counters()->packets == 0);
  CHECK(pair.out.counters()->dummies == 3);
}

TEST_CASE("a packet from or to an address that the SA does not carry is dropped", "[esp][rfc4301][selectors]") {
  const auto verdict_of = [](const char* remote, const char* local) {
    SaPair pair{{.local = only(local), .remote = only(remote)}};
    auto packet = pair.sealed(inner());  // 10.0.0.1 to 10.0.0.2
    const auto verdict = pair.open(packet);
    CHECK(pair.in.counters()->wrong_selector == (verdict == Verdict::wrong_selector ? 1U : 0U));
    return verdict;
  };
  CHECK(verdict_of("10.0.0.1/32", "10.0.0.2/32") == Verdict::opened);
  CHECK(verdict_of("10.0.0.1/32", "0.0.0.0/0") == Verdict::opened);
  CHECK(verdict_of("10.0.0.3/32", "0.0.0.0/0") == Verdict::wrong_selector);
  CHECK(verdict_of("10.0.0.1/32", "10.0.0.3/32") == Verdict::wrong_selector);
  CHECK(verdict_of("::/0", "::/0") == Verdict::wrong_selector);
}

TEST_CASE("the outbound SA says which packets it may carry", "[esp][rfc4301][selectors]") {
  esp::OutboundSa sa{make_params({.local = only("10.0.0.1/32"), .remote = only("10.0.0.0/8")})};
  CHECK(sa.permits(inner()));
  CHECK_FALSE(sa.permits(inner(10, true)));
  PacketSpec other;
  other.source = "192.168.1.1";
  CHECK_FALSE(sa.permits(make_udp(other)));
  CHECK_FALSE(sa.permits(Bytes{1, 2}));
}

TEST_CASE("a batch longer than the job array keeps its order and its verdicts", "[esp]") {
  SaPair pair;
  std::vector<Bytes> packets;
  for (std::size_t i = 0; i < 150; ++i) packets.push_back(inner(i));
  auto batch = pair.sealed(packets);
  batch[3].data()[30] ^= 1U;
  batch[70].resize(10);
  const auto verdicts = pair.open(batch);
  for (std::size_t i = 0; i < verdicts.size(); ++i) {
    CHECK(verdicts[i] == (i == 3 ? Verdict::forged : i == 70 ? Verdict::malformed : Verdict::opened));
    if (verdicts[i] == Verdict::opened) CHECK(same_bytes(batch[i].data(), packets[i]));
  }
}

TEST_CASE("a hard packet limit ends sealing and opening", "[esp][lifetime]") {
  SaOptions options;
  options.lifetime.hard_packets = 2;
  SaPair pair{options};
  auto first = pair.sealed(inner()), second = pair.sealed(inner());
  auto third = pooled(pair.pool, inner());
  CHECK(esp::seal(pair.out, std::span{&third, 1}) == 0);
  CHECK(pair.out.counters()->expired == 1);
  CHECK(pair.out.counters()->exhausted == 0);
  CHECK(pair.open(first) == Verdict::opened);
  CHECK(pair.open(second) == Verdict::opened);
  CHECK(pair.open(second) == Verdict::expired);
}

TEST_CASE("sizes before and after sealing agree", "[esp]") {
  for (std::size_t esp_bytes = 0; esp_bytes < 2000; ++esp_bytes) {
    const auto inner_bytes = esp::largest_inner(esp_bytes);
    if (esp_bytes < 36) {
      CHECK(inner_bytes == 0);
      continue;
    }
    CHECK(esp::sealed_bytes(inner_bytes) <= esp_bytes);
    CHECK(esp::sealed_bytes(inner_bytes + 1) > esp_bytes);
  }
  CHECK(esp::sealed_bytes(1400) <= 1400 + esp::kMaxOverheadBytes);
}
