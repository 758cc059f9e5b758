#include <catch2/catch.hpp>
#include <charconv>
#include <fstream>
#include <map>
#include <string>

#include "tests/unit/esp/sa_pair.h"

using namespace switchback;
using namespace switchback::testing;
using esp::Verdict;

namespace {

Bytes from_hex(const std::string& text) {
  Bytes octets(text.size() / 2);
  for (std::size_t i = 0; i < octets.size(); ++i) {
    std::from_chars(text.data() + 2 * i, text.data() + 2 * i + 2, octets[i], 16);
  }
  return octets;
}

using Case = std::map<std::string, std::string>;

std::vector<Case> read_cases(const std::string& name) {
  std::ifstream file{std::string{SB_SOURCE_DIR} + "/tests/vectors/esp/" + name};
  std::vector<Case> cases;
  for (std::string line; std::getline(file, line);) {
    const auto equals = line.find(" = ");
    if (line.starts_with('#') || equals == std::string::npos) continue;
    if (line.starts_with("Case")) cases.emplace_back();
    cases.back()[line.substr(0, equals)] = line.substr(equals + 3);
  }
  return cases;
}

struct Opened {
  Verdict verdict;
  Bytes data;
  std::uint64_t highest;
};

Opened open_case(const Case& values, crypto::AeadAlgorithm algorithm, packet::PacketPool& pool) {
  const auto packet_octets = from_hex(values.at("Packet"));
  const auto sequence = std::stoull(values.at("Sequence"), nullptr, 16);
  esp::SaParams params;
  params.spi = Spi{load_be<std::uint32_t>(packet_octets.data())};
  params.key = {algorithm, Secret{from_hex(values.at("Key"))}};
  params.esn = values.at("Sequence").size() == 16;
  params.local = params.remote = everything();
  esp::InboundSa sa{std::move(params), sequence - 1};
  auto packet = pooled(pool, packet_octets);
  Opened opened{};
  esp::open(sa, std::span{&packet, 1}, std::span{&opened.verdict, 1});
  opened.data = to_bytes(packet.data());
  opened.highest = sa.highest_sequence();
  return opened;
}

}  // namespace

TEST_CASE("the ESP packets of draft-mcgrew-gcm-test are authentic and decrypt as published",
          "[esp][rfc4106][vectors]") {
  const auto cases = read_cases("draft-mcgrew-gcm-test-01.txt");
  REQUIRE(cases.size() == 13);
  packet::PacketPool pool{4};
  for (const auto& values : cases) {
    CAPTURE(values.at("Case"));
    const auto algorithm =
        values.at("Key").size() == 40 ? crypto::AeadAlgorithm::aes128_gcm : crypto::AeadAlgorithm::aes256_gcm;
    const auto opened = open_case(values, algorithm, pool);
    // The draft's next header is 1 (ICMP), which is no tunnel: malformed, but found so only after authentication.
    CHECK(opened.verdict == Verdict::malformed);
    CHECK(opened.highest == std::stoull(values.at("Sequence"), nullptr, 16));
    const auto plaintext = from_hex(values.at("Plaintext"));
    const auto trailer = 2U + plaintext[plaintext.size() - 2];
    CHECK(opened.data == to_bytes(ByteView{plaintext}.first(plaintext.size() - trailer)));
  }
}

TEST_CASE("a changed octet anywhere in a published packet is found", "[esp][rfc4106][vectors]") {
  packet::PacketPool pool{4};
  for (auto values : read_cases("draft-mcgrew-gcm-test-01.txt")) {
    const auto good = from_hex(values.at("Packet"));
    for (std::size_t at = 0; at < good.size(); ++at) {
      if (at >= 4 && at < 8) continue;  // another sequence number may be refused before the cipher
      auto bad = good;
      bad[at] ^= 0x10U;
      values["Packet"] = to_hex(bad);
      const auto algorithm =
          values.at("Key").size() == 40 ? crypto::AeadAlgorithm::aes128_gcm : crypto::AeadAlgorithm::aes256_gcm;
      REQUIRE(open_case(values, algorithm, pool).verdict == Verdict::forged);
    }
  }
}

TEST_CASE("the ESP packet of RFC 7634 appendix A opens", "[esp][rfc7634][vectors]") {
  const auto cases = read_cases("rfc7634-appendix-a.txt");
  REQUIRE(cases.size() == 1);
  packet::PacketPool pool{4};
  const auto opened = open_case(cases[0], crypto::AeadAlgorithm::chacha20_poly1305, pool);
  CHECK(opened.verdict == Verdict::opened);
  const auto plaintext = from_hex(cases[0].at("Plaintext"));
  CHECK(opened.data == to_bytes(ByteView{plaintext}.first(plaintext.size() - 4)));
}
