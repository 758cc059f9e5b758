// Traffic selectors compiled for the packet path.
#pragma once

#include <cstdint>
#include <vector>

#include "common/packet/ip.h"
#include "common/packet/traffic_selector.h"

namespace switchback::packet {

/// One end's selectors as sorted integers. Decides like contains(); built once per SA, read per packet.
class SelectorMatcher {
 public:
  SelectorMatcher() = default;  // matches nothing
  explicit SelectorMatcher(std::span<const TrafficSelector> selectors);

  /// @param address  4 or 16 octets in network order
  /// @param packet   the packet it stands in, looked at again only if some selector asks for protocol or ports
  [[nodiscard]] bool matches_source(ByteView packet, const IpView& ip) const noexcept {
    return matches(packet.subspan(ip.source_offset, ip.address_bytes), packet, ip, true);
  }
  [[nodiscard]] bool matches_destination(ByteView packet, const IpView& ip) const noexcept {
    return matches(packet.subspan(std::size_t{ip.source_offset} + ip.address_bytes, ip.address_bytes), packet, ip,
                   false);
  }
  [[nodiscard]] bool empty() const noexcept { return v4_.empty() && v6_.empty(); }

 private:
  struct V4 {
    std::uint32_t first, last;
    std::uint16_t rule;
  };
  struct V6 {
    std::uint64_t first_high, first_low, last_high, last_low;
    std::uint16_t rule;
  };
  static constexpr std::uint16_t kAnything = 0xFFFF;  // neither protocol nor ports matter

  [[nodiscard]] bool matches(ByteView address, ByteView packet, const IpView& ip, bool source) const noexcept;
  [[nodiscard]] bool rule_admits(std::uint16_t rule, ByteView packet, const IpView& ip, bool source) const noexcept;

  std::vector<V4> v4_;
  std::vector<V6> v6_;
  std::vector<TrafficSelector> rules_;  // of those selectors that ask for protocol or ports
};

}  // namespace switchback::packet
