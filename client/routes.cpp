#include "client/routes.h"

#include "common/base/log.h"

namespace switchback::client {
namespace {

std::string describe_rule(const io::Rule& rule) {
  std::string text = "policy rule " + std::to_string(rule.priority);
  if (rule.to) text += " to " + rule.to->to_string();
  text += " table " + std::to_string(rule.table);
  return text + (rule.family == IpFamily::v6 ? " (IPv6)" : " (IPv4)");
}

/// Whether the kernel keeps a route when the TUN goes.
bool outlives_tun(const io::Route& route) { return route.kind != io::RouteKind::unicast; }

}  // namespace

std::string describe(const Change& change) {
  struct Describe {
    std::string operator()(const AddAddress& c) const { return "address " + c.address.to_string(); }
    std::string operator()(const DeleteAddress& c) const { return "no address " + c.address.to_string(); }
    std::string operator()(const AddRoute& c) const {
      return "route " + c.route.destination.to_string() +
             (c.route.kind == io::RouteKind::unicast ? " into the tunnel" : " to nowhere");
    }
    std::string operator()(const DeleteRoute& c) const { return "no route " + c.route.destination.to_string(); }
    std::string operator()(const AddRule& c) const { return describe_rule(c.rule); }
    std::string operator()(const DeleteRule& c) const { return "no " + describe_rule(c.rule); }
  };
  return std::visit(Describe{}, change);
}

Result<void, UserError> Routes::run(const Change& change) {
  struct Run {
    Routes& self;
    Result<void> operator()(const AddAddress& c) const { return self.netlink_.add_address(self.ifindex_, c.address); }
    Result<void> operator()(const DeleteAddress& c) const {
      return self.netlink_.delete_address(self.ifindex_, c.address);
    }
    Result<void> operator()(const AddRoute& c) const { return self.netlink_.add_route(c.route); }
    Result<void> operator()(const DeleteRoute& c) const {
      auto done = self.netlink_.delete_route(c.route);
      if (done && outlives_tun(c.route)) self.journal_.forget(RouteStep{c.route});
      return done;
    }
    Result<void> operator()(const AddRule& c) const { return self.netlink_.add_rule(c.rule); }
    Result<void> operator()(const DeleteRule& c) const {
      auto done = self.netlink_.delete_rule(c.rule);
      if (done) self.journal_.forget(RuleStep{c.rule});
      return done;
    }
  };
  log::debug("network_change", {{"what", describe(change)}});
  if (const auto done = std::visit(Run{*this}, change); !done) {
    const bool forbidden = done.error() == std::errc::operation_not_permitted;
    return fail_user("cannot set " + describe(change) + " (" + done.error().message() + ")" +
                     (forbidden ? ": run as root or with CAP_NET_ADMIN" : ""));
  }
  return {};
}

Result<void, UserError> Routes::apply(const RoutePlan& plan) {
  const auto steps = changes(applied_, plan);
  if (steps.empty()) {
    applied_ = plan;
    return {};
  }
  // One entry on disk for all of them, before the first is made.
  std::vector<UndoStep> undo_steps;
  for (const auto& step : steps) {
    if (const auto* rule = std::get_if<AddRule>(&step)) undo_steps.emplace_back(RuleStep{rule->rule});
    if (const auto* route = std::get_if<AddRoute>(&step); route != nullptr && outlives_tun(route->route)) {
      undo_steps.emplace_back(RouteStep{route->route});
    }
  }
  if (!undo_steps.empty()) SB_CHECK(journal_.record(undo_steps));
  for (const auto& step : steps) {
    if (auto done = run(step); !done) {
      // Deleting what was not added yet is harmless.
      const auto before = std::exchange(applied_, plan);
      revert();
      for (const auto& back : changes(before, {})) (void)run(back);
      return done;
    }
  }
  applied_ = plan;
  return {};
}

void Routes::revert() {
  for (const auto& step : changes(applied_, {})) {
    if (const auto done = run(step); !done) log::warning("undo_failed", {{"error", done.error().message}});
  }
  applied_ = {};
}

}  // namespace switchback::client
