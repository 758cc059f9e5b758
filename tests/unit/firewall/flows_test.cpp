#include "tools/firewall/flows.h"

#include <catch2/catch.hpp>
#include <map>

#include "tools/firewall/sheet.h"

using namespace switchback;
using namespace switchback::firewall;

namespace {

/// A resolver that knows these names only.
Lookup knowing(std::map<std::string, std::vector<std::string>> names) {
  return [names = std::move(names)](const std::string& name) -> Result<std::vector<IpAddress>, std::string> {
    const auto found = names.find(name);
    if (found == names.end()) return fail(std::string{"Name or service not known"});
    std::vector<IpAddress> out;
    for (const auto& text : found->second) out.push_back(*IpAddress::parse(text));
    return out;
  };
}

std::string refusal(const std::vector<std::string>& addresses) {
  Flows flows;
  const auto result = set_addresses(flows, addresses, knowing({{"empty.example.org", {}}}));
  return result ? "accepted" : result.error().message;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

using Ports = std::vector<std::uint16_t>;

}  // namespace

TEST_CASE("a profile's transports, ports, addresses and names become flows", "[firewall]") {
  profile::Profile profile;
  profile.headend.addresses = {"192.0.2.1", "vpn.example.org"};
  profile.headend.ike_port = 1500;
  profile.transports.ctcp_ports = {10001, 10000};
  const auto flows = from_profile(profile, knowing({{"vpn.example.org", {"2001:db8::1", "192.0.2.1"}}}));
  REQUIRE(flows);
  CHECK(flows->addresses == std::vector{*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")});
  CHECK(flows->names == std::vector<std::string>{"vpn.example.org"});
  CHECK(flows->udp == Ports{1500, 4500});
  CHECK(flows->esp);
  CHECK(flows->ctcp == Ports{10000, 10001});
  CHECK(flows->tcp == Ports{443, 4500});
  CHECK(all_tcp(*flows) == Ports{443, 4500, 10000, 10001});
}

TEST_CASE("transports that are off need no rules", "[firewall]") {
  profile::Profile profile;
  profile.headend.addresses = {"192.0.2.1"};
  profile.transports.order = {"tls"};
  const auto flows = from_profile(profile, knowing({}));
  REQUIRE(flows);
  CHECK(flows->udp.empty());
  CHECK_FALSE(flows->esp);
  CHECK(flows->ctcp.empty());
  CHECK(flows->tcp == Ports{443});
}

TEST_CASE("a headend's configuration becomes flows", "[firewall]") {
  headend::Config config;
  config.addresses = {"2001:db8::1"};
  config.transports.enabled = {"udp", "ctcp", "tcp"};
  config.transports.tcp_port = 4501;
  const auto flows = from_headend(config, knowing({}));
  REQUIRE(flows);
  CHECK(flows->addresses == std::vector{*IpAddress::parse("2001:db8::1")});
  CHECK(flows->udp == Ports{500, 4500});
  CHECK_FALSE(flows->esp);
  CHECK(flows->ctcp == Ports{10000});
  CHECK(flows->tcp == Ports{4501});
}

TEST_CASE("names that cannot be looked up and addresses of no host are refused in a sentence", "[firewall]") {
  CHECK(has(refusal({"vpn.example.org"}), "vpn.example.org has no address here: Name or service not known"));
  CHECK(has(refusal({"empty.example.org"}), "the answer was empty"));
  CHECK(has(refusal({"0.0.0.0"}), "no host's address"));
  CHECK(has(refusal({"::"}), "no host's address"));
  CHECK(has(refusal({"127.0.0.1"}), "loopback"));
  CHECK(has(refusal({"::1"}), "loopback"));
  CHECK(has(refusal({"224.0.0.1"}), "one host"));
  CHECK(has(refusal({"255.255.255.255"}), "one host"));
  CHECK(has(refusal({"ff02::1"}), "one host"));
  CHECK(has(refusal({"::ffff:192.0.2.1"}), "write it as IPv4"));
  CHECK(has(refusal({}), "no address"));
  CHECK(refusal({"192.0.2.1"}) == "accepted");
}

TEST_CASE("what is neither an address nor a name is refused, and the message cannot hurt a terminal", "[firewall]") {
  for (const std::string text :
       {"192.0.2.1; reboot", "192.0.2.1\nreload", "$(reboot)", "`reboot`", "192.0.2.1/0", "any", "2001:db8::1%eth0", "",
        "a b", "-j ACCEPT", "vpn.example.org'", "\x1b[2Jvpn", "vpn\r.example.org"}) {
    const auto message = refusal({text});
    INFO(text);
    if (text == "any") {  // a host name like any other: one that nobody knows
      CHECK(has(message, "no address here"));
      continue;
    }
    CHECK(has(message, "neither an IP address nor a host name"));
    CHECK(message.find_first_of("\n\r\x1b") == std::string::npos);
  }
}

TEST_CASE("a name with many addresses makes no flood of rules", "[firewall]") {
  std::vector<std::string> many;
  for (int i = 1; i <= 17; ++i) many.push_back("192.0.2." + std::to_string(i));
  Flows flows;
  const auto result = set_addresses(flows, {"vpn.example.org"}, knowing({{"vpn.example.org", many}}));
  REQUIRE_FALSE(result);
  CHECK(has(result.error().message, "more than 16"));
  many.pop_back();
  CHECK(set_addresses(flows, {"vpn.example.org"}, knowing({{"vpn.example.org", many}})));
}

TEST_CASE("clients narrow the pairs to their own family", "[firewall]") {
  auto flows = from_addresses({"192.0.2.1", "2001:db8::1"}, knowing({}));
  REQUIRE(flows);
  CHECK(pairs(*flows).size() == 2);
  REQUIRE(set_clients(*flows, {"10.1.2.3/16", "10.2.0.0/16"}));
  const auto both = pairs(*flows);
  REQUIRE(both.size() == 2);
  CHECK(both[0].client->to_string() == "10.1.0.0/16");
  CHECK(both[1].client->to_string() == "10.2.0.0/16");
  CHECK(both[1].headend == *IpAddress::parse("192.0.2.1"));
  CHECK_FALSE(set_clients(*flows, {"10.0.0.0/33"}));
  CHECK_FALSE(set_clients(*flows, {"any"}));
  auto v6_only = from_addresses({"2001:db8::1"}, knowing({}));
  REQUIRE(v6_only);
  CHECK_FALSE(set_clients(*v6_only, {"10.0.0.0/8"}));
}

TEST_CASE("masks are those that Cisco writes", "[firewall]") {
  CHECK(mask(*IpPrefix::parse("10.0.0.0/8")) == "255.0.0.0");
  CHECK(mask(*IpPrefix::parse("10.0.0.0/8"), true) == "0.255.255.255");
  CHECK(mask(*IpPrefix::parse("192.0.2.1/32")) == "255.255.255.255");
  CHECK(mask(*IpPrefix::parse("0.0.0.0/0")) == "0.0.0.0");
  CHECK(mask(*IpPrefix::parse("0.0.0.0/0"), true) == "255.255.255.255");
}
