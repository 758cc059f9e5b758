#include "tools/middlebox/rules.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::middlebox;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("an impairment is read from text", "[middlebox]") {
  const auto rules =
      parse_impairment("loss=3%,delay=20ms,jitter=1.5ms,rate=10M,queue=30000,lose=3/17,mtu=1280,no-icmp");
  REQUIRE(rules);
  CHECK(rules->loss == Approx(0.03));
  CHECK(rules->delay == milliseconds{20});
  CHECK(rules->jitter == std::chrono::microseconds{1500});
  CHECK(rules->rate == Approx(1'250'000));
  CHECK(rules->queue_octets == 30000);
  CHECK(rules->lose == std::set<std::uint64_t>{3, 17});
  CHECK(rules->mtu == 1280);
  CHECK_FALSE(rules->mtu_icmp);
  CHECK(parse_impairment("")->none());
}

TEST_CASE("what makes no sense is refused with what to write instead", "[middlebox]") {
  for (const auto* text : {"loss=3x", "loss=130%", "loss=-1%", "delay=20", "rate=0", "mtu=20", "lost=1%", "lose=a"}) {
    INFO(text);
    CHECK_FALSE(parse_impairment(text));
  }
  BoxRules rules;
  for (const auto* text :
       {"nonsense", "inspect:tcp/0", "inspect:gre", "idle=5", "nat=here", "throttle=", "block:esp/5"}) {
    INFO(text);
    CHECK_FALSE(add_profile(rules, text));
  }
  CHECK(add_profile(rules, "nonsense").error().message.find("inspect-dupack") != std::string::npos);
}

TEST_CASE("profiles go into their lists with what they match", "[middlebox]") {
  BoxRules rules;
  for (const auto* text : {"inspect:tcp/10000", "block:udp", "block-icmp:esp", "idle-rst=350s:tcp",
                           "throttle=2M:udp/4500", "rst-block=50:tcp", "nat=192.0.2.77/60s", "nat=2001:db8::77"}) {
    INFO(text);
    REQUIRE(add_profile(rules, text));
  }
  REQUIRE(rules.devices.size() == 1);
  CHECK(rules.devices[0].profile->name == "inspect");
  CHECK(rules.devices[0].match.port == 10000);
  CHECK(rules.blocks.size() == 2);
  CHECK(rules.blocks[1].how == BlockRule::How::icmp);
  CHECK(rules.idle[0].after == seconds{350});
  CHECK(rules.throttles[0].rate == Approx(250'000));
  CHECK(rules.resets[0].then_block);
  CHECK(rules.nat[0].rebind_after_idle == seconds{60});
  CHECK(rules.nat[1].address.is_v6());
}

TEST_CASE("every device profile has a name of its own, a summary and a source", "[middlebox]") {
  std::set<std::string_view> names;
  for (const auto& profile : device_profiles()) {
    CHECK(names.insert(profile.name).second);
    CHECK_FALSE(profile.summary.empty());
    CHECK_FALSE(profile.source.empty());
    CHECK(find_profile(profile.name) == &profile);
  }
}
