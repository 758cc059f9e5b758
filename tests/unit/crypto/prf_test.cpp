#include "common/crypto/prf.h"
#include "tests/unit/crypto/support.h"

namespace switchback::crypto {
namespace {

TEST_CASE("the PRFs give the values of RFC 4231", "[crypto][prf][rfc4231]") {
  for (auto& vector : read_vectors("hmac.txt")) {
    const auto key = from_hex(vector["Key"]);
    const auto data = from_hex(vector["Data"]);
    CHECK(to_hex(prf(PrfAlgorithm::hmac_sha2_256, key, {data}).view()) == vector["Sha256"]);
    CHECK(to_hex(prf(PrfAlgorithm::hmac_sha2_384, key, {data}).view()) == vector["Sha384"]);
    CHECK(to_hex(prf(PrfAlgorithm::hmac_sha2_512, key, {data}).view()) == vector["Sha512"]);
  }
}

TEST_CASE("parts count as one text, and a key may be empty", "[crypto][prf]") {
  const auto whole = as_bytes("one text");
  const auto alg = PrfAlgorithm::hmac_sha2_256;
  CHECK(
      prf(alg, as_bytes("k"), {whole}).equals(prf(alg, as_bytes("k"), {whole.first(3), {}, whole.subspan(3)}).view()));
  // HMAC_SHA256("", ""), from Wikipedia's HMAC article
  CHECK(to_hex(prf(alg, {}, {}).view()) == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST_CASE("prf+ chains its blocks as RFC 7296 2.13 says, and shorter output is a prefix", "[crypto][prf][rfc7296]") {
  for (const auto alg : {PrfAlgorithm::hmac_sha2_256, PrfAlgorithm::hmac_sha2_384, PrfAlgorithm::hmac_sha2_512}) {
    const auto key = as_bytes("key"), seed = as_bytes("seed");
    const std::array<std::uint8_t, 3> counter{1, 2, 3};
    const auto t1 = prf(alg, key, {seed, ByteView{counter}.subspan(0, 1)});
    const auto t2 = prf(alg, key, {t1.view(), seed, ByteView{counter}.subspan(1, 1)});
    const auto t3 = prf(alg, key, {t2.view(), seed, ByteView{counter}.subspan(2, 1)});
    Bytes expected = to_bytes(t1.view());
    append(expected, t2.view());
    append(expected, t3.view());
    CHECK(prf_plus(alg, key, {seed}, 3 * prf_octets(alg)).equals(expected));
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, prf_octets(alg), prf_octets(alg) + 1}) {
      CHECK(prf_plus(alg, key, {seed.first(1), seed.subspan(1)}, size).equals(ByteView{expected}.first(size)));
    }
    CHECK(prf_plus(alg, key, {seed}, prf_plus_limit(alg)).size() == 255 * prf_octets(alg));
  }
}

TEST_CASE("the plain hashes give the values of FIPS 180", "[crypto][prf]") {
  CHECK(to_hex(sha1({as_bytes("a"), as_bytes("bc")})) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(to_hex(sha256({as_bytes("abc")})) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace switchback::crypto
