#include "common/crypto/key_exchange.h"
#include "tests/unit/crypto/support.h"

namespace switchback::crypto {
namespace {

constexpr std::array kMethods{KeyExchangeMethod::modp_2048, KeyExchangeMethod::ecp_256, KeyExchangeMethod::ecp_384,
                              KeyExchangeMethod::curve25519};

TEST_CASE("exchanges give the published secrets", "[crypto][key_exchange][rfc5903][rfc7748]") {
  for (auto& vector : read_vectors("key_exchange.txt")) {
    CAPTURE(vector["Method"]);
    for (const auto method : kMethods) {
      if (to_string(method) != vector["Method"]) continue;
      const auto a = KeyExchange::from_private(method, from_hex(vector["PrivateA"]));
      const auto b = KeyExchange::from_private(method, from_hex(vector["PrivateB"]));
      REQUIRE(a);
      REQUIRE(b);
      CHECK(to_hex(a->public_value()) == vector["PublicA"]);
      CHECK(to_hex(b->public_value()) == vector["PublicB"]);
      CHECK(to_hex(a->shared_secret(b->public_value()).value().view()) == vector["Shared"]);
      CHECK(to_hex(b->shared_secret(a->public_value()).value().view()) == vector["Shared"]);
    }
  }
}

TEST_CASE("both ends come to the same secret of fixed length", "[crypto][key_exchange]") {
  for (const auto method : kMethods) {
    CAPTURE(to_string(method));
    const auto a = KeyExchange::generate(method), b = KeyExchange::generate(method);
    REQUIRE(a);
    REQUIRE(b);
    CHECK(a->public_value().size() == public_value_octets(method));
    CHECK_FALSE(same_bytes(a->public_value(), b->public_value()));
    const auto ab = a->shared_secret(b->public_value()), ba = b->shared_secret(a->public_value());
    REQUIRE(ab);
    REQUIRE(ba);
    CHECK(ab->equals(ba->view()));
  }
}

TEST_CASE("public values of any other size are refused", "[crypto][key_exchange]") {
  for (const auto method : kMethods) {
    const auto own = KeyExchange::generate(method).value();
    const auto size = public_value_octets(method);
    for (const std::size_t wrong : {std::size_t{0}, size - 1, size + 1}) {
      CHECK(own.shared_secret(Bytes(wrong, 9)).error() == KeyExchangeErrc::bad_size);
    }
  }
}

TEST_CASE("points off the curve are refused", "[crypto][key_exchange][rfc6989]") {
  for (const auto method : {KeyExchangeMethod::ecp_256, KeyExchangeMethod::ecp_384}) {
    const auto own = KeyExchange::generate(method).value();
    auto peer = to_bytes(KeyExchange::generate(method).value().public_value());
    peer.back() ^= 1U;
    CHECK(own.shared_secret(peer).error() == KeyExchangeErrc::bad_public_value);
    CHECK(own.shared_secret(Bytes(peer.size(), 0)).error() == KeyExchangeErrc::bad_public_value);
    CHECK(own.shared_secret(Bytes(peer.size(), 0xff)).error() == KeyExchangeErrc::bad_public_value);
  }
}

TEST_CASE("values of small order are refused", "[crypto][key_exchange][rfc7748][rfc6989]") {
  const auto x25519 = KeyExchange::generate(KeyExchangeMethod::curve25519).value();
  Bytes zero(32, 0), one(32, 0);
  one[0] = 1;
  // The point of order 8 that curve25519 implementations are warned of
  const auto eight = from_hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
  for (const auto& value : {zero, one, eight}) {
    CHECK(x25519.shared_secret(value).error() == KeyExchangeErrc::bad_public_value);
  }
  const auto modp = KeyExchange::generate(KeyExchangeMethod::modp_2048).value();
  Bytes small(256, 0);
  CHECK(modp.shared_secret(small).error() == KeyExchangeErrc::bad_public_value);
  small.back() = 1;
  CHECK(modp.shared_secret(small).error() == KeyExchangeErrc::bad_public_value);
  CHECK(modp.shared_secret(Bytes(256, 0xff)).error() == KeyExchangeErrc::bad_public_value);
}

}  // namespace
}  // namespace switchback::crypto
