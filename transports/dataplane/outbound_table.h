// Which Child SA an inner packet leaves by: the most specific destination wins, and among equals the newest.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/packet/ip.h"
#include "transports/dataplane/child.h"
#include "transports/dataplane/handover.h"

namespace switchback::transports {

/// Where an inner packet leaves: by a Child SA here, or by one of another worker, or (neither) not at all.
struct Outlet {
  Child* child = nullptr;
  const ForeignRoute* foreign = nullptr;

  [[nodiscard]] const packet::TrafficSelectors& remote() const noexcept {
    return child != nullptr ? child->remote : foreign->remote;
  }
  [[nodiscard]] bool permits(ByteView packet, const packet::IpView& ip) const noexcept {
    return child != nullptr ? child->outbound.permits(packet) : foreign->permits(packet, ip);
  }
  friend bool operator==(const Outlet&, const Outlet&) = default;
};

/// Hosts by hash (a headend has one or two for each client), ranges in a list from narrow to wide (a client has a few).
/// A packet that the best entry's selectors do not permit goes on to the next. Looked up once for each TUN read, not
/// for each packet. Holds borrowed pointers: remove() an outlet before what it names goes.
class OutboundTable {
 public:
  void add(const Outlet& outlet);
  void remove(const Outlet& outlet) noexcept;
  [[nodiscard]] Outlet find(ByteView packet, const packet::IpView& ip) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return hosts_.size() + ranges_.size(); }

 private:
  struct Range {
    IpAddress first, last;
    IpAddress width;  // last - first
    Outlet outlet;
  };
  std::unordered_map<IpAddress, std::vector<Outlet>> hosts_;  // newest last
  std::vector<Range> ranges_;                                 // narrow first; of equal width the newest first
};

}  // namespace switchback::transports
