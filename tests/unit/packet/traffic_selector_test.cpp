#include <catch2/catch.hpp>

#include "common/packet/selector_matcher.h"
#include "common/packet/traffic_selector.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::packet;
using switchback::testing::make_ip;
using switchback::testing::make_tcp;
using switchback::testing::PacketSpec;

namespace {

TrafficSelector prefix(const char* text) { return from_prefix(*IpPrefix::parse(text)); }
IpAddress address(const char* text) { return *IpAddress::parse(text); }
TrafficSelector range(const char* first, const char* last) { return {0, 0, 65535, address(first), address(last)}; }
TrafficSelector with(TrafficSelector selector, std::uint8_t protocol, std::uint16_t first, std::uint16_t last) {
  selector.ip_protocol = protocol;
  selector.first_port = first;
  selector.last_port = last;
  return selector;
}

}  // namespace

TEST_CASE("everything narrowed to one address is that address", "[packet][ts][rfc7296]") {
  // What strongSwan's and our client offers, and what the headend's policy leaves of it.
  const TrafficSelectors offered{prefix("0.0.0.0/0"), prefix("::/0")};
  const TrafficSelectors policy{prefix("10.99.0.2/32"), prefix("fd00::2/128")};
  CHECK(narrow(offered, policy) == policy);
}

TEST_CASE("narrowing keeps the initiator's order", "[packet][ts][rfc7296]") {
  const TrafficSelectors offered{prefix("192.168.0.0/16"), prefix("10.0.0.0/8")};
  const TrafficSelectors policy{prefix("10.1.0.0/16"), prefix("192.168.7.0/24")};
  CHECK(narrow(offered, policy) == TrafficSelectors{prefix("192.168.7.0/24"), prefix("10.1.0.0/16")});
}

TEST_CASE("selectors of other families, protocols or ports have nothing in common", "[packet][ts]") {
  CHECK_FALSE(intersect(prefix("0.0.0.0/0"), prefix("::/0")));
  CHECK_FALSE(intersect(with(prefix("0.0.0.0/0"), 6, 0, 65535), with(prefix("0.0.0.0/0"), 17, 0, 65535)));
  CHECK_FALSE(intersect(with(prefix("0.0.0.0/0"), 6, 1, 10), with(prefix("0.0.0.0/0"), 6, 11, 20)));
  CHECK(narrow(TrafficSelectors{prefix("10.0.0.0/8")}, TrafficSelectors{prefix("11.0.0.0/8")}).empty());
}

TEST_CASE("any protocol intersected with TCP is TCP", "[packet][ts]") {
  const auto tcp = with(prefix("10.0.0.0/24"), 6, 80, 443);
  CHECK(intersect(prefix("10.0.0.0/8"), tcp) == tcp);
  CHECK(intersect(tcp, prefix("10.0.0.0/8")) == tcp);
}

TEST_CASE("OPAQUE meets only any ports and OPAQUE", "[packet][ts][rfc7296]") {
  const auto opaque = with(prefix("10.0.0.0/8"), 6, 65535, 0);
  CHECK(is_valid(opaque));
  CHECK(intersect(opaque, prefix("10.0.0.0/8")) == opaque);
  CHECK(intersect(opaque, opaque) == opaque);
  CHECK_FALSE(intersect(opaque, with(prefix("10.0.0.0/8"), 6, 80, 80)));
  CHECK(contains(opaque, address("10.0.0.1"), 6, std::nullopt));
  CHECK_FALSE(contains(opaque, address("10.0.0.1"), 6, 80));
  CHECK_FALSE(contains(with(opaque, 6, 80, 80), address("10.0.0.1"), 6, std::nullopt));
}

TEST_CASE("invalid selectors match nothing", "[packet][ts][hostile]") {
  const auto reversed = range("10.0.0.9", "10.0.0.1");
  const auto mixed = range("10.0.0.1", "fd00::1");
  const auto ports = with(prefix("10.0.0.0/8"), 6, 20, 10);
  for (const auto& selector : {reversed, mixed, ports, TrafficSelector{}}) {
    CHECK_FALSE(is_valid(selector));
    CHECK_FALSE(contains(selector, address("10.0.0.5")));
    CHECK_FALSE(intersect(selector, prefix("10.0.0.0/8")));
    CHECK(to_prefixes(selector).empty());
    CHECK(selector.to_string() == "invalid");
  }
  CHECK_FALSE(contains(prefix("0.0.0.0/0"), IpAddress{}));
}

TEST_CASE("intersections covered by others are left out", "[packet][ts]") {
  const TrafficSelectors a{prefix("10.0.0.0/24"), prefix("10.0.0.0/8")};
  const TrafficSelectors b{prefix("0.0.0.0/0")};
  CHECK(intersect(a, b) == TrafficSelectors{prefix("10.0.0.0/8")});
}

TEST_CASE("lists never grow past what a payload can count", "[packet][ts][hostile]") {
  TrafficSelectors many;
  for (unsigned i = 0; i < 1000; ++i) many.push_back(from_host(IpAddress::v4(0x0A000000U + 2 * i)));
  CHECK(intersect(many, TrafficSelectors{prefix("10.0.0.0/8")}).size() == kMaxTrafficSelectors);
}

TEST_CASE("a range becomes its fewest prefixes", "[packet][ts]") {
  const auto text = [](const TrafficSelector& selector) {
    std::string all;
    for (const auto& p : to_prefixes(selector)) all += p.to_string() + " ";
    return all;
  };
  CHECK(text(prefix("0.0.0.0/0")) == "0.0.0.0/0 ");
  CHECK(text(prefix("::/0")) == "::/0 ");
  CHECK(text(range("10.0.0.1", "10.0.0.6")) == "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32 ");
  CHECK(text(range("255.255.255.255", "255.255.255.255")) == "255.255.255.255/32 ");
  CHECK(text(range("fd00::", "fd00::ffff")) == "fd00::/112 ");
  CHECK(to_prefixes(range("0.0.0.1", "255.255.255.254")).size() == 62);
  CHECK(to_prefixes(range("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")).size() == 254);
}

TEST_CASE("the prefixes of a list hold no one twice", "[packet][ts]") {
  const TrafficSelectors list{prefix("10.1.0.0/16"), prefix("10.0.0.0/8"), prefix("10.0.0.0/8"), prefix("fd00::/8")};
  CHECK(to_prefixes(std::span{list}) ==
        std::vector<IpPrefix>{*IpPrefix::parse("10.0.0.0/8"), *IpPrefix::parse("fd00::/8")});
}

TEST_CASE("selectors read like what people write", "[packet][ts]") {
  CHECK(prefix("10.0.0.0/8").to_string() == "10.0.0.0/8");
  CHECK(range("10.0.0.1", "10.0.0.9").to_string() == "10.0.0.1-10.0.0.9");
  CHECK(with(prefix("192.0.2.7/32"), 6, 443, 443).to_string() == "192.0.2.7/32[tcp/443]");
  CHECK(with(prefix("::/0"), 17, 1000, 2000).to_string() == "::/0[udp/1000-2000]");
  CHECK(with(prefix("::/0"), 58, 0, 65535).to_string() == "::/0[icmpv6]");
  CHECK(with(prefix("::/0"), 50, 65535, 0).to_string() == "::/0[50/opaque]");
  CHECK(to_string(TrafficSelectors{prefix("10.0.0.0/8"), prefix("::/0")}) == "10.0.0.0/8, ::/0");
}

TEST_CASE("the compiled matcher looks at protocol and ports where a selector asks", "[packet][ts]") {
  PacketSpec spec;
  spec.source = "10.0.0.1";
  spec.destination = "10.0.0.2";
  spec.destination_port = 443;
  const auto packet = make_tcp(spec);
  const auto ip = *parse_ip(packet);
  const TrafficSelectors https{with(prefix("10.0.0.0/24"), 6, 443, 443)};
  const TrafficSelectors http{with(prefix("10.0.0.0/24"), 6, 80, 80)};
  CHECK(SelectorMatcher{https}.matches_destination(packet, ip));
  CHECK_FALSE(SelectorMatcher{https}.matches_source(packet, ip));
  CHECK_FALSE(SelectorMatcher{http}.matches_destination(packet, ip));
  CHECK_FALSE(SelectorMatcher{}.matches_destination(packet, ip));
  CHECK(SelectorMatcher{}.empty());
}
