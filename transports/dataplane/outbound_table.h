// Which Child SA an inner packet leaves by: the most specific destination wins, and among equals the newest.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/packet/ip.h"
#include "transports/dataplane/child.h"

namespace switchback::transports {

/// Hosts by hash (a headend has one or two for each client), ranges in a list from narrow to wide (a client has a few).
/// A packet that the best entry's selectors do not permit goes on to the next. Looked up once for each TUN read, not
/// for each packet. Holds borrowed pointers: remove() a child before it goes.
class OutboundTable {
 public:
  void add(Child& child);
  void remove(const Child& child) noexcept;
  [[nodiscard]] Child* find(ByteView packet, const packet::IpView& ip) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return hosts_.size() + ranges_.size(); }

 private:
  struct Range {
    IpAddress first, last;
    IpAddress width;  // last - first
    Child* child;
  };
  std::unordered_map<IpAddress, std::vector<Child*>> hosts_;  // newest last
  std::vector<Range> ranges_;                                 // narrow first; of equal width the newest first
};

}  // namespace switchback::transports
