#include "transports/dataplane/outbound_table.h"

#include <algorithm>

namespace switchback::transports {
namespace {

/// last - first as a number in network order. Pre: first <= last, of one family.
[[nodiscard]] IpAddress difference(const IpAddress& first, const IpAddress& last) noexcept {
  std::array<std::uint8_t, 16> octets{};
  int borrow = 0;
  for (std::size_t i = last.size(); i-- > 0;) {
    const int value = int{last.bytes()[i]} - int{first.bytes()[i]} - borrow;
    borrow = value < 0 ? 1 : 0;
    octets[i] = static_cast<std::uint8_t>(value + borrow * 256);
  }
  return IpAddress::from_bytes(ByteView{octets}.first(last.size()));
}

}  // namespace

void OutboundTable::add(const Outlet& outlet) {
  for (const auto& selector : outlet.remote()) {
    if (!packet::is_valid(selector)) continue;
    if (selector.first == selector.last) {
      auto& entries = hosts_[selector.first];
      // Several selectors may name a host with different ports; the outlet's own check tells them apart.
      if (std::find(entries.begin(), entries.end(), outlet) == entries.end()) entries.push_back(outlet);
      continue;
    }
    const Range range{selector.first, selector.last, difference(selector.first, selector.last), outlet};
    const auto at =
        std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.width >= range.width; });
    ranges_.insert(at, range);
  }
}

void OutboundTable::remove(const Outlet& outlet) noexcept {
  for (const auto& selector : outlet.remote()) {
    const auto host = hosts_.find(selector.first);
    if (host == hosts_.end()) continue;
    std::erase(host->second, outlet);
    if (host->second.empty()) hosts_.erase(host);
  }
  std::erase_if(ranges_, [&](const Range& range) { return range.outlet == outlet; });
}

Outlet OutboundTable::find(ByteView packet, const packet::IpView& ip) const noexcept {
  const auto destination = packet::destination_address(packet, ip);
  if (const auto host = hosts_.find(destination); host != hosts_.end()) {
    for (auto outlet = host->second.rbegin(); outlet != host->second.rend(); ++outlet) {
      if (outlet->permits(packet, ip)) return *outlet;
    }
  }
  for (const auto& range : ranges_) {
    if (range.first.family() != destination.family() || destination < range.first || range.last < destination) continue;
    if (range.outlet.permits(packet, ip)) return range.outlet;
  }
  return {};
}

}  // namespace switchback::transports
