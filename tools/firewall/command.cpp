#include "tools/firewall/command.h"

#include <algorithm>
#include <cstdio>

#include "common/profile/profile.h"
#include "headend/config.h"
#include "tools/firewall/vendors.h"

namespace switchback::firewall {
namespace {

struct Complaint {
  std::string message;
  ExitStatus status;
};
auto as(ExitStatus status) {
  return [status](const UserError& error) { return Complaint{error.message, status}; };
}

Result<Flows, Complaint> read_flows(const Options& options) {
  Flows flows;
  // An --address beside a file stands in for the addresses there, so that a name need not be known here.
  const auto lookup = [&](const std::string& name) { return look_up(name); };
  if (!options.profile.empty()) {
    auto profile = profile::load(options.profile);
    if (!profile) return fail(Complaint{profile.error().message, ExitStatus::usage});
    if (!options.addresses.empty()) profile->headend.addresses = options.addresses;
    SB_TRY(flows, from_profile(*profile, lookup).map_error(as(ExitStatus::failure)));
  } else if (!options.headend_directory.empty()) {
    auto config = headend::load_config(options.headend_directory);
    if (!config) return fail(Complaint{config.error().message, ExitStatus::usage});
    if (!options.addresses.empty()) config->addresses = options.addresses;
    SB_TRY(flows, from_headend(*config, lookup).map_error(as(ExitStatus::failure)));
  } else if (!options.addresses.empty()) {
    SB_TRY(flows, from_addresses(options.addresses, lookup).map_error(as(ExitStatus::failure)));
  } else {
    return fail(
        Complaint{"whose rules? Give --profile FILE, --headend-dir DIR or --address ADDRESS", ExitStatus::usage});
  }
  if (!options.ports.empty()) flows.ctcp = options.ports;
  std::sort(flows.ctcp.begin(), flows.ctcp.end());
  flows.ctcp.erase(std::unique(flows.ctcp.begin(), flows.ctcp.end()), flows.ctcp.end());
  if (!options.clients.empty()) SB_CHECK(set_clients(flows, options.clients).map_error(as(ExitStatus::usage)));
  return flows;
}

}  // namespace

int complain(const std::string& message, ExitStatus status) {
  std::fprintf(stderr, "switchback-firewall: %s\n", message.c_str());
  return static_cast<int>(status);
}

int print(Options& options) {
  const auto* vendor = find_vendor(options.vendor);
  if (vendor == nullptr) {
    std::vector<std::string> names;
    for (const auto& one : vendors()) names.emplace_back(one.name);
    return complain("no vendor of that name; there are " + join(names, ", "), ExitStatus::usage);
  }
  if (options.ports.size() > kMaxPorts)
    return complain("--port: at most " + std::to_string(kMaxPorts), ExitStatus::usage);
  auto flows = read_flows(options);
  if (!flows) return complain(flows.error().message, flows.error().status);
  auto& request = options.request;
  request.flows = *std::move(flows);
  request.mode = options.mode == "permit" ? Mode::permit : options.mode == "tolerant" ? Mode::tolerant : Mode::bypass;
  const auto sheet = write_sheet(*vendor, request);
  if (!sheet) return complain(sheet.error().message, ExitStatus::usage);
  const auto part = options.part == "permit"     ? Part::permit
                    : options.part == "rule"     ? Part::rule
                    : options.part == "check"    ? Part::check
                    : options.part == "rollback" ? Part::rollback
                                                 : Part::all;
  const auto text = render(*sheet, request, part);
  if (std::fputs(text.c_str(), stdout) == EOF || std::fflush(stdout) == EOF) {
    return complain("cannot write the output; is the disk full?", ExitStatus::failure);
  }
  return static_cast<int>(ExitStatus::success);
}

}  // namespace switchback::firewall
