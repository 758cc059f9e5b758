// Where a packet socket has to send an IP packet to: interface and link-layer addresses of the next hop.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"
#include "common/io/netlink.h"

namespace switchback::io {

using MacAddress = std::array<std::uint8_t, 6>;

struct NextHop {
  unsigned ifindex = 0;
  unsigned mtu = 0;  // octets of IP packet
  IpAddress source;  // the kernel's choice
  /// Ethernet with the neighbour resolved; otherwise the IP layer has to send, which also resolves it.
  bool direct = false;
  MacAddress from{}, to{};
};

/// Routes (with policy, by mark) and neighbours through rtnetlink, cached. What is cached is looked up again when
/// routes, addresses or links change; neighbours when the kernel learns of another link-layer address, and every
/// kNeighbourLife, where one packet goes by the IP layer: so the kernel keeps on asking whether the neighbour is there.
/// One thread.
class NextHops {
 public:
  static constexpr std::chrono::seconds kNeighbourLife{1};
  static constexpr std::size_t kMaximum = 65536;  // destinations remembered

  [[nodiscard]] static Result<NextHops> open(std::uint32_t mark);

  /// Errors: there is no route.
  [[nodiscard]] Result<NextHop> find(const IpAddress& destination, Instant now);
  /// Whether packets to the address end at this host, by the addresses of its interfaces; others only pass it.
  [[nodiscard]] bool is_local(const IpAddress& address);
  /// Readable when handle_change() has something to do. Borrowed.
  [[nodiscard]] int fd() const noexcept { return monitor_.fd(); }
  [[nodiscard]] int neighbour_fd() const noexcept { return neighbours_.get(); }
  void handle_change();

 private:
  struct Entry {
    NextHop hop;
    IpAddress neighbour;
    Instant good_until{};
    std::uint64_t generation = 0;
    bool ethernet = false;
  };
  NextHops(Netlink netlink, NetlinkMonitor monitor, UniqueFd neighbours, UniqueFd query, std::uint32_t mark)
      : netlink_{std::move(netlink)},
        monitor_{std::move(monitor)},
        neighbours_{std::move(neighbours)},
        query_{std::move(query)},
        mark_{mark} {}
  [[nodiscard]] bool neighbour_changed() noexcept;
  [[nodiscard]] std::optional<MacAddress> neighbour(unsigned ifindex, const IpAddress& address);

  Netlink netlink_;
  NetlinkMonitor monitor_;
  UniqueFd neighbours_;  // the kernel's notifications
  UniqueFd query_;
  std::uint32_t mark_;
  std::unordered_map<IpAddress, Entry> entries_;
  std::uint64_t generation_ = 0;                        // of what is known of neighbours
  std::optional<std::unordered_set<IpAddress>> local_;  // nothing: to be asked for
};

}  // namespace switchback::io
