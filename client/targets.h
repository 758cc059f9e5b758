// Which transports may be tried to which of the headend's addresses and ports: what the path selector's candidates
// mean.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/ip_address.h"
#include "common/path/offer.h"
#include "common/path/types.h"
#include "common/profile/profile.h"

namespace switchback::client {

/// Where the headend listens, as far as is known.
struct TransportPorts {
  std::uint16_t ike = 500, nat_t = 4500;
  std::vector<std::uint16_t> ctcp{10000};
  std::uint16_t tcp = 4500, tls = 443;
  friend bool operator==(const TransportPorts&, const TransportPorts&) = default;
};
[[nodiscard]] TransportPorts ports_of(const profile::Profile& profile);

/// Pure. A candidate is a transport over one family; every opening of it goes to its next address and port.
class Targets {
 public:
  Targets() = default;
  /// @param order  best first, each once
  /// @param addresses  the headend's, in the order to try them
  Targets(std::vector<path::TransportKind> order, TransportPorts ports, std::vector<IpAddress> addresses);

  /// Order × families, IPv6 first within a transport (RFC 8305 §5).
  [[nodiscard]] std::vector<path::Candidate> candidates() const;
  /// Where the next opening goes: all addresses with the first port, then all with the second. `udp`: the NAT-T port;
  /// `esp`: port 0. Pre: it is one of candidates().
  [[nodiscard]] Endpoint next(const path::Candidate& candidate);
  /// An opening of it came to nothing.
  void note_failed(const path::Candidate& candidate) noexcept;
  /// Every candidate has failed at least so many times, and no fewer than it has addresses and ports.
  /// @param v4, v6  whether any way leads there by that family; else its candidates do not count
  [[nodiscard]] bool exhausted(std::uint32_t times, bool v4, bool v6) const noexcept;

  /// What the authenticated headend says about its ports and ctcp's mode corrects the profile.
  void apply(const path::Offer& offer);
  /// The headend was met at this address: the next openings of its family go there first.
  void prefer(const IpAddress& address);

  [[nodiscard]] const TransportPorts& ports() const noexcept { return ports_; }
  /// The first address of a family; empty if there is none.
  [[nodiscard]] IpAddress first(IpFamily family) const noexcept;

 private:
  struct Entry {
    path::Candidate candidate;
    std::size_t opened = 0, failed = 0;
  };
  [[nodiscard]] std::vector<IpAddress> of(IpFamily family) const;
  [[nodiscard]] std::vector<std::uint16_t> ports_for(path::TransportKind transport) const;

  TransportPorts ports_;
  std::vector<IpAddress> addresses_;
  std::vector<Entry> entries_;
};

/// "UDP 500 and 4500", "protocol 50", "TCP 10000": what a firewall has to let through for a transport.
[[nodiscard]] std::string wire_name(path::TransportKind transport, const TransportPorts& ports);

}  // namespace switchback::client
