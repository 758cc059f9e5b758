// What a firewall between clients and a headend sees of Switchback: addresses, protocols, ports; from a profile, a
// headend's configuration or the command line.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/profile/profile.h"
#include "headend/config.h"

namespace switchback::firewall {

/// Bounds, so that a hostile file makes no flood of rules. More is refused.
inline constexpr std::size_t kMaxAddresses = 16, kMaxPorts = 10, kMaxClients = 16;

/// Every member has been validated: what is printed from here cannot be anything but addresses and numbers.
struct Flows {
  std::vector<IpAddress> addresses;  // of the headend, without duplicates; at least one
  std::vector<std::string> names;    // host names that some of them were looked up from; letters, digits, '-' and '.'
  std::vector<std::uint16_t> udp;    // IKE and NAT traversal; empty: udp is off
  bool esp = false;                  // IP protocol 50
  std::vector<std::uint16_t> ctcp;   // the only flow that ever needs an exemption
  std::vector<std::uint16_t> tcp;    // the kernel's TCP and TLS
  /// Where packets come from, as far as it was narrowed; empty: anywhere.
  std::vector<IpPrefix> clients;
};

/// From where to where: one rule each. `client` absent: from anywhere.
struct Pair {
  std::optional<IpPrefix> client;
  IpAddress headend;
};
/// Addresses and clients of the same family, combined.
[[nodiscard]] std::vector<Pair> pairs(const Flows& flows, IpFamily family);
/// The same of both families, IPv4 first.
[[nodiscard]] std::vector<Pair> pairs(const Flows& flows);
/// The TCP ports of all transports, ascending.
[[nodiscard]] std::vector<std::uint16_t> all_tcp(const Flows& flows);

/// Looks a host name up; an error says why not.
using Lookup = std::function<Result<std::vector<IpAddress>, std::string>(const std::string& name)>;
/// The system's resolver; blocks.
[[nodiscard]] Result<std::vector<IpAddress>, std::string> look_up(const std::string& name);

/// Sets addresses and names. Errors: a name that cannot be looked up, an address that no packet can be sent to, too
/// many.
[[nodiscard]] Result<void, UserError> set_addresses(Flows& flows, const std::vector<std::string>& texts,
                                                    const Lookup& lookup);
/// Narrows the flows to these clients. Errors: not a prefix, or no address of the headend has the family of any.
[[nodiscard]] Result<void, UserError> set_clients(Flows& flows, const std::vector<std::string>& texts);

[[nodiscard]] Result<Flows, UserError> from_profile(const profile::Profile& profile, const Lookup& lookup);
[[nodiscard]] Result<Flows, UserError> from_headend(const headend::Config& config, const Lookup& lookup);
/// With the ports that every headend has unless it was configured otherwise.
[[nodiscard]] Result<Flows, UserError> from_addresses(const std::vector<std::string>& addresses, const Lookup& lookup);

}  // namespace switchback::firewall
