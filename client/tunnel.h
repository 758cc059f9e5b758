// The network side of a client: TUN, data plane, addresses, routes and DNS, under one lock and one undo journal.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/config.h"
#include "client/dns.h"
#include "client/instance_lock.h"
#include "client/routes.h"
#include "client/undo_journal.h"
#include "common/io/netlink.h"
#include "common/io/tun_device.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::client {

/// What a session brought, as far as the host's network is concerned.
struct TunnelSettings {
  std::vector<IpPrefix> addresses;
  std::vector<IpPrefix> routes;     // into the tunnel
  std::vector<IpPrefix> reachable;  // what the Child SA admits
  DnsSettings dns;
};

/// Exists for as long as `connect` runs: TUN, routes and DNS stay while a session is replaced by another, so that
/// nothing leaks past a tunnel that is only being mended. Control thread only.
class Tunnel {
 public:
  /// Takes the lock, undoes what a killed predecessor left, makes the TUN (down) and starts the data plane.
  /// Errors: the TUN or a socket cannot be made.
  [[nodiscard]] static Result<std::unique_ptr<Tunnel>, UserError> create(const Config& config, InstanceLock lock);
  ~Tunnel();
  Tunnel(const Tunnel&) = delete;
  Tunnel& operator=(const Tunnel&) = delete;

  [[nodiscard]] transports::DataPlane& data() noexcept { return *data_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] unsigned ifindex() const noexcept { return ifindex_; }
  [[nodiscard]] const Routes& routes() const noexcept { return *routes_; }
  [[nodiscard]] const Dns& dns() const noexcept { return *dns_; }
  [[nodiscard]] std::uint16_t mtu() const noexcept { return mtu_; }
  /// Largest inner packet for the path of the last call of up() or follow_path(): ChildSa::inner_mtu.
  [[nodiscard]] std::uint16_t path_inner_mtu() const noexcept { return path_inner_mtu_; }
  static constexpr transports::TransportId kUdp = 0;

  /// From where this host would send to `remote` now. Errors: no route, or none of our sockets is of that family.
  [[nodiscard]] Result<AddressPair> path_to(const Endpoint& remote) const;

  /// Assigns and routes; changes only what differs from before. An error of DNS is logged, one of routes returned.
  [[nodiscard]] Result<void, UserError> up(const TunnelSettings& settings, const AddressPair& path);
  /// The session uses another path now: MTU and the rules for the headend's answers follow.
  void follow_path(const AddressPair& path);
  /// ICMP said that the path takes less. Kept until the next path.
  void lower_path_mtu(unsigned mtu);
  /// Routes, DNS and addresses as they were; the TUN stays, down.
  void down();

 private:
  Tunnel(const Config& config, InstanceLock lock, io::Netlink netlink, UndoJournal journal);
  void set_mtu(const AddressPair& path);

  const Config& config_;
  InstanceLock lock_;
  mutable io::Netlink netlink_;
  UndoJournal journal_;
  PolicyNumbers numbers_;
  std::string name_;
  unsigned ifindex_ = 0;
  std::unique_ptr<transports::DataPlane> data_;  // holds the TUN's queues
  std::unique_ptr<Routes> routes_;
  std::unique_ptr<Dns> dns_;
  TunnelSettings settings_;
  IpAddress headend_;
  unsigned icmp_mtu_ = 0;  // 0: none was told
  AddressPair path_;
  std::uint16_t mtu_ = 0, path_inner_mtu_ = 0;
};

}  // namespace switchback::client
