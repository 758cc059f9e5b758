#include "tools/middlebox/rules.h"

#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>

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
  for (const auto* text : {"nonsense", "inspect:tcp/0", "inspect:gre", "idle=5", "nat=here", "throttle=", "block:esp/5",
                           "edit=isn,strip=mss", "edit=mss=10", "proxy=0", "inspect=3",
                           "lose-outward=", "udp-blocked:tcp", "nat=192.0.2.1/at=x", "block:!gre"}) {
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
  CHECK(rules.devices[0].name == "inspect");
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
    if (!profile.alias.empty()) CHECK(names.insert(profile.alias).second);
    CHECK_FALSE(profile.summary.empty());
    CHECK_FALSE(profile.source.empty());
    CHECK(find_profile(profile.name) == &profile);
  }
}

TEST_CASE("the networks and devices that tests speak of have these names", "[middlebox]") {
  for (const auto* name :
       {"plain",        "strict-conntrack", "old-conntrack",    "synproxy",     "full-proxy",  "full-proxy-split",
        "asa-default",  "asa-inspect",      "asa-proxyish",     "ios-inspect",  "panos",       "ips-hold",
        "ips-watch",    "ips-watch-silent", "ips-skip",         "snort-inline", "drop-ooo",    "paranoid",
        "nat-350s-rst", "nat-240s-rst",     "nat-1200s-silent", "udp-blocked",  "esp-blocked", "tcp-only-443"}) {
    INFO(name);
    BoxRules rules;
    CHECK(add_profile(rules, name));
    CHECK(rules.devices.size() + rules.idle.size() + rules.blocks.size() > 0);
  }
}

TEST_CASE("devices with values, and all but something", "[middlebox]") {
  BoxRules rules;
  for (const auto* text : {"edit=isn,strip=sack/ts/wscale,mss=1200:tcp/10000", "lose-outward=3/17", "proxy=700",
                           "proxy-coalesce=20ms", "block-syn:!tcp/443", "nat=192.0.2.1/60s/at=30s/at=10s"}) {
    INFO(text);
    REQUIRE(add_profile(rules, text));
  }
  CHECK(rules.devices.size() == 4);
  CHECK(rules.blocks[0].syn_only);
  CHECK(rules.rebind_at == std::vector<Duration>{seconds{10}, seconds{30}});
  const auto flow = [](std::uint8_t protocol, std::uint16_t port) {
    return FlowKey{protocol, {IpAddress::v4(1), 5}, {IpAddress::v4(2), port}};
  };
  CHECK_FALSE(rules.blocks[0].match.matches(flow(6, 443)));
  CHECK(rules.blocks[0].match.matches(flow(6, 80)));
  CHECK(rules.blocks[0].match.matches(flow(17, 443)));
}

TEST_CASE("the manual has every profile with what it does and its source", "[middlebox]") {
  std::ifstream file{std::string{SB_SOURCE_DIR} + "/docs/middlebox.md"};
  std::ostringstream page;
  page << file.rdbuf();
  const auto has = [&](std::string_view text) { return page.str().find(text) != std::string::npos; };
  for (const auto& profile : device_profiles()) {
    INFO(profile.name);
    CHECK(has("| `" + std::string{profile.name} + "` |"));
    CHECK((profile.alias.empty() || has("| `" + std::string{profile.alias} + "` |")));
    CHECK(has(profile.summary));
    CHECK(has(profile.source));
  }
  for (const auto& network : network_profiles()) {
    INFO(network.name);
    CHECK(has("| `" + std::string{network.name} + "` |"));
    CHECK(has(network.summary));
    CHECK(has(network.source));
  }
}
