// Addresses, routes, policy rules and links of the network namespace that this process is in, through rtnetlink.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"

struct nl_sock;

namespace switchback::io {

inline constexpr std::uint32_t kMainTable = 254;

struct LinkInfo {
  unsigned ifindex = 0;
  std::string name;
  unsigned mtu = 0;
  bool up = false;
};

enum class RouteKind : std::uint8_t { unicast, unreachable, blackhole };

struct Route {
  IpPrefix destination;
  RouteKind kind = RouteKind::unicast;
  unsigned ifindex = 0;        // unicast: the way out
  IpAddress gateway;           // empty: on the link
  IpAddress preferred_source;  // empty: the kernel's choice
  std::uint32_t table = kMainTable;
  std::uint32_t metric = 0;  // 0: the kernel's default
  friend bool operator==(const Route&, const Route&) = default;
};

/// A policy rule: packets that match look into `table`.
struct Rule {
  IpFamily family = IpFamily::v4;
  std::uint32_t priority = 0;
  std::uint32_t table = kMainTable;
  std::uint32_t mark = 0;                          // 0: whatever the mark
  bool invert = false;                             // matches what does not match
  std::optional<unsigned> suppress_prefix_length;  // routes of this length or shorter do not count
  std::optional<IpPrefix> to;
  std::uint8_t ip_protocol = 0;        // 0: any
  std::uint16_t destination_port = 0;  // 0: any
  friend bool operator==(const Rule&, const Rule&) = default;
};

/// How the kernel would send to an address.
struct RouteLookup {
  unsigned ifindex = 0;
  IpAddress source;
  IpAddress gateway;  // empty: on the link
  unsigned mtu = 0;   // octets of IP packet: the route's if it has one, else the link's
};

/// Requests and their answers; every call waits for the kernel's acknowledgement (microseconds). Not thread-safe.
class Netlink {
 public:
  [[nodiscard]] static Result<Netlink> open();
  Netlink(Netlink&&) noexcept = default;
  Netlink& operator=(Netlink&&) noexcept = default;

  [[nodiscard]] Result<LinkInfo> link(const std::string& name);
  [[nodiscard]] Result<LinkInfo> link(unsigned ifindex);
  [[nodiscard]] Result<void> set_link_up(unsigned ifindex, bool up);
  [[nodiscard]] Result<void> set_mtu(unsigned ifindex, unsigned mtu);

  /// The address with its prefix's connected route; a host prefix has none. IPv6: usable at once (no duplicate address
  /// detection, which means nothing on a TUN). Present already: no error.
  [[nodiscard]] Result<void> add_address(unsigned ifindex, const IpPrefix& address);
  /// Absent already: no error.
  [[nodiscard]] Result<void> delete_address(unsigned ifindex, const IpPrefix& address);
  /// @param ifindex  0: of all interfaces
  [[nodiscard]] Result<std::vector<IpPrefix>> addresses(unsigned ifindex);

  /// Replaces a route with the same destination, table and metric.
  [[nodiscard]] Result<void> add_route(const Route& route);
  /// Absent already: no error.
  [[nodiscard]] Result<void> delete_route(const Route& route);

  /// Present already: no error.
  [[nodiscard]] Result<void> add_rule(const Rule& rule);
  /// Absent already: no error.
  [[nodiscard]] Result<void> delete_rule(const Rule& rule);
  /// Only priority, table and mark are filled in besides the family.
  [[nodiscard]] Result<std::vector<Rule>> rules(IpFamily family);

  /// Errors: no route (ENETUNREACH and such). `mark` takes part in the policy.
  [[nodiscard]] Result<RouteLookup> lookup(const IpAddress& destination, std::uint32_t mark);

 private:
  struct Close {
    void operator()(nl_sock* socket) const noexcept;
  };
  explicit Netlink(nl_sock* socket) noexcept : socket_{socket} {}
  std::unique_ptr<nl_sock, Close> socket_;
};

/// Notifications of changes to links, addresses and routes.
class NetlinkMonitor {
 public:
  [[nodiscard]] static Result<NetlinkMonitor> open();

  /// Readable when something changed. Borrowed.
  [[nodiscard]] int fd() const noexcept;
  /// Takes all notifications so far. True if any may matter to a path: a link but `ignored_ifindex`, an address or a
  /// route that is not on it; or notifications were lost.
  [[nodiscard]] bool drain(unsigned ignored_ifindex) noexcept;

 private:
  struct Close {
    void operator()(nl_sock* socket) const noexcept;
  };
  explicit NetlinkMonitor(nl_sock* socket) noexcept : socket_{socket} {}
  std::unique_ptr<nl_sock, Close> socket_;
};

}  // namespace switchback::io
