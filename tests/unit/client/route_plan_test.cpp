#include "client/route_plan.h"

#include <algorithm>
#include <catch2/catch.hpp>

namespace switchback::client {
namespace {

IpPrefix prefix(std::string_view text) { return *IpPrefix::parse(text); }
IpAddress address(std::string_view text) { return *IpAddress::parse(text); }

std::vector<OuterFlow> udp_to(const IpAddress& headend) { return {{headend, 17, 4500}, {headend, 17, 500}}; }

constexpr PolicyNumbers kNumbers{52000, 52001, 20000};

RouteRequest request(std::vector<IpPrefix> routes) {
  RouteRequest r;
  r.ifindex = 7;
  r.addresses = {prefix("10.99.0.2/32"), prefix("fd00::2/64")};
  r.routes = std::move(routes);
  r.outer = udp_to(address("192.0.2.1"));
  r.numbers = kNumbers;
  return r;
}

/// Longest match as the kernel walks rules and tables: for an unmarked packet, by main's prefixes and the plan.
/// Returns true if the packet goes into the tunnel's table; `nowhere` tells a route of type unreachable.
struct Walk {
  bool tunnel = false, nowhere = false, found = false;
};
Walk walk(const RoutePlan& plan, const std::vector<IpPrefix>& main, const IpAddress& to, std::uint32_t mark = 0) {
  const auto longest = [&](const std::vector<IpPrefix>& table) -> const IpPrefix* {
    const IpPrefix* best = nullptr;
    for (const auto& entry : table) {
      if (entry.contains(to) && (best == nullptr || entry.length > best->length)) best = &entry;
    }
    return best;
  };
  std::vector<IpPrefix> tunnel;
  for (const auto& route : plan.routes) tunnel.push_back(route.destination);
  auto rules = plan.rules;
  std::stable_sort(rules.begin(), rules.end(), [](auto& a, auto& b) { return a.priority < b.priority; });
  for (const auto& rule : rules) {
    if (rule.family != to.family() || rule.to) continue;
    if (rule.mark != 0 && (rule.mark == mark) == rule.invert) continue;
    const bool own = rule.table == kNumbers.table;
    const auto* hit = longest(own ? tunnel : main);
    if (hit == nullptr) continue;
    if (rule.suppress_prefix_length && hit->length <= *rule.suppress_prefix_length) continue;
    bool nowhere = false;
    for (const auto& route : plan.routes) {
      nowhere = nowhere || (own && route.destination == *hit && route.kind == io::RouteKind::unreachable);
    }
    return {own && !nowhere, nowhere, true};
  }
  const auto* hit = longest(main);
  return {false, false, hit != nullptr};
}

const std::vector<IpPrefix> kHome{prefix("0.0.0.0/0"), prefix("192.168.1.0/24"), prefix("::/0"),
                                  prefix("2001:db8:aa::/64")};

}  // namespace

TEST_CASE("a full tunnel takes everything but the local network and its own packets", "[routes]") {
  const auto plan = plan_routes(request({prefix("0.0.0.0/0"), prefix("::/0")}));
  CHECK(plan.full_v4);
  CHECK(plan.full_v6);
  CHECK(walk(plan, kHome, address("203.0.113.9")).tunnel);
  CHECK(walk(plan, kHome, address("2001:db8:ffff::1")).tunnel);
  CHECK_FALSE(walk(plan, kHome, address("192.168.1.50")).tunnel);
  CHECK_FALSE(walk(plan, kHome, address("2001:db8:aa::5")).tunnel);
  SECTION("marked packets follow the main table even to the headend inside the tunnel's routes") {
    CHECK_FALSE(walk(plan, kHome, address("192.0.2.1"), kNumbers.mark).tunnel);
    CHECK_FALSE(walk(plan, kHome, address("203.0.113.9"), kNumbers.mark).tunnel);
  }
  SECTION("whatever the host's default route becomes, the tunnel's packets keep using it") {
    const std::vector<IpPrefix> elsewhere{prefix("0.0.0.0/0"), prefix("172.20.0.0/16")};
    CHECK(walk(plan, elsewhere, address("192.0.2.1"), kNumbers.mark).found);
    CHECK(walk(plan, elsewhere, address("192.0.2.77")).tunnel);
  }
}

TEST_CASE("a full tunnel is the rule pair that wg-quick made known", "[routes]") {
  auto r = request({prefix("0.0.0.0/0")});
  r.outer = udp_to(address("2001:db8::1"));  // of the other family: no rules for its answers here
  r.addresses = {prefix("10.99.0.2/32")};
  r.block_leaks = false;
  const auto plan = plan_routes(r);
  REQUIRE(plan.rules.size() == 2);
  CHECK(plan.rules[0].table == io::kMainTable);
  CHECK(plan.rules[0].suppress_prefix_length == 0U);
  CHECK(plan.rules[1].table == kNumbers.table);
  CHECK(plan.rules[1].mark == kNumbers.mark);
  CHECK(plan.rules[1].invert);
  CHECK_FALSE(plan.rules[1].suppress_prefix_length.has_value());
  CHECK(plan.rules[0].priority < plan.rules[1].priority);
  REQUIRE(plan.routes.size() == 1);
  CHECK(plan.routes[0].preferred_source == address("10.99.0.2"));
  CHECK(plan.addresses == std::vector{prefix("10.99.0.2/32")});
}

TEST_CASE("a split tunnel is a longest match over both tables", "[routes]") {
  const auto plan = plan_routes(request({prefix("10.0.0.0/8"), prefix("10.20.30.0/24"), prefix("172.16.0.0/12")}));
  CHECK_FALSE(plan.full_v4);
  const std::vector<IpPrefix> main{prefix("0.0.0.0/0"), prefix("10.20.0.0/16"), prefix("172.17.0.0/16"),
                                   prefix("172.0.0.0/8")};
  CHECK(walk(plan, main, address("10.1.1.1")).tunnel);          // /8 beats the default
  CHECK_FALSE(walk(plan, main, address("10.20.1.1")).tunnel);   // main's /16 beats the tunnel's /8
  CHECK(walk(plan, main, address("10.20.30.1")).tunnel);        // the tunnel's /24 beats main's /16
  CHECK_FALSE(walk(plan, main, address("172.17.0.2")).tunnel);  // a container network stays
  CHECK(walk(plan, main, address("172.18.0.2")).tunnel);        // /12 beats main's /8
  CHECK_FALSE(walk(plan, main, address("203.0.113.9")).tunnel);
  CHECK(walk(plan, {prefix("10.0.0.0/8")}, address("10.1.1.1")).tunnel);  // a tie goes to the tunnel
}

TEST_CASE("the headend inside a tunnelled network is still reached outside", "[routes]") {
  const auto plan = plan_routes(request({prefix("192.0.2.0/24")}));
  CHECK(walk(plan, kHome, address("192.0.2.50")).tunnel);
  CHECK_FALSE(walk(plan, kHome, address("192.0.2.1"), kNumbers.mark).tunnel);
  std::vector<std::uint16_t> ports;
  for (const auto& rule : plan.rules) {
    if (!rule.to) continue;
    CHECK(*rule.to == prefix("192.0.2.1/32"));
    CHECK(rule.ip_protocol == 17);
    CHECK(rule.table == io::kMainTable);
    ports.push_back(rule.destination_port);
  }
  CHECK(ports == std::vector<std::uint16_t>{4500, 500});
}

TEST_CASE("IPv6 does not leak past a full IPv4 tunnel", "[routes]") {
  auto r = request({prefix("0.0.0.0/0")});
  r.addresses = {prefix("10.99.0.2/32")};
  const auto plan = plan_routes(r);
  CHECK(plan.blocked_v6);
  CHECK_FALSE(plan.blocked_v4);
  CHECK(walk(plan, kHome, address("2001:db8:ffff::1")).nowhere);
  CHECK(walk(plan, kHome, address("2001:db8:aa::5")).found);  // the local network is not the internet
  CHECK_FALSE(walk(plan, kHome, address("2001:db8:aa::5")).nowhere);
  CHECK_FALSE(walk(plan, kHome, address("2001:db8::1"), kNumbers.mark).nowhere);
  SECTION("unless the profile says so") {
    r.block_leaks = false;
    const auto open = plan_routes(r);
    CHECK_FALSE(open.blocked_v6);
    CHECK_FALSE(walk(open, kHome, address("2001:db8:ffff::1")).nowhere);
  }
  SECTION("and not for a split tunnel") {
    r.routes = {prefix("10.0.0.0/8")};
    CHECK_FALSE(plan_routes(r).blocked_v6);
  }
}

TEST_CASE("routes of a family without an address are left out", "[routes]") {
  auto r = request({prefix("10.0.0.0/8"), prefix("2001:db8:1::/48")});
  r.addresses = {prefix("10.99.0.2/32")};
  const auto plan = plan_routes(r);
  REQUIRE(plan.routes.size() == 1);
  CHECK(plan.routes[0].destination == prefix("10.0.0.0/8"));
}

TEST_CASE("a pushed name server is asked through the tunnel where the SA admits it", "[routes]") {
  auto r = request({prefix("10.0.0.0/8")});
  r.name_servers = {address("10.1.1.1"), address("172.16.5.5"), address("9.9.9.9")};
  r.reachable = {prefix("10.0.0.0/8"), prefix("172.16.0.0/12")};
  const auto plan = plan_routes(r);
  std::vector<IpPrefix> destinations;
  for (const auto& route : plan.routes) destinations.push_back(route.destination);
  CHECK(destinations == std::vector{prefix("10.0.0.0/8"), prefix("172.16.5.5/32")});
}

TEST_CASE("everything may be said in pieces", "[routes]") {
  CHECK(covers_everything({prefix("0.0.0.0/0")}, IpFamily::v4));
  CHECK(covers_everything({prefix("0.0.0.0/1"), prefix("128.0.0.0/1")}, IpFamily::v4));
  CHECK(covers_everything({prefix("::/1"), prefix("8000::/2"), prefix("c000::/2")}, IpFamily::v6));
  CHECK_FALSE(covers_everything({prefix("0.0.0.0/1")}, IpFamily::v4));
  CHECK_FALSE(covers_everything({prefix("0.0.0.0/0")}, IpFamily::v6));
  CHECK_FALSE(covers_everything({}, IpFamily::v4));
}

TEST_CASE("taking everything down removes exactly what was added", "[routes]") {
  const auto plan = plan_routes(request({prefix("0.0.0.0/0"), prefix("10.0.0.0/8"), prefix("::/0")}));
  std::size_t added = 0, removed = 0;
  for (const auto& step : changes({}, plan)) {
    added += std::holds_alternative<AddAddress>(step) || std::holds_alternative<AddRoute>(step) ||
             std::holds_alternative<AddRule>(step);
  }
  const auto down = changes(plan, {});
  for (const auto& step : down) {
    removed += std::holds_alternative<DeleteAddress>(step) || std::holds_alternative<DeleteRoute>(step) ||
               std::holds_alternative<DeleteRule>(step);
  }
  CHECK(added == plan.addresses.size() + plan.routes.size() + plan.rules.size());
  CHECK(removed == added);
  CHECK(std::holds_alternative<DeleteRule>(down.front()));  // nothing points into an empty table
  CHECK(changes(plan, plan).empty());
}

TEST_CASE("another inner address replaces routes without a moment without them", "[routes]") {
  const auto before = plan_routes(request({prefix("0.0.0.0/0")}));
  auto r = request({prefix("0.0.0.0/0")});
  r.addresses = {prefix("10.99.0.3/32"), prefix("fd00::2/64")};
  for (const auto& step : changes(before, plan_routes(r))) {
    CHECK_FALSE(std::holds_alternative<DeleteRoute>(step));
    CHECK_FALSE(std::holds_alternative<DeleteRule>(step));
  }
}

TEST_CASE("numbers that other software uses are avoided", "[routes]") {
  const auto first = choose_numbers({});
  io::Rule taken;
  taken.table = first.table;
  CHECK(choose_numbers({taken}).table != first.table);
  taken = {};
  taken.mark = first.mark;
  CHECK(choose_numbers({taken}).mark != first.mark);
  taken = {};
  taken.priority = first.priority + 5;
  CHECK(choose_numbers({taken}).priority == first.priority + kPrioritySpan);
}

TEST_CASE("the rules of all prefix lengths fit the span of priorities", "[routes]") {
  std::vector<IpPrefix> routes;
  for (unsigned length = 0; length <= 128; ++length) {
    routes.push_back({IpPrefix{address("2001:db8::1"), static_cast<std::uint8_t>(length)}.first(),
                      static_cast<std::uint8_t>(length)});
  }
  auto r = request(routes);
  r.outer = udp_to(address("2001:db8::1"));
  for (const auto& rule : plan_routes(r).rules) CHECK(rule.priority < kNumbers.priority + kPrioritySpan);
}

TEST_CASE("the inner MTU fills the path and ends on ESP's boundary", "[mtu][rfc4303]") {
  // 1500 - 20 (IP) - 8 (UDP) = 1472 octets of ESP: 8 header, 8 IV, 1440 payload with trailer, 16 tag.
  CHECK(inner_mtu(1500, 28) == 1438);
  CHECK(inner_mtu(1500, 48) == 1418);
  CHECK(inner_mtu(1499, 28) == 1434);
  CHECK(inner_mtu(9000, 28) == 8938);
  CHECK(inner_mtu(100, 28) == 576);
  CHECK(inner_mtu(0, 28) == 576);
  for (unsigned mtu = 700; mtu < 1600; ++mtu) {
    const unsigned inner = inner_mtu(mtu, 28);
    const auto outer = [](unsigned octets) { return 28 + 8 + 8 + (octets + 2 + 3) / 4 * 4 + 16; };
    CHECK(outer(inner) <= mtu);
    CHECK(outer(inner + 1) > mtu);
  }
}

}  // namespace switchback::client
