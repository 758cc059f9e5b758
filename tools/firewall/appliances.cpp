// PAN-OS, FortiGate, Check Point and AWS Network Firewall: partly commands, partly what to click.
#include "tools/firewall/vendors.h"

namespace switchback::firewall {
namespace {

void append(std::vector<std::string>& out, const std::vector<std::string>& more) {
  out.insert(out.end(), more.begin(), more.end());
}

std::string addresses(const Flows& flows) {
  std::vector<std::string> words;
  for (const auto& address : flows.addresses) words.push_back(address.to_string());
  return join(words, ", ");
}

std::string clients(const Flows& flows) {
  std::vector<std::string> words;
  for (const auto& client : flows.clients) words.push_back(client.to_string());
  return words.empty() ? "any" : join(words, ", ");
}

/// "UDP 500, 4500; ESP (IP protocol 50); TCP 443, 4500, 10000"
std::string services(const Flows& flows) {
  std::vector<std::string> words;
  if (!flows.udp.empty()) words.push_back(cat("UDP ", join(flows.udp, ", ")));
  if (flows.esp) words.emplace_back("ESP (IP protocol 50)");
  if (const auto ports = all_tcp(flows); !ports.empty()) words.push_back(cat("TCP ", join(ports, ", ")));
  return join(words, "; ");
}

std::string policy_note(const Flows& flows) {
  return cat("An allow rule, clients' side to headend's side: source ", clients(flows), "; destination ",
             addresses(flows), ";");
}

// ---- FortiGate
// -------------------------------------------------------------------------------------------------------

struct FortiNames {
  std::vector<std::string> v4, v6;
};

/// Address objects for prefixes; their names, for the policy.
FortiNames forti_addresses(const std::string& stem, const std::vector<IpPrefix>& prefixes,
                           std::vector<std::string>& out, std::vector<std::string>& undo) {
  FortiNames names;
  std::vector<std::string> undo_v4, undo_v6;
  for (const bool v4 : {true, false}) {
    std::vector<std::string> lines;
    for (const auto& prefix : prefixes) {
      if (prefix.address.is_v4() != v4) continue;
      auto& list = v4 ? names.v4 : names.v6;
      const auto name = cat("\"", stem, v4 ? "-v4-" : "-v6-", std::to_string(list.size() + 1), "\"");
      list.push_back(name);
      append(lines, {cat("    edit ", name),
                     v4 ? cat("        set subnet ", prefix.address.to_string(), " ", mask(prefix))
                        : cat("        set ip6 ", prefix.to_string()),
                     "    next"});
      (v4 ? undo_v4 : undo_v6).push_back(cat("    delete ", name));
    }
    if (lines.empty()) continue;
    const std::string menu = v4 ? "config firewall address" : "config firewall address6";
    out.push_back(menu);
    append(out, lines);
    out.emplace_back("end");
    undo.push_back(menu);
    append(undo, v4 ? undo_v4 : undo_v6);
    undo.emplace_back("end");
  }
  return names;
}

// ---- AWS
// -------------------------------------------------------------------------------------------------------------

std::string any_of(const Pair& pair) { return pair.headend.is_v4() ? "0.0.0.0/0" : "::/0"; }

std::string aws_definition(const std::string& prefix) { return cat("[{\"AddressDefinition\":\"", prefix, "\"}]"); }

std::string aws_ports(const std::vector<std::uint16_t>& ports) {
  std::vector<std::string> words;
  for (const auto port : ports)
    words.push_back(cat("{\"FromPort\":", std::to_string(port), ",\"ToPort\":", std::to_string(port), "}"));
  return cat("[", join(words, ","), "]");
}

}  // namespace

Sheet write_panos(const Request& request) {
  Sheet sheet;
  const auto& flows = request.flows;
  sheet.permit.notes = {"PAN-OS is set up by its web interface; these are notes, not commands.",
                        cat("Policies > Security: ", policy_note(flows)),
                        cat("service ", services(flows), "; applications ike, ipsec-esp, ipsec-esp-udp,"),
                        "and any for the TCP ports. No security profiles on this rule."};
  sheet.check.commands = {"show counter global filter delta yes", "show session all"};
  for (const auto port : flows.ctcp)
    sheet.check.commands.push_back(cat("show session all filter destination-port ", std::to_string(port)));
  sheet.check.notes = {"Counters that tell of trouble: tcp_exceed_flow_seg_limit, ctd_exceed_queue_limit."};
  sheet.rollback.notes = {"Delete the rules named above and set the settings back, then commit."};
  sheet.security = {"Stateful as ever: nothing is given up."};
  if (request.mode == Mode::permit || flows.ctcp.empty()) return sheet;
  if (request.mode == Mode::bypass) {
    sheet.rule.notes = {
        cat("Objects > Applications: a custom application switchback-ctcp for tcp/", join(flows.ctcp, ","), "."),
        cat("Policies > Application Override: source ", clients(flows), ", destination ", addresses(flows), ","),
        cat("protocol TCP, port ", join(flows.ctcp, ","),
            ", application switchback-ctcp. It ends App-ID and content inspection of the flow."),
        "If counters still rise, also do what --mode tolerant says."};
    sheet.security = {"No App-ID and no threat inspection for these addresses and ports; the TCP state is still kept."};
    return sheet;
  }
  sheet.rule.notes = {
      "Device > Setup > Session > TCP Settings: Forward segments exceeding TCP out-of-order queue: on (the queue holds "
      "64",
      "segments of a session). Device > Setup > Content-ID: Forward segments exceeding TCP content inspection queue: "
      "on.",
      "Only where the two directions take different ways: Asymmetric path: bypass."};
  sheet.security = {"Of the whole device: segments beyond the queues pass uninspected on every session."};
  return sheet;
}

Sheet write_fortigate(const Request& request) {
  Sheet sheet;
  const auto& flows = request.flows;
  const std::string outside = request.interface.empty() ? "wan1" : request.interface;
  const std::string inside = request.inside.empty() ? "internal" : request.inside;
  const bool loosen = request.mode != Mode::permit && !flows.ctcp.empty();
  auto& out = sheet.permit.commands;
  std::vector<std::string> undo;
  std::vector<IpPrefix> headends;
  for (const auto& address : flows.addresses) headends.push_back(IpPrefix::host(address));
  const auto to = forti_addresses("switchback-headend", headends, out, undo);
  auto from = forti_addresses("switchback-clients", flows.clients, out, undo);
  if (flows.clients.empty()) from = {{"\"all\""}, {"\"all\""}};
  const bool v4 = !to.v4.empty() && !from.v4.empty(), v6 = !to.v6.empty() && !from.v6.empty();

  std::vector<std::string> names, undo_services{"config firewall service custom"};
  const auto service = [&](const std::string& name, const std::vector<std::string>& lines) {
    out.push_back(cat("    edit \"", name, "\""));
    append(out, lines);
    out.emplace_back("    next");
    undo_services.push_back(cat("    delete \"", name, "\""));
  };
  const auto others = request.mode == Mode::permit ? all_tcp(flows) : flows.tcp;
  out.emplace_back("config firewall service custom");
  if (!flows.udp.empty()) {
    service("switchback-udp", {cat("        set udp-portrange ", join(flows.udp, " "))});
    names.emplace_back("\"switchback-udp\"");
  }
  if (flows.esp) {
    service("switchback-esp", {"        set protocol IP", "        set protocol-number 50"});
    names.emplace_back("\"switchback-esp\"");
  }
  if (!others.empty()) {
    service("switchback-tcp", {cat("        set tcp-portrange ", join(others, " "))});
    names.emplace_back("\"switchback-tcp\"");
  }
  if (loosen) service("switchback-ctcp", {cat("        set tcp-portrange ", join(flows.ctcp, " "))});
  out.emplace_back("end");
  undo_services.emplace_back("end");

  const auto policy = [&](std::vector<std::string>& lines, const std::string& name, const std::string& service_names,
                          bool loose) {
    append(lines, {"config firewall policy", "    edit 0", cat("        set name \"", name, "\""),
                   cat("        set srcintf \"", inside, "\""), cat("        set dstintf \"", outside, "\"")});
    if (v4)
      append(lines, {cat("        set srcaddr ", join(from.v4, " ")), cat("        set dstaddr ", join(to.v4, " "))});
    if (v6)
      append(lines, {cat("        set srcaddr6 ", join(from.v6, " ")), cat("        set dstaddr6 ", join(to.v6, " "))});
    append(lines, {"        set action accept", "        set schedule \"always\"",
                   cat("        set service ", service_names)});
    if (loose) lines.emplace_back("        set anti-replay disable");
    append(lines, {"    next", "end"});
  };
  if (!names.empty()) policy(out, "switchback", join(names, " "), false);
  sheet.permit.notes = {
      cat(inside, " and ", outside,
          " stand for the interfaces of clients and headend: --inside and --interface name yours. New policies"),
      "stand last: move them before what denies (move ID before ID). Add set nat enable if your other policies have "
      "it."};
  sheet.check.commands = {"show firewall policy | grep -f switchback"};
  sheet.security = {
      "Stateful as ever, without security profiles, which see nothing in ESP anyway: nothing is given up."};
  if (loosen) {
    sheet.rule.notes = {
        "FortiOS checks TCP flags and sequence numbers as \"anti-replay\"; it can be off for one policy, and there is "
        "nothing",
        "stronger or milder: --mode bypass and tolerant give the same. Profile-based NGFW mode only. No security "
        "profile and",
        "no proxy-based inspection may be on this policy."};
    policy(sheet.rule.commands, "switchback-ctcp", "\"switchback-ctcp\"", true);
    for (const auto port : flows.ctcp)
      append(sheet.check.commands,
             {cat("diagnose sys session filter dport ", std::to_string(port)), "diagnose sys session list"});
    sheet.security = {
        "TCP flags and sequence numbers are not checked for this policy: forged segments pass. Inside is ESP, which "
        "the ends",
        "authenticate."};
  }
  sheet.rollback.notes = {
      "Policies first: the numbers are those that the check shows. config firewall policy, delete NUMBER, end. Then:"};
  append(sheet.rollback.commands, undo_services);
  append(sheet.rollback.commands, undo);
  return sheet;
}

Sheet write_checkpoint(const Request& request) {
  Sheet sheet;
  const auto& flows = request.flows;
  sheet.permit.notes = {"SmartConsole, above the rule that drops; then install the policy:", policy_note(flows),
                        cat("services ", services(flows), "; action Accept.")};
  sheet.check.commands = {"fw ctl zdebug + drop"};
  sheet.check.notes = {
      "\"TCP packet out of state\" in the log, or in what this prints, is what the setting is against. On the "
      "gateway:"};
  sheet.rollback.notes = {"Delete the rule in SmartConsole and install the policy."};
  sheet.security = {"Stateful as ever: nothing is given up."};
  if (request.mode == Mode::permit || flows.ctcp.empty()) return sheet;
  sheet.rule.notes = {
      "On the gateway, expert mode; until the next reboot. It holds for ALL TCP connections of the gateway, so prefer "
      "the",
      "exception for one service that the vendor describes in sk11088 (sk117374 has the switch), for:",
      cat("TCP ", join(flows.ctcp, ", "), " to and from ", addresses(flows), "."),
      "--mode bypass and tolerant give the same."};
  sheet.rule.commands = {"fw ctl set int fw_allow_out_of_state_tcp 1"};
  sheet.check.commands.emplace_back("fw ctl get int fw_allow_out_of_state_tcp");
  sheet.rollback.commands = {"fw ctl set int fw_allow_out_of_state_tcp 0"};
  sheet.security = {
      "Out-of-state TCP packets pass on EVERY connection of the gateway that a rule accepts. Do not leave it so."};
  return sheet;
}

Sheet write_aws(const Request& request) {
  Sheet sheet;
  const auto& flows = request.flows;
  sheet.permit.notes = {
      "A stateful rule group for the firewall policy, as Suricata rules; NAT idle timers and security groups are not "
      "touched.",
      "Capacity and sid are free to choose; sid must not be in use in the policy."};
  auto& out = sheet.permit.commands;
  unsigned sid = 4250001;
  out.emplace_back("cat > switchback-permit.rules <<'END'");
  for (const auto& pair : pairs(flows)) {
    const auto client = pair.client ? pair.client->to_string() : std::string{"any"};
    const auto rule = [&](std::string_view protocol, const std::string& port, const std::string& options) {
      out.push_back(cat("pass ", protocol, " ", client, " any -> ", pair.headend.to_string(), " ", port,
                        " (msg:\"switchback\"; ", options, "sid:", std::to_string(sid++), "; rev:1;)"));
    };
    for (const auto port : flows.udp) rule("udp", std::to_string(port), "");
    if (flows.esp) rule("ip", "any", "ip_proto:50; ");
    for (const auto port : all_tcp(flows)) rule("tcp", std::to_string(port), "");
  }
  const auto capacity = std::to_string(sid - 4250001);
  append(out,
         {"END",
          cat("aws network-firewall create-rule-group --rule-group-name switchback-permit --type STATEFUL --capacity ",
              capacity, " --rules file://switchback-permit.rules")});
  sheet.check.commands = {
      "aws network-firewall describe-rule-group --rule-group-name switchback-permit --type STATEFUL"};
  sheet.rollback.notes = {"Take the groups out of the firewall policy first."};
  sheet.rollback.commands = {
      "aws network-firewall delete-rule-group --rule-group-name switchback-permit --type STATEFUL"};
  sheet.security = {"Stateful as ever: nothing is given up."};
  if (request.mode == Mode::permit || flows.ctcp.empty()) return sheet;
  if (request.mode == Mode::tolerant) {
    sheet.rule.notes = {
        "In the firewall policy (aws network-firewall update-firewall-policy, or the console): StatefulEngineOptions,",
        "StreamExceptionPolicy: CONTINUE in place of DROP, the default, after which a flow with a hole is dropped for "
        "good."};
    sheet.rollback.notes.emplace_back("StreamExceptionPolicy back to what it was.");
    sheet.security = {"Of the whole firewall policy: rules that need context do not match on flows that were broken."};
    return sheet;
  }
  sheet.rule.notes = {
      "A stateless rule group that passes both directions before the stateful engine sees them. Add it to the firewall "
      "policy",
      "with a priority before every other stateless group."};
  auto& rule = sheet.rule.commands;
  rule.emplace_back("cat > switchback-ctcp.json <<'END'");
  rule.emplace_back("{\"RulesSource\":{\"StatelessRulesAndCustomActions\":{\"StatelessRules\":[");
  std::vector<std::string> entries;
  for (const auto& pair : pairs(flows)) {
    for (const bool outward : {true, false}) {
      const auto client = aws_definition(pair.client ? pair.client->to_string() : any_of(pair));
      const auto headend = aws_definition(IpPrefix::host(pair.headend).to_string());
      entries.push_back(cat("{\"Priority\":", std::to_string(entries.size() + 1),
                            ",\"RuleDefinition\":{\"Actions\":[\"aws:pass\"],\"MatchAttributes\":{\"Sources\":",
                            outward ? client : headend, ",\"Destinations\":", outward ? headend : client,
                            ",\"Protocols\":[6],",
                            outward ? "\"DestinationPorts\":" : "\"SourcePorts\":", aws_ports(flows.ctcp), "}}}"));
    }
  }
  for (std::size_t i = 0; i < entries.size(); ++i) rule.push_back(cat(entries[i], i + 1 < entries.size() ? "," : ""));
  append(rule,
         {"]}}}", "END",
          cat("aws network-firewall create-rule-group --rule-group-name switchback-ctcp --type STATELESS --capacity ",
              std::to_string(entries.size() * flows.ctcp.size()), " --rule-group file://switchback-ctcp.json")});
  sheet.check.commands.emplace_back(
      "aws network-firewall describe-rule-group --rule-group-name switchback-ctcp --type STATELESS");
  sheet.rollback.commands.emplace_back(
      "aws network-firewall delete-rule-group --rule-group-name switchback-ctcp --type STATELESS");
  sheet.security = {
      "These addresses and ports are not inspected at all, either way. Inside is ESP, which the ends authenticate."};
  return sheet;
}

}  // namespace switchback::firewall
