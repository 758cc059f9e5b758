#include "tools/middlebox/capture.h"

#include <unistd.h>
#include <catch2/catch.hpp>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

#include "tests/support/virtual_clock.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;

namespace {

std::uint32_t number(ByteView octets, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, octets.data() + at, 4);
  return value;
}

/// The blocks of a file; each says its length at both ends.
std::vector<Bytes> blocks(const std::filesystem::path& file) {
  std::ifstream stream{file, std::ios::binary};
  const Bytes all{std::istreambuf_iterator<char>{stream}, {}};
  std::vector<Bytes> found;
  for (std::size_t at = 0; at < all.size();) {
    const auto octets = number(all, at + 4);
    REQUIRE(octets % 4 == 0);
    REQUIRE(at + octets <= all.size());
    CHECK(number(all, at + octets - 4) == octets);
    found.push_back(to_bytes(ByteView{all}.subspan(at, octets)));
    at += octets;
  }
  return found;
}

}  // namespace

TEST_CASE("a capture names its interfaces and tells what came in from what went out", "[middlebox]") {
  const auto file = std::filesystem::temp_directory_path() / ("sb-capture-" + std::to_string(::getpid()) + ".pcapng");
  {
    const WallTime wall{std::chrono::seconds{1'700'000'000}};
    auto capture = Capture::create(file, {"in0", "out0"}, wall, VirtualClock::kStart);
    REQUIRE(capture);
    const Bytes packet{0x45, 1, 2, 3, 4};
    capture->write(0, true, packet, VirtualClock::kStart);
    capture->write(1, false, packet, VirtualClock::kStart + std::chrono::nanoseconds{7});
    CHECK(capture->finish());
  }
  const auto found = blocks(file);
  std::filesystem::remove(file);
  REQUIRE(found.size() == 5);
  CHECK(number(found[0], 0) == 0x0A0D0D0A);
  CHECK(number(found[0], 8) == 0x1A2B3C4D);
  for (const std::size_t i : {1U, 2U}) CHECK(number(found[i], 0) == 1);
  CHECK(std::string(found[2].begin() + 20, found[2].begin() + 24) == "out0");
  const auto nanoseconds = [&](const Bytes& block) {
    return (std::uint64_t{number(block, 12)} << 32U) + number(block, 16);
  };
  CHECK(nanoseconds(found[3]) == 1'700'000'000'000'000'000);
  CHECK(nanoseconds(found[4]) == 1'700'000'000'000'000'007);
  for (const std::size_t i : {3U, 4U}) {
    CHECK(number(found[i], 0) == 6);
    CHECK(number(found[i], 8) == (i == 3 ? 0U : 1U));
    CHECK(number(found[i], 20) == 5);
    CHECK(found[i][28] == 0x45);
    CHECK(number(found[i], 40) == (i == 3 ? 1U : 2U));  // epb_flags
  }
}

TEST_CASE("a capture that cannot be written says where and what to do", "[middlebox]") {
  const auto made = Capture::create("/nowhere/at/all.pcapng", {"a", "b"}, WallTime{}, Instant{});
  REQUIRE_FALSE(made);
  CHECK(made.error().message.find("--pcap") != std::string::npos);
}
