#include <catch2/catch.hpp>
#include <set>

#include "common/ike/session_config.h"
#include "tests/support/seeded_random.h"

using namespace switchback;

namespace {

/// Gives these numbers one after another.
class Scripted final : public RandomSource {
 public:
  explicit Scripted(std::vector<std::uint32_t> numbers) : numbers_{std::move(numbers)} {}
  void public_fill(ByteSpan out) override {
    REQUIRE(out.size() == 4);
    REQUIRE(next_ < numbers_.size());
    store_be(out.data(), numbers_[next_++]);
  }
  void secret_fill(ByteSpan) override { FAIL("an SPI is no secret"); }

 private:
  std::vector<std::uint32_t> numbers_;
  std::size_t next_ = 0;
};

}  // namespace

TEST_CASE("an SPI tells its share by its remainder, and no two are equal", "[ike][cores]") {
  test::SeededRandom random{5};
  ike::SpiRegistry registry;
  std::set<std::uint32_t> all;
  for (const std::uint32_t of : {1U, 2U, 3U, 7U, 16U}) {
    for (std::uint32_t number = 0; number < of; ++number) {
      for (int i = 0; i < 200; ++i) {
        const auto spi = registry.allocate_esp(random, {of, number});
        CHECK(spi.value % of == number);
        CHECK(spi.value >= 256);
        CHECK(all.insert(spi.value).second);
      }
    }
  }
}

TEST_CASE("at the edges of its range an SPI keeps its share and stays out of what is reserved",
          "[ike][cores][rfc4303]") {
  ike::SpiRegistry registry;
  // 0xFFFFFFFF is divisible by 3 and by 5: with the share's number added, the sum would begin again at 0.
  Scripted random{{0xFFFFFFFF, 255, 0xFFFFFFFF, 256, 255, 0x80000001}};
  CHECK(registry.allocate_esp(random, {3, 1}) == Spi{256});
  CHECK(registry.allocate_esp(random, {5, 4}) == Spi{259});
  CHECK(registry.allocate_esp(random) == Spi{0x80000001});
}
