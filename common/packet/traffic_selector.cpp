#include "common/packet/traffic_selector.h"

#include <algorithm>

namespace switchback::packet {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17, kIcmp = 1, kIcmpV6 = 58;

// Trailing zero bits of the address: how wide a prefix can start here.
unsigned alignment(const IpAddress& address) noexcept {
  const auto octets = address.bytes();
  unsigned bits = 0;
  for (std::size_t i = octets.size(); i-- > 0; bits += 8) {
    if (octets[i] != 0) return bits + static_cast<unsigned>(__builtin_ctz(octets[i]));
  }
  return bits;
}

bool port_matches(const TrafficSelector& selector, std::optional<std::uint16_t> port) noexcept {
  if (is_any_port(selector)) return true;
  if (is_opaque(selector)) return !port.has_value();
  return port.has_value() && *port >= selector.first_port && *port <= selector.last_port;
}

std::string protocol_name(std::uint8_t protocol) {
  switch (protocol) {
    case 0: return "any";
    case kTcp: return "tcp";
    case kUdp: return "udp";
    case kIcmp: return "icmp";
    case kIcmpV6: return "icmpv6";
    default: return std::to_string(protocol);
  }
}

std::string addresses_to_string(const TrafficSelector& selector) {
  if (selector.first == selector.last) return IpPrefix::host(selector.first).to_string();
  // A range that is a prefix is written as one: the widest prefix at `first` that stays within the range.
  const auto prefixes = to_prefixes(selector);
  if (prefixes.size() == 1) return prefixes.front().to_string();
  return selector.first.to_string() + "-" + selector.last.to_string();
}

}  // namespace

TrafficSelector from_prefix(const IpPrefix& prefix) noexcept { return {0, 0, 65535, prefix.first(), prefix.last()}; }

TrafficSelectors from_prefixes(std::span<const IpPrefix> prefixes) {
  TrafficSelectors selectors;
  selectors.reserve(prefixes.size());
  for (const auto& prefix : prefixes) selectors.push_back(from_prefix(prefix));
  return selectors;
}

TrafficSelector from_host(const IpAddress& address) noexcept { return {0, 0, 65535, address, address}; }

bool is_any_port(const TrafficSelector& selector) noexcept {
  return selector.first_port == 0 && selector.last_port == 65535;
}

bool is_opaque(const TrafficSelector& selector) noexcept {
  return selector.first_port == 65535 && selector.last_port == 0;  // RFC 7296 §3.13.1
}

bool is_valid(const TrafficSelector& selector) noexcept {
  return !selector.first.empty() && selector.first.family() == selector.last.family() &&
         selector.first <= selector.last && (selector.first_port <= selector.last_port || is_opaque(selector));
}

bool contains(const TrafficSelector& selector, const IpAddress& address) noexcept {
  return !address.empty() && is_valid(selector) && address.family() == selector.first.family() &&
         selector.first <= address && address <= selector.last;
}

bool contains(std::span<const TrafficSelector> selectors, const IpAddress& address) noexcept {
  return std::any_of(selectors.begin(), selectors.end(), [&](const auto& s) { return contains(s, address); });
}

bool contains(const TrafficSelector& selector, const IpAddress& address, std::uint8_t ip_protocol,
              std::optional<std::uint16_t> port) noexcept {
  return contains(selector, address) && (selector.ip_protocol == 0 || selector.ip_protocol == ip_protocol) &&
         port_matches(selector, port);
}

bool contains(std::span<const TrafficSelector> selectors, const IpAddress& address, std::uint8_t ip_protocol,
              std::optional<std::uint16_t> port) noexcept {
  return std::any_of(selectors.begin(), selectors.end(),
                     [&](const auto& s) { return contains(s, address, ip_protocol, port); });
}

bool covers(const TrafficSelector& outer, const TrafficSelector& inner) noexcept {
  return intersect(outer, inner) == std::optional{inner};
}

std::optional<TrafficSelector> intersect(const TrafficSelector& a, const TrafficSelector& b) noexcept {
  if (!is_valid(a) || !is_valid(b) || a.first.family() != b.first.family()) return std::nullopt;
  if (a.ip_protocol != 0 && b.ip_protocol != 0 && a.ip_protocol != b.ip_protocol) return std::nullopt;
  TrafficSelector both;
  both.ip_protocol = a.ip_protocol != 0 ? a.ip_protocol : b.ip_protocol;
  both.first = std::max(a.first, b.first);
  both.last = std::min(a.last, b.last);
  if (both.last < both.first) return std::nullopt;
  // OPAQUE is a value of its own, which only "any" and OPAQUE admit; as a range it would be empty.
  if (is_opaque(a) || is_opaque(b)) {
    const auto& other = is_opaque(a) ? b : a;
    if (!is_opaque(other) && !is_any_port(other)) return std::nullopt;
    both.first_port = 65535;
    both.last_port = 0;
    return both;
  }
  both.first_port = std::max(a.first_port, b.first_port);
  both.last_port = std::min(a.last_port, b.last_port);
  if (both.first_port > both.last_port) return std::nullopt;
  return both;
}

TrafficSelectors intersect(std::span<const TrafficSelector> a, std::span<const TrafficSelector> b) {
  TrafficSelectors result;
  for (const auto& from_a : a) {
    for (const auto& from_b : b) {
      const auto both = intersect(from_a, from_b);
      if (!both) continue;
      if (std::any_of(result.begin(), result.end(), [&](const auto& held) { return covers(held, *both); })) continue;
      std::erase_if(result, [&](const auto& held) { return covers(*both, held); });
      if (result.size() == kMaxTrafficSelectors) return result;
      result.push_back(*both);
    }
  }
  return result;
}

TrafficSelectors narrow(std::span<const TrafficSelector> offered, std::span<const TrafficSelector> policy) {
  return intersect(offered, policy);
}

std::vector<IpPrefix> to_prefixes(const TrafficSelector& selector) {
  std::vector<IpPrefix> prefixes;
  if (!is_valid(selector)) return prefixes;
  const auto bits = selector.first.bits();
  auto from = selector.first;
  for (;;) {
    // The widest prefix that starts here and does not reach beyond the range.
    IpPrefix prefix{from, static_cast<std::uint8_t>(bits - alignment(from))};
    while (selector.last < prefix.last()) ++prefix.length;
    prefixes.push_back(prefix);
    const auto end = prefix.last();
    if (end == selector.last) return prefixes;
    from = end.plus(1);
  }
}

std::vector<IpPrefix> to_prefixes(std::span<const TrafficSelector> selectors) {
  std::vector<IpPrefix> prefixes;
  for (const auto& selector : selectors) {
    const auto more = to_prefixes(selector);
    prefixes.insert(prefixes.end(), more.begin(), more.end());
  }
  // Sorted by address, then length: what holds another comes before it, with nothing foreign in between.
  std::sort(prefixes.begin(), prefixes.end());
  std::vector<IpPrefix> result;
  for (const auto& prefix : prefixes) {
    if (result.empty() || !result.back().contains(prefix.address)) result.push_back(prefix);
  }
  return result;
}

std::string TrafficSelector::to_string() const { return packet::to_string(*this); }

std::string to_string(const TrafficSelector& selector) {
  if (!is_valid(selector)) return "invalid";
  auto text = addresses_to_string(selector);
  if (selector.ip_protocol == 0 && is_any_port(selector)) return text;
  text += "[" + protocol_name(selector.ip_protocol);
  if (is_opaque(selector)) {
    text += "/opaque";
  } else if (!is_any_port(selector)) {
    text += "/" + std::to_string(selector.first_port);
    if (selector.first_port != selector.last_port) text += "-" + std::to_string(selector.last_port);
  }
  return text + "]";
}

std::string to_string(std::span<const TrafficSelector> selectors) {
  std::string text;
  for (const auto& selector : selectors) {
    if (!text.empty()) text += ", ";
    text += to_string(selector);
  }
  return text;
}

}  // namespace switchback::packet
