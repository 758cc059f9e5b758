// Configuration payload (RFC 7296 §3.15): inner addresses, DNS, subnets, search domains.
#pragma once

#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/ike/message.h"

namespace switchback::ike {

inline constexpr std::size_t kMaxConfigurationAttributes = 256;

/// Borrowed from the message.
struct ConfigurationAttributeView {
  ConfigurationAttribute type;
  ByteView value;
};
struct ConfigurationView {
  ConfigurationType type;
  std::vector<ConfigurationAttributeView> attributes;
};
/// Errors: truncated, too_many. Values are not judged.
[[nodiscard]] Result<ConfigurationView, ParseError> parse_configuration(ByteView body);

/// What the attributes of a request or reply mean, as values.
struct Configuration {
  ConfigurationType type = ConfigurationType::request;
  bool wants_v4 = false, wants_v6 = false;  // request: an address attribute is present, empty or not
  bool wants_dns = false;                   // request: a DNS attribute is present
  bool wants_subnets = false;               // request: a subnet attribute is present
  bool wants_domains = false;               // request: an INTERNAL_DNS_DOMAIN attribute is present
  /// Request: addresses wanted again. Reply: addresses assigned; IPv4 with INTERNAL_IP4_NETMASK if that came, else as
  /// a host; IPv6 with the length that came, host bits kept.
  std::vector<IpPrefix> addresses;
  std::vector<IpAddress> dns;
  std::vector<IpPrefix> subnets;     // reply: routes behind the responder
  std::vector<std::string> domains;  // reply: host names of letters, digits, '-', '_' and '.', at most 253 octets each
};
/// Malformed values are left out: an unusable attribute is not worth a session (§3.15: unknown ones are ignored).
[[nodiscard]] Configuration interpret(const ConfigurationView& view);

/// Request: what is wanted, as empty attributes or with the addresses wanted again. Reply: the values; one
/// INTERNAL_IP4_NETMASK per IPv4 address that is not a host.
void add_configuration(ChainBuilder& chain, const Configuration& configuration);

}  // namespace switchback::ike
