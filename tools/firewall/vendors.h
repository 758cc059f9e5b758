// One writer per vendor. Syntax is that of the vendors' manuals (sources: docs/firewall.md); only the nftables and
// iptables texts are checked by the real thing in the tests.
#pragma once

#include <string_view>
#include <vector>

#include "tools/firewall/sheet.h"

namespace switchback::firewall {

struct Vendor {
  std::string_view name;     // on the command line
  std::string_view product;  // for people
  Sheet (*write)(const Request& request);
};

/// All of them, in the order of the help text.
[[nodiscard]] const std::vector<Vendor>& vendors();
/// @return null: there is none of that name
[[nodiscard]] const Vendor* find_vendor(std::string_view name);
/// The sheet. Errors: the request's names are not allowed, or the vendor cannot use them so.
[[nodiscard]] Result<Sheet, UserError> write_sheet(const Vendor& vendor, const Request& request);

Sheet write_asa(const Request& request);
Sheet write_ios(const Request& request);
Sheet write_nftables(const Request& request);
Sheet write_iptables(const Request& request);
Sheet write_routeros(const Request& request);
Sheet write_pf(const Request& request);
Sheet write_junos(const Request& request);
Sheet write_panos(const Request& request);
Sheet write_fortigate(const Request& request);
Sheet write_checkpoint(const Request& request);
Sheet write_aws(const Request& request);

}  // namespace switchback::firewall
