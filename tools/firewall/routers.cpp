// PF, Junos and RouterOS.
#include "tools/firewall/vendors.h"

namespace switchback::firewall {
namespace {

// ---- PF
// --------------------------------------------------------------------------------------------------------------

std::string pf_ports(const std::vector<std::uint16_t>& ports) {
  return ports.size() == 1 ? std::to_string(ports.front()) : cat("{ ", join(ports, " "), " }");
}

std::string pf_client(const Pair& pair) { return pair.client ? pair.client->to_string() : "any"; }

// ---- Junos
// -----------------------------------------------------------------------------------------------------------

struct JunosInterface {
  std::string device, unit = "0";
};
JunosInterface junos_interface(const std::string& name) {
  const auto dot = name.rfind('.');
  if (dot == std::string::npos || dot + 1 == name.size()) return {name};
  return {name.substr(0, dot), name.substr(dot + 1)};
}

void junos_permit(const Flows& flows, Sheet& sheet) {
  sheet.permit.notes = {
      "trust and untrust stand for the zones of the clients and of the headend; a policy that denies before SWITCHBACK "
      "needs",
      "insert security policies from-zone trust to-zone untrust policy SWITCHBACK before policy NAME."};
  std::vector<std::string> applications;
  auto& out = sheet.permit.commands;
  const auto application = [&](const std::string& name, const std::string& what) {
    out.push_back(cat("set applications application ", name, " ", what));
    applications.push_back(name);
  };
  for (const auto port : flows.udp) {
    application(cat("SWITCHBACK-UDP-", std::to_string(port)),
                cat("protocol udp destination-port ", std::to_string(port)));
  }
  if (flows.esp) application("SWITCHBACK-ESP", "protocol esp");
  for (const auto port : all_tcp(flows)) {
    application(cat("SWITCHBACK-TCP-", std::to_string(port)),
                cat("protocol tcp destination-port ", std::to_string(port)));
  }
  constexpr std::string_view kPolicy = "set security policies from-zone trust to-zone untrust policy SWITCHBACK ";
  std::vector<std::string> matches,
      rollback{"delete security policies from-zone trust to-zone untrust policy SWITCHBACK"};
  std::size_t number = 0;
  for (const auto& address : flows.addresses) {
    const auto name = cat("SWITCHBACK-HEADEND-", std::to_string(++number));
    out.push_back(cat("set security address-book global address ", name, " ", IpPrefix::host(address).to_string()));
    rollback.push_back(cat("delete security address-book global address ", name));
    matches.push_back(cat(kPolicy, "match destination-address ", name));
  }
  number = 0;
  for (const auto& client : flows.clients) {
    const auto name = cat("SWITCHBACK-CLIENTS-", std::to_string(++number));
    out.push_back(cat("set security address-book global address ", name, " ", client.to_string()));
    rollback.push_back(cat("delete security address-book global address ", name));
    matches.push_back(cat(kPolicy, "match source-address ", name));
  }
  if (flows.clients.empty()) matches.push_back(cat(kPolicy, "match source-address any"));
  for (const auto& name : applications) {
    matches.push_back(cat(kPolicy, "match application ", name));
    rollback.push_back(cat("delete applications application ", name));
  }
  out.insert(out.end(), matches.begin(), matches.end());
  out.push_back(cat(kPolicy, "then permit"));
  sheet.rollback.commands = rollback;
}

void junos_packet_mode(const Request& request, Sheet& sheet) {
  const auto& flows = request.flows;
  const std::string interfaces[] = {request.interface.empty() ? "ge-0/0/0.0" : request.interface,
                                    request.inside.empty() ? "ge-0/0/1.0" : request.inside};
  sheet.rule.notes = {cat("Packet mode for both directions, by a filter on the interfaces towards headend (",
                          interfaces[0], ") and clients (", interfaces[1], ");"),
                      "--interface and --inside name yours. An interface has one input filter for each family: where "
                      "it has one, put the",
                      "terms into that, before its last. Only devices that offer packet-mode in a filter take this, "
                      "and no NAT happens to",
                      "such packets; else use --mode tolerant."};
  auto& out = sheet.rule.commands;
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    const auto all = pairs(flows, family);
    if (all.empty()) continue;
    const std::string inet = family == IpFamily::v4 ? "inet" : "inet6";
    const auto filter = cat("set firewall family ", inet, " filter SWITCHBACK-CTCP term ");
    std::size_t number = 0;
    for (const auto& pair : all) {
      ++number;
      for (const bool outward : {true, false}) {
        const auto term = cat(filter, outward ? "TO-" : "FROM-", std::to_string(number), " ");
        const auto headend = IpPrefix::host(pair.headend).to_string();
        out.push_back(cat(term, "from ", outward ? "destination-address " : "source-address ", headend));
        if (pair.client)
          out.push_back(
              cat(term, "from ", outward ? "source-address " : "destination-address ", pair.client->to_string()));
        out.push_back(cat(term, family == IpFamily::v4 ? "from protocol tcp" : "from next-header tcp"));
        for (const auto port : flows.ctcp) {
          out.push_back(cat(term, "from ", outward ? "destination-port " : "source-port ", std::to_string(port)));
        }
        out.push_back(cat(term, "then packet-mode"));
        out.push_back(cat(term, "then accept"));
      }
    }
    out.push_back(cat(filter, "REST then accept"));
    for (const auto& name : interfaces) {
      const auto [device, unit] = junos_interface(name);
      const auto place = cat("interfaces ", device, " unit ", unit, " family ", inet, " filter input");
      out.push_back(cat("set ", place, " SWITCHBACK-CTCP"));
      sheet.rollback.commands.push_back(cat("delete ", place));
    }
    sheet.rollback.commands.push_back(cat("delete firewall family ", inet, " filter SWITCHBACK-CTCP"));
  }
  sheet.check.notes = {"A flow in packet mode is not among the sessions."};
  sheet.security = {
      "The flow of these addresses and ports goes past zones, policies and screens, both ways. Inside is ESP, which "
      "the ends",
      "authenticate."};
}

// ---- RouterOS
// --------------------------------------------------------------------------------------------------------

std::string ros_addresses(const Pair& pair, bool outward) {
  const auto headend = cat(outward ? "dst-address=" : "src-address=", pair.headend.to_string());
  if (!pair.client) return headend;
  return cat(outward ? "src-address=" : "dst-address=", pair.client->to_string(), " ", headend);
}

}  // namespace

Sheet write_pf(const Request& request) {
  Sheet sheet;
  const auto& flows = request.flows;
  const auto on =
      request.interface.empty() ? std::string{} : cat("on { ", request.inside, " ", request.interface, " } ");
  sheet.permit.notes = {
      "Into pf.conf, behind the translation rules and before every block quick; then pfctl -nf /etc/pf.conf && pfctl "
      "-f /etc/pf.conf."};
  for (const auto& pair : pairs(flows)) {
    const auto rule = [&](std::string_view protocol, const std::string& port, std::string_view tail) {
      sheet.permit.commands.push_back(cat("pass quick ", on, "proto ", protocol, " from ", pf_client(pair), " to ",
                                          pair.headend.to_string(), port, tail));
    };
    if (!flows.udp.empty()) rule("udp", cat(" port ", pf_ports(flows.udp)), " keep state");
    if (flows.esp) rule("esp", "", " keep state");
    // Where cTCP is exempt or loosened, its rules in part 2 have to be the first that match.
    const auto ports = request.mode == Mode::permit ? all_tcp(flows) : flows.tcp;
    if (!ports.empty()) rule("tcp", cat(" port ", pf_ports(ports)), " flags S/SA keep state");
  }
  sheet.check.commands = {"pfctl -nf /etc/pf.conf", "pfctl -vsr"};
  sheet.rollback.notes = {"Remove the lines, then:"};
  sheet.rollback.commands = {"pfctl -f /etc/pf.conf"};
  sheet.security = {"Stateful as ever: nothing is given up."};
  if (request.mode == Mode::permit || flows.ctcp.empty()) return sheet;
  const bool bypass = request.mode == Mode::bypass;
  if (bypass) {
    sheet.rule.notes = {
        "Both directions, without state, so that no window is checked. No NAT is possible without state: where this "
        "host",
        "translates the flow, use --mode tolerant."};
  } else {
    sheet.rule.notes = {"State, and NAT with it, but no check of sequence numbers."};
  }
  sheet.rule.notes.emplace_back(
      "States that exist are kept: end them with the commands below (Check), or let the client connect again.");
  for (const auto& pair : pairs(flows)) {
    const auto headend = cat(pair.headend.to_string(), " port ", pf_ports(flows.ctcp));
    const auto client = pf_client(pair);
    const auto head = cat("pass quick ", on, "proto tcp from ");
    if (bypass) {
      sheet.rule.commands.push_back(cat(head, client, " to ", headend, " flags any no state"));
      sheet.rule.commands.push_back(cat(head, headend, " to ", client, " flags any no state"));
    } else {
      sheet.rule.commands.push_back(cat(head, client, " to ", headend, " flags S/SA keep state (sloppy)"));
    }
    sheet.check.commands.push_back(
        cat("pfctl -k ", pair.headend.is_v4() ? "0.0.0.0/0" : "::/0", " -k ", pair.headend.to_string()));
  }
  sheet.check.commands.push_back(bypass ? "pfctl -ss   # no state with these ports is left" : "pfctl -vss");
  sheet.security = bypass ? std::vector<std::string>{"All TCP checks are off for these addresses and ports, and what forges the headend's address and port reaches the",
                                                     "clients. Inside is ESP, which the ends authenticate."}
                          : std::vector<std::string>{"Sequence numbers are not checked for these addresses and ports: forged segments and RSTs pass."};
  return sheet;
}

Sheet write_junos(const Request& request) {
  Sheet sheet;
  junos_permit(request.flows, sheet);
  sheet.permit.notes.emplace_back("In configuration mode; nothing holds before commit.");
  sheet.check.notes = {};
  for (const auto& address : request.flows.addresses) {
    sheet.check.commands.push_back(
        cat("show security flow session destination-prefix ", IpPrefix::host(address).to_string()));
  }
  sheet.security = {"Stateful as ever: nothing is given up."};
  if (request.mode == Mode::permit || request.flows.ctcp.empty()) return sheet;
  if (request.mode == Mode::bypass) {
    junos_packet_mode(request, sheet);
    return sheet;
  }
  sheet.rule.notes = {"Of the whole device. Policies that should keep the check can have it by then permit tcp-options",
                      "sequence-check-required."};
  sheet.rule.commands = {"set security flow tcp-session no-sequence-check"};
  sheet.rollback.commands.emplace_back("delete security flow tcp-session no-sequence-check");
  sheet.security = {
      "Sequence numbers are checked on NO TCP session of the device any more, save where a policy asks for it."};
  return sheet;
}

Sheet write_routeros(const Request& request) {
  Sheet sheet;
  const auto& flows = request.flows;
  sheet.permit.notes = {"To the head of the forward chain; where that is empty, leave place-before=0 out."};
  const auto comment = [](std::string_view what) { return cat(" comment=\"switchback ", what, "\""); };
  const auto exempt = request.mode == Mode::bypass && !flows.ctcp.empty();
  const auto loosen = request.mode == Mode::tolerant && !flows.ctcp.empty();
  bool seen[2] = {};
  for (const auto& pair : pairs(flows)) {
    const std::string menu = pair.headend.is_v4() ? "/ip firewall" : "/ipv6 firewall";
    seen[pair.headend.is_v4() ? 0 : 1] = true;
    const auto filter = cat(menu, " filter add chain=forward action=accept ");
    const auto permit = [&](const std::string& match, bool outward) {
      sheet.permit.commands.push_back(cat(filter, match, " ", ros_addresses(pair, outward),
                                          " connection-state=", outward ? "new,established" : "established",
                                          " place-before=0", comment("permit")));
    };
    for (const bool outward : {true, false}) {
      const std::string port = outward ? " dst-port=" : " src-port=";
      if (!flows.udp.empty()) permit(cat("protocol=udp", port, join(flows.udp, ",")), outward);
      if (flows.esp) permit("protocol=ipsec-esp", outward);
      if (const auto ports = all_tcp(flows); !ports.empty())
        permit(cat("protocol=tcp", port, join(ports, ",")), outward);
      const auto ctcp = cat("protocol=tcp ", ros_addresses(pair, outward), port, join(flows.ctcp, ","));
      const auto& interface = outward ? request.inside : request.interface;
      if (exempt) {
        sheet.rule.commands.push_back(cat(menu, " raw add chain=prerouting action=notrack ",
                                          interface.empty() ? "" : cat("in-interface=", interface, " "), ctcp,
                                          comment("bypass")));
        sheet.rule.commands.push_back(
            cat(filter, ctcp, " connection-state=untracked place-before=0", comment("bypass")));
      }
      if (loosen)
        sheet.rule.commands.push_back(cat(filter, ctcp, " connection-state=invalid place-before=0", comment("bypass")));
    }
  }
  if (exempt) {
    sheet.rule.notes = {
        "Both directions, before connection tracking sees them. No NAT is possible on untracked flows. Fasttrack takes "
        "no",
        "untracked packets, so it needs no change."};
    sheet.security = {
        "All TCP checks are off for these addresses and ports, and what forges them passes. Inside is ESP, which the "
        "ends",
        "authenticate."};
  } else if (loosen) {
    sheet.rule.notes = {
        "RouterOS cannot loosen its window check for one flow: what it calls invalid is accepted for these addresses "
        "and ports",
        "before the rule that drops it. Invalid packets are not translated: with NAT neither mode helps."};
    sheet.security = {"Invalid packets of these addresses and ports pass. Inside is ESP, which the ends authenticate."};
  } else {
    sheet.security = {"Stateful as ever: nothing is given up."};
  }
  for (const std::size_t family : {0U, 1U}) {
    if (!seen[family]) continue;
    const std::string menu = family == 0 ? "/ip firewall" : "/ipv6 firewall";
    sheet.check.commands.push_back(cat(menu, " filter print stats where comment~\"switchback\""));
    sheet.rollback.commands.push_back(cat(menu, " filter remove [find comment~\"switchback\"]"));
    if (!exempt) continue;
    sheet.check.commands.push_back(cat(menu, " raw print stats where comment~\"switchback\""));
    sheet.rollback.commands.push_back(cat(menu, " raw remove [find comment~\"switchback\"]"));
  }
  return sheet;
}

}  // namespace switchback::firewall
