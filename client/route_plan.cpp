#include "client/route_plan.h"

#include <netinet/in.h>

#include <algorithm>
#include <functional>
#include <set>

#include "common/esp/sa.h"

namespace switchback::client {
namespace {

constexpr std::uint32_t kFirstNumber = 52000;
constexpr std::uint32_t kFirstPriority = 20000;
constexpr std::uint32_t kChoices = 40;  // keeps priorities below those of the main table's rule, 32766

/// Half of what remains after each split, at most 2^bits in theory; a list is short, so the plain recursion is fine.
bool holds(const std::vector<IpPrefix>& prefixes, const IpPrefix& whole, unsigned depth) {
  const bool by_one = std::any_of(prefixes.begin(), prefixes.end(), [&](const IpPrefix& prefix) {
    return prefix.length <= whole.length && prefix.contains(whole.address);
  });
  if (by_one) return true;
  const bool some_inside = std::any_of(prefixes.begin(), prefixes.end(), [&](const IpPrefix& prefix) {
    return prefix.length > whole.length && whole.contains(prefix.address);
  });
  if (!some_inside || depth == 0 || whole.length >= whole.address.bits()) return false;
  const auto length = static_cast<std::uint8_t>(whole.length + 1);
  const IpPrefix low{whole.first(), length};
  const IpPrefix high{IpPrefix{whole.last(), length}.first(), length};
  return holds(prefixes, low, depth - 1) && holds(prefixes, high, depth - 1);
}

struct FamilyPlan {
  IpFamily family;
  const RouteRequest& request;
  RoutePlan& plan;

  /// Rules for these prefix lengths, longest first, after those that let the headend's answers in.
  void add_rules(const std::set<std::uint8_t, std::greater<>>& lengths) const {
    const auto& numbers = request.numbers;
    auto priority = numbers.priority;
    std::size_t flows = 0;
    for (const auto& flow : request.outer) {
      if (flow.headend.family() != family || flows++ == kMaxOuterFlows) continue;
      io::Rule bypass;
      bypass.family = family;
      bypass.priority = priority++;
      bypass.to = IpPrefix::host(flow.headend);
      bypass.ip_protocol = flow.protocol;
      bypass.destination_port = flow.port;
      plan.rules.push_back(bypass);
    }
    for (const auto length : lengths) {
      io::Rule main;
      main.family = family;
      main.priority = priority++;
      main.suppress_prefix_length = length;
      plan.rules.push_back(main);
      io::Rule tunnel;
      tunnel.family = family;
      tunnel.priority = priority++;
      tunnel.table = numbers.table;
      tunnel.mark = numbers.mark;
      tunnel.invert = true;
      if (length != 0) tunnel.suppress_prefix_length = length - 1U;
      plan.rules.push_back(tunnel);
    }
  }
};

}  // namespace

PolicyNumbers choose_numbers(const std::vector<io::Rule>& rules) {
  for (std::uint32_t i = 0; i < kChoices; ++i) {
    const PolicyNumbers numbers{kFirstNumber + i, kFirstNumber + i, kFirstPriority + i * kPrioritySpan};
    const bool taken = std::any_of(rules.begin(), rules.end(), [&](const io::Rule& rule) {
      return rule.table == numbers.table || rule.mark == numbers.mark ||
             (rule.priority >= numbers.priority && rule.priority < numbers.priority + kPrioritySpan);
    });
    if (!taken) return numbers;
  }
  return {kFirstNumber, kFirstNumber, kFirstPriority};
}

bool covers_everything(const std::vector<IpPrefix>& prefixes, IpFamily family) {
  std::vector<IpPrefix> same;
  for (const auto& prefix : prefixes) {
    if (prefix.address.family() == family) same.push_back(prefix);
  }
  // People write "all" in up to four pieces; a list of hundreds of prefixes that adds up to all is not meant as that.
  return holds(same, {IpAddress::any(family), 0}, 8);
}

RoutePlan plan_routes(const RouteRequest& request) {
  RoutePlan plan;
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    IpAddress source;
    for (const auto& address : request.addresses) {
      if (address.address.family() != family) continue;
      plan.addresses.push_back(IpPrefix::host(address.address));
      if (source.empty()) source = address.address;
    }

    const bool full = covers_everything(request.routes, family);
    const auto other = family == IpFamily::v4 ? IpFamily::v6 : IpFamily::v4;
    const FamilyPlan rules{family, request, plan};
    if (source.empty()) {
      // Nothing of this family can go through. It must not go past a tunnel that is meant to take everything, either.
      const bool other_has_address =
          std::any_of(request.addresses.begin(), request.addresses.end(),
                      [&](const IpPrefix& address) { return address.address.family() == other; });
      if (!request.block_leaks || !other_has_address || !covers_everything(request.routes, other)) continue;
      (family == IpFamily::v4 ? plan.blocked_v4 : plan.blocked_v6) = true;
      io::Route nowhere;
      nowhere.destination = {IpAddress::any(family), 0};
      nowhere.kind = io::RouteKind::unreachable;
      nowhere.table = request.numbers.table;
      plan.routes.push_back(nowhere);
      rules.add_rules({0});
      continue;
    }
    (family == IpFamily::v4 ? plan.full_v4 : plan.full_v6) = full;

    std::set<IpPrefix> destinations;
    for (const auto& route : request.routes) {
      if (route.address.family() == family) destinations.insert({route.first(), route.length});
    }
    // A name server that the headend announces is meant to be asked through the tunnel, where that can carry it.
    for (const auto& server : request.name_servers) {
      const auto within = [&](const IpPrefix& prefix) { return prefix.contains(server); };
      if (server.family() == family && std::none_of(destinations.begin(), destinations.end(), within) &&
          std::any_of(request.reachable.begin(), request.reachable.end(), within)) {
        destinations.insert(IpPrefix::host(server));
      }
    }
    if (destinations.empty()) continue;
    std::set<std::uint8_t, std::greater<>> lengths;
    for (const auto& destination : destinations) {
      io::Route route;
      route.destination = destination;
      route.ifindex = request.ifindex;
      route.preferred_source = source;
      route.table = request.numbers.table;
      plan.routes.push_back(route);
      lengths.insert(destination.length);
    }
    rules.add_rules(lengths);
  }
  return plan;
}

std::vector<Change> changes(const RoutePlan& from, const RoutePlan& to) {
  const auto has = [](const auto& list, const auto& entry) {
    return std::find(list.begin(), list.end(), entry) != list.end();
  };
  // Adding a route replaces one to the same destination: that one needs no deletion.
  const auto replaced = [&](const io::Route& old) {
    return std::any_of(to.routes.begin(), to.routes.end(), [&](const io::Route& route) {
      return route.destination == old.destination && route.table == old.table && route.metric == old.metric;
    });
  };
  std::vector<Change> steps;
  for (const auto& address : to.addresses) {
    if (!has(from.addresses, address)) steps.emplace_back(AddAddress{address});
  }
  for (const auto& route : to.routes) {
    if (!has(from.routes, route)) steps.emplace_back(AddRoute{route});
  }
  for (const auto& rule : to.rules) {
    if (!has(from.rules, rule)) steps.emplace_back(AddRule{rule});
  }
  for (const auto& rule : from.rules) {
    if (!has(to.rules, rule)) steps.emplace_back(DeleteRule{rule});
  }
  for (const auto& route : from.routes) {
    if (!has(to.routes, route) && !replaced(route)) steps.emplace_back(DeleteRoute{route});
  }
  for (const auto& address : from.addresses) {
    if (!has(to.addresses, address)) steps.emplace_back(DeleteAddress{address});
  }
  return steps;
}

std::uint16_t inner_mtu(unsigned path_mtu, unsigned overhead) noexcept {
  constexpr unsigned kLeast = 576, kMost = 65535;
  constexpr auto kFixed = static_cast<unsigned>(esp::kHeaderBytes + esp::kIvBytes + esp::kTagBytes);
  constexpr auto kAlign = static_cast<unsigned>(esp::kAlignment);
  constexpr auto kTrailer = static_cast<unsigned>(esp::kTrailerBytes);
  const unsigned outer = std::min(path_mtu, kMost);
  if (outer < overhead + kFixed + kLeast) return kLeast;
  // RFC 4303 §2.4: packet, padding and trailer together end on a 4-octet boundary.
  const unsigned room = (outer - overhead - kFixed) / kAlign * kAlign;
  return static_cast<std::uint16_t>(std::max(room - kTrailer, kLeast));
}

}  // namespace switchback::client
