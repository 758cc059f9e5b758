#include "client/tunnel.h"

#include <sys/socket.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/io/sockets.h"

namespace switchback::client {
namespace {

constexpr std::uint16_t kMinIpv6Mtu = 1280;  // RFC 8200 §5: a link with less cannot carry IPv6
constexpr unsigned kMinPathMtu = 576;        // ICMP can be forged: never believe less

/// Whether this kernel has the family at all; IPv6 may be switched off.
bool has_family(IpFamily family) {
  const auto probe = io::open_udp({IpAddress::any(family), 0}, {});
  return probe.has_value();
}

UserError netlink_error(const std::error_code& error) {
  return {"cannot talk to the kernel about routes (" + error.message() + "): run as root or with CAP_NET_ADMIN"};
}

}  // namespace

Tunnel::Tunnel(const Config& config, InstanceLock lock, io::Netlink netlink, UndoJournal journal)
    : config_{config}, lock_{std::move(lock)}, netlink_{std::move(netlink)}, journal_{std::move(journal)} {}

Result<std::unique_ptr<Tunnel>, UserError> Tunnel::create(const Config& config, InstanceLock lock) {
  auto opened = io::Netlink::open();
  if (!opened) return tl::unexpected(netlink_error(opened.error()));
  std::unique_ptr<Tunnel> tunnel{
      new Tunnel{config, std::move(lock), std::move(*opened), UndoJournal{config.runtime_directory, config.tun}}};
  auto& netlink = tunnel->netlink_;

  SB_TRY(const auto undone, replay_journal(config.runtime_directory, config.tun, netlink));
  if (undone != 0) log::info("undone_after_crash", {{"tun", config.tun}, {"steps", undone}});
  replay_abandoned_journals(config.runtime_directory, netlink);
  if (recover_resolv_conf(DnsPaths{}.resolv_conf, config.tun)) {
    log::info("undone_after_crash", {{"tun", config.tun}, {"what", "resolv.conf"}});
  }

  std::vector<io::Rule> rules;
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    // A kernel without IPv6 or without policy routing of a family has no rules of it.
    if (const auto some = netlink.rules(family)) rules.insert(rules.end(), some->begin(), some->end());
  }
  tunnel->numbers_ = choose_numbers(rules);

  io::TunConfig tun_config;
  tun_config.name = config.tun;
  SB_TRY(auto tun, io::TunDevice::create(tun_config));
  tunnel->name_ = tun.name();
  tunnel->ifindex_ = tun.ifindex();

  transports::DataPlaneConfig data;
  transports::TransportConfig udp;
  udp.name = "udp";
  udp.ike_port = config.profile.headend.ike_port;
  udp.mark = tunnel->numbers_.mark;
  if (config.local) {
    udp.local.push_back({*config.local, 0});
  } else {
    for (const auto family : {IpFamily::v4, IpFamily::v6}) {
      if (has_family(family)) udp.local.push_back({IpAddress::any(family), 0});
    }
  }
  data.transports.push_back(std::move(udp));
  data.tun_offloads = tun.offloads();
  data.tun = tun.take_queues();
  data.pcap_file = config.pcap_file;
  SB_TRY(tunnel->data_, transports::DataPlane::create(std::move(data)));
  tunnel->routes_ = std::make_unique<Routes>(netlink, tunnel->journal_, tunnel->ifindex_);
  tunnel->dns_ = std::make_unique<Dns>(tunnel->journal_, tunnel->name_);
  tunnel->data_->start();
  return tunnel;
}

Tunnel::~Tunnel() {
  if (dns_) dns_->revert();  // while the link still exists for the resolver
  routes_.reset();
  dns_.reset();
  data_.reset();  // and the TUN with it
  if (journal_.steps().empty()) journal_.clear();
}

Result<AddressPair> Tunnel::path_to(const Endpoint& remote) const {
  for (const auto& socket : data_->local_endpoints(kUdp)) {
    if (socket.address.family() != remote.address.family()) continue;
    SB_TRY(const auto chosen, io::source_address_for(remote, numbers_.mark));
    return AddressPair{{config_.local.value_or(chosen), socket.port}, remote};
  }
  return fail(std::make_error_code(std::errc::address_family_not_supported));
}

void Tunnel::set_mtu(const AddressPair& path) {
  if (path != path_) icmp_mtu_ = 0;
  path_ = path;
  unsigned path_mtu = 1500;
  if (const auto route = netlink_.lookup(path.remote.address, numbers_.mark); route && route->mtu != 0) {
    path_mtu = route->mtu;
  }
  if (icmp_mtu_ != 0) path_mtu = std::min(path_mtu, icmp_mtu_);
  const auto& traits = data_->traits(kUdp);
  path_inner_mtu_ = inner_mtu(path_mtu, path.remote.address.is_v6() ? traits.overhead_v6 : traits.overhead_v4);
  auto wanted = config_.profile.tunnel.mtu.value_or(path_inner_mtu_);
  const bool has_v6 = std::any_of(settings_.addresses.begin(), settings_.addresses.end(),
                                  [](const IpPrefix& address) { return address.address.is_v6(); });
  if (has_v6) {
    // Below this the kernel takes IPv6 off the TUN. What does not fit the path is answered by ICMP instead.
    wanted = std::max(wanted, kMinIpv6Mtu);
    path_inner_mtu_ = std::max(path_inner_mtu_, kMinIpv6Mtu);
  }
  path_inner_mtu_ = std::min(path_inner_mtu_, wanted);
  if (wanted == mtu_) return;
  if (const auto set = netlink_.set_mtu(ifindex_, wanted); !set) {
    log::warning("mtu_not_set", {{"tun", name_}, {"mtu", wanted}, {"error", set.error().message()}});
    return;
  }
  mtu_ = wanted;
  log::debug("mtu", {{"tun", name_}, {"mtu", mtu_}, {"path", path_mtu}});
}

Result<void, UserError> Tunnel::up(const TunnelSettings& settings, const AddressPair& path) {
  settings_ = settings;
  headend_ = path.remote.address;
  set_mtu(path);
  if (const auto set = netlink_.set_link_up(ifindex_, true); !set) {
    return fail_user("cannot bring " + name_ + " up: " + set.error().message());
  }
  RouteRequest request;
  request.ifindex = ifindex_;
  request.addresses = settings.addresses;
  request.routes = settings.routes;
  request.name_servers = settings.dns.servers;
  request.reachable = settings.reachable;
  request.headend = headend_;
  request.ike_port = config_.profile.headend.ike_port;
  request.nat_t_port = config_.profile.headend.nat_t_port;
  request.numbers = numbers_;
  request.block_leaks = config_.profile.tunnel.block_leaks;
  SB_CHECK(routes_->apply(plan_routes(request)));

  auto dns = settings.dns;
  const auto& applied = routes_->applied();
  dns.all_names = dns.search_domains.empty() || applied.full_v4 || applied.full_v6;
  if (const auto set = dns_->apply(dns); !set) {
    // The tunnel is of use without it, and whoever runs this sees why names are not found.
    log::warning("dns_not_set", {{"error", set.error().message}});
  }
  return {};
}

void Tunnel::follow_path(const AddressPair& path) {
  if (settings_.addresses.empty()) return;
  if (const auto done = up(settings_, path); !done) log::warning("routes", {{"error", done.error().message}});
}

void Tunnel::lower_path_mtu(unsigned mtu) {
  const auto told = std::max(mtu, kMinPathMtu);
  if (icmp_mtu_ != 0 && told >= icmp_mtu_) return;
  icmp_mtu_ = told;
  set_mtu(path_);
}

void Tunnel::down() {
  dns_->revert();
  routes_->revert();
  if (const auto set = netlink_.set_link_up(ifindex_, false); !set) {
    log::debug("link_down", {{"error", set.error().message()}});
  }
  settings_ = {};
}

}  // namespace switchback::client
