// Which addresses, routes and policy rules a tunnel needs, computed from what is known; nothing is changed here.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/base/ip_address.h"
#include "common/io/netlink.h"

namespace switchback::client {

/// Numbers that keep one client's policy routing apart from everything else on the host.
struct PolicyNumbers {
  std::uint32_t mark = 0;      // on the client's own outer packets
  std::uint32_t table = 0;     // of the tunnel's routes
  std::uint32_t priority = 0;  // of the first rule; the next kPrioritySpan are the client's too
  friend bool operator==(const PolicyNumbers&, const PolicyNumbers&) = default;
};

inline constexpr std::uint32_t kPrioritySpan = 300;

/// The first numbers that none of the host's rules uses. @param rules  those of both families
[[nodiscard]] PolicyNumbers choose_numbers(const std::vector<io::Rule>& rules);

/// What the headend's answers look like to a lookup of routes.
struct OuterFlow {
  IpAddress headend;
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;  // of the headend; 0: the protocol has none
  friend bool operator==(const OuterFlow&, const OuterFlow&) = default;
};
/// Most flows of one family that get a rule.
inline constexpr std::size_t kMaxOuterFlows = 32;

struct RouteRequest {
  unsigned ifindex = 0;                 // of the TUN
  std::vector<IpPrefix> addresses;      // the tunnel's; assigned as host addresses whatever their length
  std::vector<IpPrefix> routes;         // what goes into the tunnel
  std::vector<IpAddress> name_servers;  // go through the tunnel where it can carry them
  std::vector<IpPrefix> reachable;      // what the Child SA's selectors admit
  std::vector<OuterFlow> outer;         // what carries the tunnel
  PolicyNumbers numbers;
  bool block_leaks = true;
};

struct RoutePlan {
  std::vector<IpPrefix> addresses;
  std::vector<io::Route> routes;
  std::vector<io::Rule> rules;
  bool full_v4 = false, full_v6 = false;        // everything of the family goes into the tunnel
  bool blocked_v4 = false, blocked_v6 = false;  // … or nowhere, so that it does not leak
  friend bool operator==(const RoutePlan&, const RoutePlan&) = default;
};

/// The tunnel's routes stand in a table of their own. Rules make the lookup a longest match over that table and the
/// main one, the tunnel winning ties: for each prefix length L of the tunnel, longest first, "main, but nothing of
/// length <= L" and then "the tunnel's, but nothing shorter than L". With L = 0 alone that is the known rule pair of a
/// full tunnel. The client's own packets carry a mark that skips the tunnel's table, so the way to the headend is
/// whatever the host's routes say at any time, without a host route that could go stale.
///
/// Answers of the headend must pass a strict reverse path filter (rp_filter = 1), which looks up the headend's address
/// without the mark: rules for exactly the headend's ports and protocols send that lookup to the main table.
[[nodiscard]] RoutePlan plan_routes(const RouteRequest& request);

struct AddAddress {
  IpPrefix address;
};
struct DeleteAddress {
  IpPrefix address;
};
struct AddRoute {
  io::Route route;
};
struct DeleteRoute {
  io::Route route;
};
struct AddRule {
  io::Rule rule;
};
struct DeleteRule {
  io::Rule rule;
};
using Change = std::variant<AddAddress, DeleteAddress, AddRoute, DeleteRoute, AddRule, DeleteRule>;

/// The steps from one plan to another, in an order that never opens a gap: what is new comes first, rules last among
/// it; then what is old goes, rules first. Taking everything down is the way to an empty plan.
[[nodiscard]] std::vector<Change> changes(const RoutePlan& from, const RoutePlan& to);

/// Whether the prefixes together hold every address of the family ("0.0.0.0/0", or both of its halves).
[[nodiscard]] bool covers_everything(const std::vector<IpPrefix>& prefixes, IpFamily family);

/// The largest inner packet for a path. @param path_mtu  outer IP packet  @param overhead  of IP, transport, framing
[[nodiscard]] std::uint16_t inner_mtu(unsigned path_mtu, unsigned overhead) noexcept;

}  // namespace switchback::client
