#include "common/packet/selector_matcher.h"

#include <algorithm>

namespace switchback::packet {

SelectorMatcher::SelectorMatcher(std::span<const TrafficSelector> selectors) {
  for (const auto& selector : selectors.first(std::min(selectors.size(), kMaxTrafficSelectors))) {
    if (!is_valid(selector)) continue;
    auto rule = kAnything;
    if (selector.ip_protocol != 0 || !is_any_port(selector)) {
      rule = static_cast<std::uint16_t>(rules_.size());
      rules_.push_back(selector);
    }
    const auto* first = selector.first.bytes().data();
    const auto* last = selector.last.bytes().data();
    if (selector.first.is_v4()) {
      v4_.push_back({load_be<std::uint32_t>(first), load_be<std::uint32_t>(last), rule});
    } else {
      v6_.push_back({load_be<std::uint64_t>(first), load_be<std::uint64_t>(first + 8), load_be<std::uint64_t>(last),
                     load_be<std::uint64_t>(last + 8), rule});
    }
  }
}

bool SelectorMatcher::matches(ByteView address, ByteView packet, const IpView& ip, bool source) const noexcept {
  if (address.size() == 4) {
    const auto value = load_be<std::uint32_t>(address.data());
    for (const auto& range : v4_) {
      if (value - range.first <= range.last - range.first && rule_admits(range.rule, packet, ip, source)) return true;
    }
    return false;
  }
  const auto high = load_be<std::uint64_t>(address.data());
  const auto low = load_be<std::uint64_t>(address.data() + 8);
  for (const auto& range : v6_) {
    const bool above = high > range.first_high || (high == range.first_high && low >= range.first_low);
    const bool below = high < range.last_high || (high == range.last_high && low <= range.last_low);
    if (above && below && rule_admits(range.rule, packet, ip, source)) return true;
  }
  return false;
}

bool SelectorMatcher::rule_admits(std::uint16_t rule, ByteView packet, const IpView& ip, bool source) const noexcept {
  if (rule == kAnything) return true;
  const auto& selector = rules_[rule];
  if (selector.ip_protocol != 0 && selector.ip_protocol != ip.protocol) return false;
  if (is_any_port(selector)) return true;
  const auto ports = ports_of(packet, ip);
  if (is_opaque(selector)) return !ports;
  if (!ports) return false;
  const auto port = source ? ports->source : ports->destination;
  return port >= selector.first_port && port <= selector.last_port;
}

}  // namespace switchback::packet
