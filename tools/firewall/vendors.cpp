#include "tools/firewall/vendors.h"

namespace switchback::firewall {

const std::vector<Vendor>& vendors() {
  static const std::vector<Vendor> all{
      {"asa", "Cisco ASA 8.2 and later (IPv6 and any6: 9.0 and later)", &write_asa},
      {"ios", "Cisco IOS and IOS XE with a zone firewall", &write_ios},
      {"nftables", "Linux, nftables", &write_nftables},
      {"iptables", "Linux, iptables", &write_iptables},
      {"pf", "PF of OpenBSD and FreeBSD", &write_pf},
      {"junos", "Juniper SRX", &write_junos},
      {"routeros", "MikroTik RouterOS", &write_routeros},
      {"panos", "Palo Alto Networks PAN-OS", &write_panos},
      {"fortigate", "FortiGate, FortiOS 6.4 and later", &write_fortigate},
      {"checkpoint", "Check Point", &write_checkpoint},
      {"aws-nfw", "AWS Network Firewall", &write_aws},
  };
  return all;
}

const Vendor* find_vendor(std::string_view name) {
  for (const auto& vendor : vendors()) {
    if (vendor.name == name) return &vendor;
  }
  return nullptr;
}

Result<Sheet, UserError> write_sheet(const Vendor& vendor, const Request& request) {
  if (!request.interface.empty()) SB_CHECK(check_name(request.interface, "--interface"));
  if (!request.inside.empty()) SB_CHECK(check_name(request.inside, "--inside"));
  if (vendor.name == "nftables" || vendor.name == "iptables") {
    for (const auto& name : {request.interface, request.inside}) {
      // What the kernel takes as a name.
      if (name.size() > 15 || name.find('/') != std::string::npos) {
        return fail_user("names of Linux interfaces have at most 15 characters, and no '/'");
      }
    }
  }
  if (!request.chain.empty()) {
    SB_CHECK(check_chain(request.chain));
    const bool two = request.chain.find(' ') != std::string::npos;
    if (vendor.name == "nftables" ? !two : two || vendor.name != "iptables") {
      return fail_user("--chain: \"TABLE CHAIN\" for nftables, \"CHAIN\" for iptables, nothing for the others");
    }
  }
  // A forwarded packet meets PF at both interfaces: exempt at one only, it still meets the state of the other.
  if (vendor.name == "pf" && request.interface.empty() != request.inside.empty()) {
    return fail_user("pf takes both --interface and --inside, or neither for all interfaces");
  }
  auto sheet = vendor.write(request);
  sheet.product = vendor.product;
  return sheet;
}

}  // namespace switchback::firewall
