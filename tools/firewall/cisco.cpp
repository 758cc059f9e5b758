// Cisco ASA and IOS.
#include "tools/firewall/vendors.h"

namespace switchback::firewall {
namespace {

// ---- ASA
// -------------------------------------------------------------------------------------------------------------

/// An ASA's list has both families: "any" of IPv4 works on 8.2, too.
std::string asa_client(const Pair& pair) {
  if (!pair.client) return pair.headend.is_v4() ? "any" : "any6";
  if (pair.headend.is_v6()) return pair.client->to_string();
  return cat(pair.client->address.to_string(), " ", mask(*pair.client));
}

std::string asa_entry(std::string_view list, std::string_view protocol, const Pair& pair, std::uint16_t port) {
  return cat("access-list ", list, " extended permit ", protocol, " ", asa_client(pair), " host ",
             pair.headend.to_string(), port == 0 ? "" : cat(" eq ", std::to_string(port)));
}

void asa_permit(const Request& request, std::string_view inside, Sheet& sheet) {
  const auto& flows = request.flows;
  sheet.permit.notes = {
      cat("For the list of the interface that clients come in by (", inside,
          "): show running-config access-group names it."),
      "If it has one, put these lines into that in place of SWITCHBACK-PERMIT, before its denies. Do not bind a second",
      "list: it would replace the first, and a list ends with deny any. If it has none, ASA lets them out already."};
  for (const auto& pair : pairs(flows)) {
    for (const auto port : flows.udp)
      sheet.permit.commands.push_back(asa_entry("SWITCHBACK-PERMIT", "udp", pair, port));
    if (flows.esp) sheet.permit.commands.push_back(asa_entry("SWITCHBACK-PERMIT", "esp", pair, 0));
    for (const auto port : all_tcp(flows))
      sheet.permit.commands.push_back(asa_entry("SWITCHBACK-PERMIT", "tcp", pair, port));
  }
  if (flows.esp) {
    sheet.permit.notes.emplace_back(
        "ESP has no ports and no state on an ASA: the way back needs a permit of its own on the outer interface's "
        "list.");
    for (const auto& pair : pairs(flows)) {
      const auto client = asa_client(pair);
      sheet.permit.commands.push_back(
          cat("access-list SWITCHBACK-PERMIT-BACK extended permit esp host ", pair.headend.to_string(), " ", client));
    }
  }
}

// ---- IOS
// -------------------------------------------------------------------------------------------------------------

std::string ios_client(const Pair& pair) {
  if (!pair.client) return "any";
  if (pair.headend.is_v6()) return pair.client->to_string();
  return cat(pair.client->address.to_string(), " ", mask(*pair.client, true));
}

std::string ios_entry(std::string_view protocol, const Pair& pair, std::uint16_t port, bool outward) {
  const auto eq = port == 0 ? std::string{} : cat(" eq ", std::to_string(port));
  const auto headend = cat("host ", pair.headend.to_string(), eq);
  return outward ? cat(" permit ", protocol, " ", ios_client(pair), " ", headend)
                 : cat(" permit ", protocol, " ", headend, " ", ios_client(pair));
}

struct IosFlow {
  std::string_view protocol;
  std::vector<std::uint16_t> ports;
};

/// Lists NAME-V4 and NAME-V6 as far as there are addresses, and a class that matches either.
void ios_class(const Flows& flows, const std::string& name, const std::vector<IosFlow>& wanted, bool both_ways,
               std::vector<std::string>& out, std::vector<std::string>& undo) {
  std::vector<std::string> lists;
  undo.push_back(cat("no class-map type inspect match-any ", name));
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    const auto all = pairs(flows, family);
    if (all.empty()) continue;
    const auto list = cat(name, family == IpFamily::v4 ? "-V4" : "-V6");
    const auto head = cat(family == IpFamily::v4 ? "ip access-list extended " : "ipv6 access-list ", list);
    out.push_back(head);
    undo.push_back("no " + head);
    lists.push_back(list);
    for (const auto& pair : all) {
      for (const auto& [protocol, ports] : wanted) {
        for (const auto port : ports) {
          out.push_back(ios_entry(protocol, pair, port, true));
          if (both_ways) out.push_back(ios_entry(protocol, pair, port, false));
        }
      }
    }
  }
  out.push_back(cat("class-map type inspect match-any ", name));
  for (const auto& list : lists) out.push_back(cat(" match access-group name ", list));
}

void ios_policy(std::string_view policy, const std::string& name, std::string_view action,
                std::vector<std::string>& out, std::vector<std::string>& undo) {
  out.push_back(cat("policy-map type inspect ", policy));
  out.push_back(cat(" class type inspect ", name));
  out.push_back(cat("  ", action));
  undo.push_back(cat("policy-map type inspect ", policy));
  undo.push_back(cat(" no class type inspect ", name));
}

/// The policies lose the class before the class goes, and the class before its lists.
void append(std::vector<std::string>& out, const std::vector<std::string>& more) {
  out.insert(out.end(), more.begin(), more.end());
}

}  // namespace

Sheet write_asa(const Request& request) {
  Sheet sheet;
  sheet.comment = "!";
  const std::string outside = request.interface.empty() ? "outside" : request.interface;
  const std::string inside = request.inside.empty() ? "inside" : request.inside;
  asa_permit(request, inside, sheet);
  sheet.check.commands = {"show access-list SWITCHBACK-PERMIT", "show asp drop"};
  sheet.rollback.commands = {"clear configure access-list SWITCHBACK-PERMIT"};
  if (request.flows.esp) sheet.rollback.commands.emplace_back("clear configure access-list SWITCHBACK-PERMIT-BACK");
  sheet.rollback.notes = {"Lines that went into a list of yours: the same line with \"no\" before it."};
  sheet.security = {"Stateful as ever: nothing is given up."};
  if (request.mode == Mode::permit || request.flows.ctcp.empty()) return sheet;

  const bool bypass = request.mode == Mode::bypass;
  auto& rule = sheet.rule;
  if (bypass) {
    rule.notes = {
        "WARNING: for this class tcp-state-bypass disables the TCP normalizer, application inspection, the IPS, CX and "
        "CSC",
        "modules, TCP intercept, sequence number randomization and AAA-authenticated sessions."};
  } else {
    rule.notes = {
        "The connections keep their state; the normalizer waits longer for lost segments and lets through what it "
        "would",
        "call invalid. It does not bring back what is lost: where the ASA acts as a proxy, only --mode bypass helps.",
        "Do not set check-retransmission in this map."};
  }
  for (const auto& pair : pairs(request.flows)) {
    for (const auto port : request.flows.ctcp) rule.commands.push_back(asa_entry("SWITCHBACK-CTCP", "tcp", pair, port));
  }
  append(rule.commands, {"class-map SWITCHBACK-CTCP", " match access-list SWITCHBACK-CTCP"});
  if (!bypass) {
    append(rule.commands,
           {"tcp-map SWITCHBACK-CTCP", " queue-limit 250 timeout 20", " seq-past-window allow", " invalid-ack allow"});
  }
  append(rule.commands,
         {"policy-map SWITCHBACK-POLICY", " class SWITCHBACK-CTCP",
          bypass ? "  set connection advanced-options tcp-state-bypass"
                 : "  set connection advanced-options SWITCHBACK-CTCP",
          "  set connection timeout idle 1:00:00", cat("service-policy SWITCHBACK-POLICY interface ", outside)});
  rule.notes.push_back(
      cat("If interface ", outside,
          " has a service-policy already, or you would rather use the global one, add the class to that"));
  rule.notes.emplace_back(
      "policy-map (policy-map global_policy) and leave the last line out: show service-policy tells.");
  rule.notes.emplace_back("Running connections keep their old treatment until the client connects again.");
  for (const auto port : request.flows.ctcp) {
    sheet.check.commands.push_back(cat("show conn detail | include ", std::to_string(port)));
  }
  if (bypass) sheet.check.notes = {"An exempt connection has the flag b."};
  sheet.check.commands.push_back(cat("show service-policy interface ", outside));
  append(sheet.rollback.commands, {cat("no service-policy SWITCHBACK-POLICY interface ", outside),
                                   "no policy-map SWITCHBACK-POLICY", "no class-map SWITCHBACK-CTCP"});
  if (!bypass) sheet.rollback.commands.emplace_back("no tcp-map SWITCHBACK-CTCP");
  sheet.rollback.commands.emplace_back("clear configure access-list SWITCHBACK-CTCP");
  sheet.security = bypass ? std::vector<std::string>{"All TCP checks are off for these addresses and ports, and only for them. Inside is ESP, which the ends authenticate.",
                                                     "If two units carry the two directions, the class needs static NAT on both."}
                          : std::vector<std::string>{"Segments outside the window and with invalid ACKs pass for this class; the rest is checked as before."};
  return sheet;
}

Sheet write_ios(const Request& request) {
  Sheet sheet;
  sheet.comment = "!";
  const auto& flows = request.flows;
  const std::string outside = request.interface.empty() ? "the outer zone" : cat("zone ", request.interface);
  const std::string inside = request.inside.empty() ? "the inner zone" : cat("zone ", request.inside);
  sheet.permit.notes = {cat("IN-OUT stands for the policy-map of the zone-pair from ", inside, " to ", outside,
                            ", OUT-IN for that of the way back:"),
                        "show policy-map type inspect zone-pair names yours. A class that is added stands last: where "
                        "an earlier one takes",
                        "the packets, take that out and put it in again. Without zones, the permits go into the "
                        "interfaces' access lists."};
  std::vector<std::string> undo_policies, undo_classes;
  std::vector<IosFlow> inspected;
  if (!flows.udp.empty()) inspected.push_back({"udp", flows.udp});
  // Where cTCP is passed, no class that inspects may take it first.
  const auto tcp = request.mode == Mode::bypass ? flows.tcp : all_tcp(flows);
  if (!tcp.empty()) inspected.push_back({"tcp", tcp});
  auto& permit = sheet.permit.commands;
  if (!inspected.empty()) {
    ios_class(flows, "SWITCHBACK-PERMIT", inspected, false, permit, undo_classes);
    ios_policy("IN-OUT", "SWITCHBACK-PERMIT", "inspect", permit, undo_policies);
  }
  if (flows.esp) {
    ios_class(flows, "SWITCHBACK-ESP", {{"esp", {0}}}, true, permit, undo_classes);
    for (const auto* policy : {"IN-OUT", "OUT-IN"}) ios_policy(policy, "SWITCHBACK-ESP", "pass", permit, undo_policies);
  }
  sheet.check.commands = {"show policy-map type inspect zone-pair", "show access-lists | include SWITCHBACK"};
  sheet.security = {"Stateful as ever, save ESP, which has no state: nothing is given up."};
  if (!flows.ctcp.empty() && request.mode == Mode::bypass) {
    auto& rule = sheet.rule;
    rule.notes = {
        "Pass in place of inspect, both directions. The class must stand before every one that inspects these ports, "
        "the",
        "A classic `ip inspect` (CBAC) has no such exemption: there use --mode "
        "tolerant."};
    ios_class(flows, "SWITCHBACK-CTCP", {{"tcp", flows.ctcp}}, true, rule.commands, undo_classes);
    for (const auto* policy : {"IN-OUT", "OUT-IN"})
      ios_policy(policy, "SWITCHBACK-CTCP", "pass", rule.commands, undo_policies);
    sheet.security = {
        "No state is kept for these addresses and ports: both directions pass unasked, so that a stranger who forges "
        "the",
        "headend's address and port reaches the clients. Inside is ESP, which the ends authenticate."};
  } else if (!flows.ctcp.empty() && request.mode == Mode::tolerant) {
    sheet.rule.notes = {
        "Of the whole router: longer queues and more patience for every inspected TCP connection (defaults: 16 "
        "packets, 5 s)."};
    sheet.rule.commands = {"parameter-map type ooo global", " tcp reassembly queue length 100",
                           " tcp reassembly timeout 30"};
    sheet.check.commands.emplace_back("show parameter-map type ooo global");
    append(undo_policies, {"no parameter-map type ooo global"});
    sheet.security = {
        "More memory for queues of out-of-order segments, on every inspected connection: easier to exhaust."};
  }
  sheet.rollback.commands = undo_policies;
  append(sheet.rollback.commands, undo_classes);
  return sheet;
}

}  // namespace switchback::firewall
