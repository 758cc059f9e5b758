// Traffic selectors: which inner packets an SA may carry, and the set algebra by which two ends agree on them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"

namespace switchback::packet {

/// One selector, RFC 7296 §3.13.1: a protocol, a range of ports and a range of addresses of one family, all inclusive.
/// For ICMP and ICMPv6 a "port" is type * 256 + code. Ports 65535..0 mean OPAQUE: packets whose ports cannot be seen.
struct TrafficSelector {
  std::uint8_t ip_protocol = 0;  // 0: any
  std::uint16_t first_port = 0, last_port = 65535;
  IpAddress first, last;

  [[nodiscard]] std::string to_string() const;
  friend auto operator<=>(const TrafficSelector&, const TrafficSelector&) = default;
};

using TrafficSelectors = std::vector<TrafficSelector>;

/// What the one-octet count of a TS payload can hold, RFC 7296 §3.13; narrow() never returns more.
inline constexpr std::size_t kMaxTrafficSelectors = 255;

/// All protocols and ports of a prefix; host bits of its address are ignored.
[[nodiscard]] TrafficSelector from_prefix(const IpPrefix& prefix) noexcept;
[[nodiscard]] TrafficSelectors from_prefixes(std::span<const IpPrefix> prefixes);
[[nodiscard]] TrafficSelector from_host(const IpAddress& address) noexcept;

/// Addresses of one family and in order; ports in order or OPAQUE. Nothing below accepts an invalid selector: it
/// matches no address, intersects with nothing and has no prefixes.
[[nodiscard]] bool is_valid(const TrafficSelector& selector) noexcept;
[[nodiscard]] bool is_any_port(const TrafficSelector& selector) noexcept;
[[nodiscard]] bool is_opaque(const TrafficSelector& selector) noexcept;

/// By address alone, whatever protocol and ports the selectors ask for.
[[nodiscard]] bool contains(const TrafficSelector& selector, const IpAddress& address) noexcept;
[[nodiscard]] bool contains(std::span<const TrafficSelector> selectors, const IpAddress& address) noexcept;
/// By address, protocol and port. `port` empty: the packet shows none (a later fragment, a protocol without ports),
/// which only selectors of any or OPAQUE ports admit, RFC 4301 §4.4.1.1.
[[nodiscard]] bool contains(const TrafficSelector& selector, const IpAddress& address, std::uint8_t ip_protocol,
                            std::optional<std::uint16_t> port) noexcept;
[[nodiscard]] bool contains(std::span<const TrafficSelector> selectors, const IpAddress& address,
                            std::uint8_t ip_protocol, std::optional<std::uint16_t> port) noexcept;
/// Whether every packet of `inner` also matches `outer`.
[[nodiscard]] bool covers(const TrafficSelector& outer, const TrafficSelector& inner) noexcept;

/// What both admit, or nothing.
[[nodiscard]] std::optional<TrafficSelector> intersect(const TrafficSelector& a, const TrafficSelector& b) noexcept;
/// Every pairwise intersection, in the order of `a`, without those that another one covers. At most
/// kMaxTrafficSelectors.
[[nodiscard]] TrafficSelectors intersect(std::span<const TrafficSelector> a, std::span<const TrafficSelector> b);
/// The responder's choice, RFC 7296 §2.9: the part of what the initiator offered that policy allows. Empty: answer
/// TS_UNACCEPTABLE.
[[nodiscard]] TrafficSelectors narrow(std::span<const TrafficSelector> offered,
                                      std::span<const TrafficSelector> policy);

/// The fewest prefixes that together hold exactly the addresses of the range, in order: at most 62 for IPv4 and 254
/// for IPv6. Protocol and ports are ignored.
[[nodiscard]] std::vector<IpPrefix> to_prefixes(const TrafficSelector& selector);
/// The prefixes of all, sorted, without duplicates and without those that another one holds.
[[nodiscard]] std::vector<IpPrefix> to_prefixes(std::span<const TrafficSelector> selectors);

/// "10.0.0.0/8", "10.0.0.1-10.0.0.9", "192.0.2.7/32[tcp/443]", "::/0[udp/1000-2000]"; lists separated by ", ".
[[nodiscard]] std::string to_string(const TrafficSelector& selector);
[[nodiscard]] std::string to_string(std::span<const TrafficSelector> selectors);

}  // namespace switchback::packet
