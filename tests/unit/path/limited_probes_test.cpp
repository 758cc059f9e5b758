#include "common/path/limited_probes.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::path;
using namespace std::chrono_literals;

namespace {

const Instant kStart{std::chrono::seconds{100}};
const auto kRouter = *IpAddress::parse("10.0.1.1");

/// Native ESP to the headend with this sequence number.
packet::LimitedPacket esp(std::uint32_t sequence) {
  packet::LimitedPacket packet;
  packet.destination = *IpAddress::parse("192.0.2.1");
  packet.protocol = 50;
  Bytes front(40, 0);
  store_be(front.data(), std::uint32_t{0x11223344});
  store_be(front.data() + 4, sequence);
  packet.set_front(front);
  return packet;
}

packet::IcmpQuote quote_of(const packet::LimitedPacket& packet) {
  packet::IcmpQuote quote;
  quote.destination = packet.destination;
  quote.protocol = packet.protocol;
  quote.identification = packet.identification;
  quote.front = ByteView{packet.front}.first(packet.front_octets);
  return quote;
}

}  // namespace

TEST_CASE("an error finds the packet that it quotes, once", "[path]") {
  LimitedProbes probes;
  for (std::uint32_t i = 1; i <= 5; ++i) {
    CHECK_FALSE(probes.handle_sent(i, static_cast<std::uint8_t>(i), esp(i), kStart + i * 10ms));
  }
  const auto third = esp(3);
  const auto answer = probes.handle_quote(quote_of(third), kRouter, kStart + 42ms);
  REQUIRE(answer);
  CHECK(answer->token == 3);
  CHECK(answer->hop_limit == 3);
  CHECK(answer->from == kRouter);
  CHECK(answer->round_trip == 12ms);
  CHECK_FALSE(probes.handle_quote(quote_of(third), kRouter, kStart + 43ms));
  CHECK(probes.waiting() == 4);
}

TEST_CASE("an error may be heard before the word that its packet has left", "[path]") {
  LimitedProbes probes;
  {
    const auto packet = esp(9);  // gone before the answer is asked for
    CHECK_FALSE(probes.handle_quote(quote_of(packet), kRouter, kStart));
  }
  const auto answer = probes.handle_sent(7, 2, esp(9), kStart - 1ms);
  REQUIRE(answer);
  CHECK(answer->token == 7);
  CHECK(answer->round_trip == 1ms);
  CHECK(probes.waiting() == 0);
}

TEST_CASE("what comes too late, or of others, is nothing, and all is bounded", "[path]") {
  LimitedProbes probes;
  (void)probes.handle_sent(1, 1, esp(1), kStart);
  CHECK_FALSE(probes.handle_quote(quote_of(esp(1)), kRouter, kStart + LimitedProbes::kPatience + 1ms));
  for (std::uint32_t i = 0; i < 5000; ++i) {
    const auto stranger = esp(1'000'000 + i);
    CHECK_FALSE(probes.handle_quote(quote_of(stranger), kRouter, kStart + 10s));
    (void)probes.handle_sent(i, 1, esp(i), kStart + 10s);
  }
  CHECK(probes.waiting() == LimitedProbes::kSent);
  CHECK(probes.strangers() >= 5000 - LimitedProbes::kQuotes);
  // The newest are still known.
  CHECK(probes.handle_quote(quote_of(esp(4999)), kRouter, kStart + 11s)->token == 4999);
  CHECK_FALSE(probes.handle_quote(quote_of(esp(1)), kRouter, kStart + 11s));
}
