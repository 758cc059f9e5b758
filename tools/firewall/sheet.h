// What is printed for one vendor: blocks of commands with the words around them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "tools/firewall/flows.h"

namespace switchback::firewall {

/// permit: let all transports through. bypass: also take classic cTCP out of the device's TCP checks. tolerant: also
/// loosen those checks in place of taking it out.
enum class Mode { permit, bypass, tolerant };
enum class Part { all, permit, rule, check, rollback };

struct Request {
  Flows flows;
  Mode mode = Mode::bypass;
  /// Interfaces or zones, as the vendor names them; empty: the vendor's usual name, or none. See check_name().
  std::string interface;  // towards the headend
  std::string inside;     // towards the clients
  std::string chain;      // nftables "TABLE CHAIN" of family inet, iptables "CHAIN"; empty: the usual ones
};

/// Letters, digits and ._-/ behind a letter or digit, 31 at most: nothing that any of the vendors' languages gives a
/// meaning to. @param option  for the message
[[nodiscard]] Result<void, UserError> check_name(std::string_view name, std::string_view option);
/// One to two words of letters, digits, '_' and '-'.
[[nodiscard]] Result<void, UserError> check_chain(std::string_view chain);

/// Lines without their ends. Notes come out as comments, commands as they are.
struct Block {
  std::vector<std::string> notes, commands;
};

struct Sheet {
  std::string comment = "#";  // begins a comment in the vendor's language
  std::string product;        // "Cisco ASA 8.2 and later"
  Block permit;
  Block rule;  // empty: nothing to exempt or to loosen
  Block check, rollback;
  std::vector<std::string> security;  // what is given up
};

/// The whole is meant to be pasted: check and rollback stand in comments there, and as commands when asked for alone.
[[nodiscard]] std::string render(const Sheet& sheet, const Request& request, Part part);

// ---- for those who fill sheets
// ---------------------------------------------------------------------------------------

template <class... T>
[[nodiscard]] std::string cat(const T&... parts) {
  std::string out;
  (out.append(parts), ...);
  return out;
}
/// "500, 4500" with ", " between.
[[nodiscard]] std::string join(const std::vector<std::uint16_t>& ports, std::string_view between);
[[nodiscard]] std::string join(const std::vector<std::string>& words, std::string_view between);
/// "255.255.0.0"; inverted: "0.0.255.255", as IOS wants it.
[[nodiscard]] std::string mask(const IpPrefix& prefix, bool inverted = false);

}  // namespace switchback::firewall
