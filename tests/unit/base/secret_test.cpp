#include <catch2/catch.hpp>
#include <type_traits>
#include <vector>

#include "common/base/secret.h"

namespace switchback {
namespace {

static_assert(!std::is_copy_constructible_v<Secret> && !std::is_copy_assignable_v<Secret>);

TEST_CASE("secrets begin zeroed whatever their memory held before", "[base][secret]") {
  for (const std::size_t size : {1U, 31U, 32U, 33U, 512U, 513U, 5000U}) {
    {
      Secret used{size};
      for (auto& octet : used.span()) octet = 0xaa;
    }
    CHECK(Secret{size}.equals(Bytes(size, 0)));
  }
}

TEST_CASE("a moved secret leaves nothing behind, a clone stands alone", "[base][secret]") {
  Secret first{as_bytes("attack at dawn")};
  Secret second{std::move(first)};
  CHECK(first.empty());  // NOLINT(bugprone-use-after-move): that is the question
  CHECK(second.equals(as_bytes("attack at dawn")));
  auto clone = second.clone();
  clone.span()[0] = 'A';
  CHECK(second.equals(as_bytes("attack at dawn")));
  CHECK_FALSE(clone.equals(second.view()));
  CHECK(Secret{}.equals({}));
}

TEST_CASE("equality looks at every octet and at the size", "[base][secret]") {
  const Secret secret{Bytes(48, 7)};
  for (std::size_t at = 0; at < 48; ++at) {
    Bytes other(48, 7);
    other[at] ^= 1U;
    CHECK_FALSE(secret.equals(other));
  }
  CHECK_FALSE(secret.equals(Bytes(47, 7)));
  CHECK_FALSE(constant_time_equal(Bytes(49, 7), secret.view()));
}

TEST_CASE("many secrets of mixed sizes do not overlap", "[base][secret]") {
  std::vector<Secret> secrets;
  for (std::size_t i = 0; i < 3000; ++i) secrets.emplace_back(Bytes(1 + i % 90, static_cast<std::uint8_t>(i)));
  for (std::size_t i = 0; i < 3000; i += 2) secrets[i] = Secret{Bytes(20, 1)};
  for (std::size_t i = 1; i < 3000; i += 2) {
    if (!secrets[i].equals(Bytes(1 + i % 90, static_cast<std::uint8_t>(i)))) FAIL("secret " << i << " changed");
  }
}

TEST_CASE("wiping leaves zeros", "[base][secret]") {
  Bytes octets(100, 9);
  wipe(octets);
  CHECK(octets == Bytes(100, 0));
}

}  // namespace
}  // namespace switchback
