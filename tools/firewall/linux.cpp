// nftables and iptables. Both come as shell commands whose input is complete: applied whole or not at all.
#include "tools/firewall/vendors.h"

namespace switchback::firewall {
namespace {

constexpr std::string_view kLiberal = "net.netfilter.nf_conntrack_tcp_be_liberal";

const std::vector<std::string> kTolerantNotes{
    "be_liberal is of the whole network namespace: out-of-window segments of every TCP connection are let through,",
    "only out-of-window RSTs are still dropped. Unlike notrack it keeps NAT working. To keep it after a reboot, put "
    "the",
    "same line without \"sysctl -w\" into /etc/sysctl.d/."};

std::vector<std::string> security_notes(Mode mode) {
  switch (mode) {
    case Mode::permit: return {"Stateful as ever: nothing is given up."};
    case Mode::tolerant:
      return {"Out-of-window segments pass on EVERY TCP connection through this host. What is inside them is still the",
              "hosts' to refuse."};
    case Mode::bypass: break;
  }
  return {
      "All TCP checks are off for these addresses and ports: whoever can forge the addresses gets packets through to",
      "the headend's cTCP port, and from it. Inside is ESP, which the ends authenticate themselves."};
}

struct Direction {
  bool outward;  // clients to headend
};
constexpr Direction kBoth[] = {{true}, {false}};

// ---- nftables
// --------------------------------------------------------------------------------------------------------

std::string nft_ports(const std::vector<std::uint16_t>& ports) {
  return ports.size() == 1 ? std::to_string(ports.front()) : cat("{ ", join(ports, ", "), " }");
}

/// "ip saddr 10.0.0.0/8 ip daddr 192.0.2.1", or with the sides changed.
std::string nft_addresses(const Pair& pair, bool outward) {
  const std::string family = pair.headend.is_v4() ? "ip" : "ip6";
  const auto headend = cat(family, outward ? " daddr " : " saddr ", pair.headend.to_string());
  if (!pair.client) return headend;
  const auto client = cat(family, outward ? " saddr " : " daddr ", pair.client->to_string());
  return outward ? cat(client, " ", headend) : cat(headend, " ", client);
}

void nft_notrack(const Request& request, bool with_interfaces, std::vector<std::string>& out) {
  for (const auto& pair : pairs(request.flows)) {
    for (const auto [outward] : kBoth) {
      const auto& interface = outward ? request.inside : request.interface;
      out.push_back(cat("    ", with_interfaces && !interface.empty() ? cat("iifname \"", interface, "\" ") : "",
                        nft_addresses(pair, outward), outward ? " tcp dport " : " tcp sport ",
                        nft_ports(request.flows.ctcp), " notrack"));
    }
  }
}

void nft_accept(const Request& request, const std::string& chain, std::string_view what,
                std::vector<std::string>& out) {
  const auto& flows = request.flows;
  const auto rule = [&](const Pair& pair, bool outward, const std::string& match, std::string_view states) {
    out.push_back(cat("insert rule ", chain, " ", nft_addresses(pair, outward), " ", match, " ct state ", states,
                      " accept comment \"switchback ", what, "\""));
  };
  for (const auto& pair : pairs(flows)) {
    for (const auto [outward] : kBoth) {
      const std::string port = outward ? "dport " : "sport ";
      if (what == "bypass") {
        rule(pair, outward, cat("tcp ", port, nft_ports(flows.ctcp)), "untracked");
        continue;
      }
      const std::string_view states = outward ? "new,established" : "established";
      if (!flows.udp.empty()) rule(pair, outward, cat("udp ", port, nft_ports(flows.udp)), states);
      if (flows.esp) rule(pair, outward, "meta l4proto esp", "new,established");
      if (const auto ports = all_tcp(flows); !ports.empty())
        rule(pair, outward, cat("tcp ", port, nft_ports(ports)), states);
    }
  }
}

std::string nft_remove(const std::string& chain, std::string_view what) {
  return cat("nft -a list chain ", chain, " | sed -n 's/.* comment \"switchback ", what,
             "\" # handle \\([0-9]*\\)$/delete rule ", chain, " handle \\1/p' | nft -f -");
}

// ---- iptables
// --------------------------------------------------------------------------------------------------------

std::string ipt_addresses(const Pair& pair, bool outward) {
  const auto headend = cat(outward ? "-d " : "-s ", pair.headend.to_string());
  if (!pair.client) return headend;
  return cat(outward ? "-s " : "-d ", pair.client->to_string(), " ", headend);
}

std::string ipt_ports(const std::vector<std::uint16_t>& ports, bool outward) {
  if (ports.size() == 1) return cat(outward ? "--dport " : "--sport ", join(ports, ","));
  return cat("-m multiport ", outward ? "--dports " : "--sports ", join(ports, ","));
}

/// The rules of one family, each without its -I or -D.
struct IptRules {
  std::vector<std::string> raw, filter;
};

std::string ipt_comment(std::string_view what) { return cat("-m comment --comment \"switchback ", what, "\""); }

IptRules ipt_permit(const Request& request, const std::string& chain, IpFamily family) {
  const auto& flows = request.flows;
  IptRules rules;
  for (const auto& pair : pairs(flows, family)) {
    for (const auto [outward] : kBoth) {
      const auto add = [&, outward = outward](const std::string& match, std::string_view states) {
        rules.filter.push_back(cat(chain, " ", ipt_addresses(pair, outward), " ", match, " -m conntrack --ctstate ",
                                   states, " ", ipt_comment("permit"), " -j ACCEPT"));
      };
      const std::string_view states = outward ? "NEW,ESTABLISHED" : "ESTABLISHED";
      if (!flows.udp.empty()) add(cat("-p udp ", ipt_ports(flows.udp, outward)), states);
      if (flows.esp) add("-p esp", "NEW,ESTABLISHED");
      if (const auto ports = all_tcp(flows); !ports.empty()) add(cat("-p tcp ", ipt_ports(ports, outward)), states);
    }
  }
  return rules;
}

IptRules ipt_bypass(const Request& request, const std::string& chain, IpFamily family) {
  IptRules rules;
  for (const auto& pair : pairs(request.flows, family)) {
    for (const auto [outward] : kBoth) {
      const auto match = cat(ipt_addresses(pair, outward), " -p tcp ", ipt_ports(request.flows.ctcp, outward));
      const auto& interface = outward ? request.inside : request.interface;
      for (const std::string hook : {"PREROUTING", "OUTPUT"}) {
        const auto on = hook == "PREROUTING" && !interface.empty() ? cat("-i ", interface, " ") : std::string{};
        rules.raw.push_back(cat(hook, " ", on, match, " ", ipt_comment("bypass"), " -j CT --notrack"));
      }
      rules.filter.push_back(
          cat(chain, " ", match, " -m conntrack --ctstate UNTRACKED ", ipt_comment("bypass"), " -j ACCEPT"));
    }
  }
  return rules;
}

/// A restore command for one family with its rules inserted or deleted. Nothing where there are none.
void ipt_restore(const IptRules& rules, IpFamily family, std::string_view action, std::vector<std::string>& out) {
  if (rules.raw.empty() && rules.filter.empty()) return;
  out.push_back(cat(family == IpFamily::v4 ? "iptables" : "ip6tables", "-restore --noflush <<'END'"));
  const auto table = [&](std::string_view name, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    out.push_back(cat("*", name));
    for (const auto& line : lines) out.push_back(cat(action, " ", line));
    out.emplace_back("COMMIT");
  };
  table("raw", rules.raw);
  table("filter", rules.filter);
  out.emplace_back("END");
}

void tolerant(Sheet& sheet) {
  sheet.rule = {kTolerantNotes, {cat("sysctl -w ", kLiberal, "=1")}};
  sheet.check.commands.push_back(cat("sysctl ", kLiberal));
  sheet.rollback.commands.push_back(cat("sysctl -w ", kLiberal, "=0"));
}

}  // namespace

Sheet write_nftables(const Request& request) {
  Sheet sheet;
  const auto chain = cat("inet ", request.chain.empty() ? "filter forward" : request.chain);
  sheet.permit.notes = {
      cat("An accept in a table of its own would not save a packet from a drop elsewhere, so this goes into your "
          "chain,"),
      cat("here \"", chain, "\"; --chain names another. Not kept over a reboot: add it to your ruleset file.")};
  auto& permit = sheet.permit.commands;
  permit.emplace_back("nft -f - <<'END'");
  nft_accept(request, chain, "permit", permit);
  permit.emplace_back("END");
  sheet.check.commands = {cat("nft list chain ", chain)};
  sheet.rollback.commands = {nft_remove(chain, "permit")};
  sheet.security = security_notes(request.flows.ctcp.empty() ? Mode::permit : request.mode);
  if (request.mode == Mode::permit || request.flows.ctcp.empty()) return sheet;
  if (request.mode == Mode::tolerant) {
    tolerant(sheet);
    return sheet;
  }
  sheet.rule.notes = {
      "Both directions, before connection tracking sees them. No NAT is possible on untracked flows: where this host",
      "translates them, use --mode tolerant. Running connections are exempt at once."};
  auto& rule = sheet.rule.commands;
  // The first two lines make a second paste replace the first.
  for (const auto* line : {"nft -f - <<'END'", "table inet switchback_ctcp", "delete table inet switchback_ctcp",
                           "table inet switchback_ctcp {", "  chain prerouting {",
                           "    type filter hook prerouting priority raw; policy accept;"}) {
    rule.emplace_back(line);
  }
  nft_notrack(request, true, rule);
  for (const auto* line : {"  }", "  chain output {", "    type filter hook output priority raw; policy accept;"})
    rule.emplace_back(line);
  nft_notrack(request, false, rule);
  for (const auto* line : {"  }", "}"}) rule.emplace_back(line);
  nft_accept(request, chain, "bypass", rule);
  rule.emplace_back("END");
  sheet.check.commands.emplace_back("nft list table inet switchback_ctcp");
  for (const auto port : request.flows.ctcp) {
    sheet.check.commands.push_back(
        cat("conntrack -L -p tcp --dport ", std::to_string(port), "   # no entry that is being refreshed"));
  }
  sheet.rollback.commands.emplace_back("nft delete table inet switchback_ctcp");
  sheet.rollback.commands.push_back(nft_remove(chain, "bypass"));
  return sheet;
}

Sheet write_iptables(const Request& request) {
  Sheet sheet;
  const std::string chain = request.chain.empty() ? "FORWARD" : request.chain;
  const bool exempt = request.mode == Mode::bypass && !request.flows.ctcp.empty();
  sheet.permit.notes = {
      cat("To the head of chain ", chain, "; --chain names another, such as DOCKER-USER. Not kept over a reboot:"),
      "iptables-save and ip6tables-save print what to keep. A second paste adds the rules again."};
  if (exempt) {
    sheet.rule.notes = {
        "Both directions, before connection tracking sees them. No NAT is possible on untracked flows: where this host",
        "translates them, use --mode tolerant. Running connections are exempt at once."};
  }
  sheet.security = security_notes(request.flows.ctcp.empty() ? Mode::permit : request.mode);
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    if (pairs(request.flows, family).empty()) continue;
    const std::string program = family == IpFamily::v4 ? "iptables" : "ip6tables";
    const auto permit = ipt_permit(request, chain, family);
    ipt_restore(permit, family, "-I", sheet.permit.commands);
    ipt_restore(permit, family, "-D", sheet.rollback.commands);
    sheet.check.commands.push_back(cat(program, " -vnL ", chain));
    if (!exempt) continue;
    const auto bypass = ipt_bypass(request, chain, family);
    ipt_restore(bypass, family, "-I", sheet.rule.commands);
    ipt_restore(bypass, family, "-D", sheet.rollback.commands);
    sheet.check.commands.push_back(cat(program, " -t raw -vnL"));
  }
  if (request.mode == Mode::tolerant && !request.flows.ctcp.empty()) tolerant(sheet);
  return sheet;
}

}  // namespace switchback::firewall
