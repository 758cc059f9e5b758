#include <catch2/catch.hpp>
#include <random>

#include "common/packet/checksum.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using packet::checksum;
using packet::ChecksumSum;
using packet::updated_checksum;

TEST_CASE("the numerical example of RFC 1071 sums to ddf2", "[packet][rfc1071]") {
  // RFC 1071 §3.
  const Bytes octets{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  CHECK(ChecksumSum{}.add(octets).folded() == 0xddf2);
  CHECK(checksum(octets) == 0x220d);
}

TEST_CASE("every length and alignment agrees with the slow reference", "[packet][rfc1071]") {
  std::mt19937 random{1};
  Bytes octets(2100);
  for (auto& octet : octets) octet = static_cast<std::uint8_t>(random());
  for (std::size_t size = 0; size < 2000; size += size < 300 ? 1 : 37) {
    for (std::size_t offset = 0; offset < 9; ++offset) {
      const auto view = ByteView{octets}.subspan(offset, size);
      REQUIRE(checksum(view) == testing::reference_checksum(view));
    }
  }
}

TEST_CASE("carries of all-ones octets are not lost", "[packet][rfc1071]") {
  const Bytes ones(65535, 0xFF);
  CHECK(checksum(ones) == testing::reference_checksum(ones));
  CHECK(checksum(Bytes(65534, 0xFF)) == 0);
  CHECK(checksum(Bytes(4096, 0)) == 0xFFFF);
  CHECK(checksum({}) == 0xFFFF);
}

TEST_CASE("pieces of even length sum like the whole", "[packet][rfc1071]") {
  const auto octets = testing::counting(777, 3);
  const ByteView view{octets};
  CHECK(ChecksumSum{}.add(view.first(200)).add(view.subspan(200, 332)).add(view.subspan(532)).finish() ==
        testing::reference_checksum(view));
}

TEST_CASE("the example of RFC 1624 updates to zero, not to minus zero", "[packet][rfc1624]") {
  // RFC 1624 §4: HC = 0xDD2F, m = 0x5555 becomes m' = 0x3285; equation 3 gives 0x0000.
  CHECK(updated_checksum(0xDD2F, 0x5555, 0x3285) == 0x0000);
}

TEST_CASE("updating a field gives what summing again gives", "[packet][rfc1624]") {
  std::mt19937 random{2};
  for (int round = 0; round < 5000; ++round) {
    Bytes octets(20);
    for (auto& octet : octets) octet = static_cast<std::uint8_t>(random());
    store_be(&octets[10], std::uint16_t{0});
    store_be(&octets[10], checksum(octets));
    const auto at = 2U * (random() % 5);
    const auto before = load_be<std::uint16_t>(&octets[at]);
    const auto after = static_cast<std::uint16_t>(random());
    store_be(&octets[10], updated_checksum(load_be<std::uint16_t>(&octets[10]), before, after));
    store_be(&octets[at], after);
    REQUIRE(checksum(octets) == 0);
  }
}
