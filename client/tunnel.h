// The network side of a client: TUN, data plane, addresses, routes and DNS, under one lock and one undo journal.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/config.h"
#include "client/dns.h"
#include "client/instance_lock.h"
#include "client/routes.h"
#include "client/targets.h"
#include "client/transport_setup.h"
#include "client/undo_journal.h"
#include "common/io/netlink.h"
#include "common/io/tun_device.h"
#include "common/path/types.h"
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
  /// Transports that were asked for and could not be opened on this host.
  [[nodiscard]] const std::vector<LeftOut>& left_out() const noexcept { return left_out_; }

  /// From which address this host would send there now. Errors: no route, or an empty address.
  [[nodiscard]] Result<IpAddress> source_for(const IpAddress& remote) const;
  /// The same with the port of the `udp` transport. Errors: also if it has no socket of that family.
  [[nodiscard]] Result<AddressPair> udp_path(const Endpoint& remote) const;
  /// The largest IP packet that the way to this address begins with, in octets.
  [[nodiscard]] std::uint16_t interface_mtu(const IpAddress& remote) const;
  /// Tells the network apart by which this host would send there; 0 if it would not.
  [[nodiscard]] path::NetworkId network_to(const IpAddress& remote) const;

  /// Assigns and routes; changes only what differs from before. An error of DNS is logged, one of routes returned.
  /// @param path  of data; its transport's overhead counts
  [[nodiscard]] Result<void, UserError> up(const TunnelSettings& settings, const AddressPair& path,
                                           const TransportPorts& ports, std::span<const IpAddress> headends);
  /// Data uses another path now: MTU and the rules for the headend's answers follow.
  /// @param path_mtu  what is known of it; absent: it is the interface's
  void follow_path(const AddressPair& path, std::optional<std::uint16_t> path_mtu);
  /// The same path takes other sizes. Absent: the interface's.
  void set_path_mtu(std::optional<std::uint16_t> path_mtu);
  /// ICMP said that the path takes less. Kept until the next path.
  void lower_path_mtu(unsigned mtu);
  /// Routes, DNS and addresses as they were; the TUN stays, down.
  void down();

 private:
  Tunnel(const Config& config, InstanceLock lock, io::Netlink netlink, UndoJournal journal);
  void set_mtu();
  [[nodiscard]] Result<void, UserError> apply_routes();

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
  std::vector<LeftOut> left_out_;
  TunnelSettings settings_;
  TransportPorts ports_;
  std::vector<IpAddress> headends_;  // at most one of each family
  std::optional<std::uint16_t> path_mtu_;
  unsigned icmp_mtu_ = 0;  // 0: none was told
  AddressPair path_;       // of data
  std::uint16_t mtu_ = 0, path_inner_mtu_ = 0;
};

}  // namespace switchback::client
