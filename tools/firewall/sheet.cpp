#include "tools/firewall/sheet.h"

#include <algorithm>
#include <cctype>

namespace switchback::firewall {
namespace {

bool is_alnum(char c) noexcept { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

void add_comments(std::string& out, const Sheet& sheet, const std::vector<std::string>& lines) {
  for (const auto& line : lines) out += line.empty() ? sheet.comment + "\n" : cat(sheet.comment, " ", line, "\n");
}

void add_heading(std::string& out, const Sheet& sheet, std::string_view text) {
  out += cat("\n", sheet.comment, " ---- ", text, "\n");
}

std::string addresses_of(const Flows& flows) {
  std::vector<std::string> words;
  for (const auto& address : flows.addresses) words.push_back(address.to_string());
  return join(words, ", ");
}

std::string first_line(const Flows& flows) {
  const auto ports = flows.udp.empty() ? std::string{"500/4500"} : join(flows.udp, "/");
  auto out = cat("Allow UDP ", ports, " and ESP (protocol 50) to the headend: then no bypass is needed.");
  if (flows.udp.empty()) out += " (Both are off here: turn them on at the headend and in the profile.)";
  return out;
}

std::string rule_heading(const Request& request) {
  const auto ports = join(request.flows.ctcp, ", ");
  if (request.mode == Mode::tolerant) return cat("2. Loosen the TCP checks for cTCP (TCP ", ports, ")");
  return cat("2. Exempt cTCP (TCP ", ports, ") from the TCP checks");
}

}  // namespace

Result<void, UserError> check_name(std::string_view name, std::string_view option) {
  const bool fine = !name.empty() && name.size() <= 31 && is_alnum(name.front()) &&
                    std::all_of(name.begin(), name.end(),
                                [](char c) { return is_alnum(c) || c == '.' || c == '_' || c == '-' || c == '/'; });
  if (fine) return {};
  return fail_user(cat(option,
                       ": names of interfaces and zones have letters, digits, '.', '_', '-' and '/', 31 at most, "
                       "and begin with a letter or digit"));
}

Result<void, UserError> check_chain(std::string_view chain) {
  std::size_t words = chain.empty() ? 0 : 1;
  bool fine = !chain.empty() && chain.size() <= 63 && is_alnum(chain.front()) && is_alnum(chain.back());
  for (const char c : chain) {
    if (c == ' ') ++words;
    fine = fine && (is_alnum(c) || c == '_' || c == '-' || c == ' ');
  }
  if (fine && words <= 2 && chain.find("  ") == std::string_view::npos) return {};
  return fail_user(
      "--chain: \"TABLE CHAIN\" of family inet for nftables, \"CHAIN\" for iptables; "
      "letters, digits, '_' and '-'");
}

std::string join(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const auto& word : words) {
    if (!out.empty()) out += between;
    out += word;
  }
  return out;
}

std::string join(const std::vector<std::uint16_t>& ports, std::string_view between) {
  std::vector<std::string> words;
  for (const auto port : ports) words.push_back(std::to_string(port));
  return join(words, between);
}

std::string mask(const IpPrefix& prefix, bool inverted) {
  const std::uint32_t ones =
      prefix.length == 0 ? 0 : ~std::uint32_t{0} << (32U - std::min<unsigned>(prefix.length, 32));
  return IpAddress::v4(inverted ? ~ones : ones).to_string();
}

std::string render(const Sheet& sheet, const Request& request, Part part) {
  std::string out;
  const auto commands = [&](const Block& block) {
    for (const auto& line : block.commands) out += line + "\n";
  };
  switch (part) {
    case Part::permit: commands(sheet.permit); return out;
    case Part::rule: commands(sheet.rule); return out;
    case Part::check: commands(sheet.check); return out;
    case Part::rollback: commands(sheet.rollback); return out;
    case Part::all: break;
  }
  const auto& flows = request.flows;
  add_comments(out, sheet, {first_line(flows), ""});
  add_comments(out, sheet,
               {cat("For ", sheet.product, ". Nothing has been applied: read, adapt the names, then paste.")});
  add_comments(out, sheet, {cat("Headend: ", addresses_of(flows))});
  for (const auto& name : flows.names) {
    add_comments(out, sheet, {cat(name, " was looked up just now; when its addresses change, these rules are wrong.")});
  }

  add_heading(out, sheet, "1. Permit what the headend's transports need");
  add_comments(out, sheet, sheet.permit.notes);
  commands(sheet.permit);

  if (sheet.rule.commands.empty() && sheet.rule.notes.empty()) {
    if (request.mode != Mode::permit) {
      add_heading(out, sheet, "2. Nothing to exempt");
      add_comments(out, sheet, {"ctcp is not among the transports, and the others need no exemption."});
    }
  } else {
    add_heading(out, sheet, rule_heading(request));
    add_comments(
        out, sheet,
        {"Only classic cTCP needs this, and resilient cTCP where a device is very strict. tcp and tls never do."});
    add_comments(out, sheet, sheet.rule.notes);
    commands(sheet.rule);
  }

  const auto in_comments = [&](std::string_view heading, const Block& block) {
    add_heading(out, sheet, heading);
    add_comments(out, sheet, block.notes);
    for (const auto& line : block.commands) out += cat(sheet.comment, "   ", line, "\n");
  };
  in_comments("Check", sheet.check);
  in_comments("Undo", sheet.rollback);

  add_heading(out, sheet, "Security");
  add_comments(out, sheet, sheet.security);
  if (!sheet.rule.commands.empty() || !sheet.rule.notes.empty()) {
    add_comments(out, sheet, {"Remove part 2 after the clients have moved to UDP 4500, ESP, tls or resilient cTCP."});
  }
  return out;
}

}  // namespace switchback::firewall
