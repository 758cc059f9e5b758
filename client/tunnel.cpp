#include "client/tunnel.h"

#include <sys/socket.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/io/sockets.h"

namespace switchback::client {
namespace {

constexpr std::uint16_t kMinIpv6Mtu = 1280;  // RFC 8200 §5: a link with less cannot carry IPv6
constexpr unsigned kUsualMtu = 1500;
constexpr unsigned kMinPathMtu = 576;  // ICMP can be forged: never believe less

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

  std::vector<IpFamily> families;
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    if (has_family(family)) families.push_back(family);
  }
  SB_TRY(auto setup, keep_openable(make_transports(config, families, tunnel->numbers_.mark), config,
                                   transports::builtin_transports()));
  for (const auto& one : setup.left_out) {
    log::warning("transport_left_out", {{"transport", path::to_string(one.transport)}, {"reason", one.why}});
  }
  tunnel->left_out_ = std::move(setup.left_out);
  transports::DataPlaneConfig data;
  data.transports = std::move(setup.wanted);
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

Result<IpAddress> Tunnel::source_for(const IpAddress& remote) const {
  if (remote.empty()) return fail(std::make_error_code(std::errc::address_family_not_supported));
  SB_TRY(const auto chosen, io::source_address_for({remote, config_.profile.headend.nat_t_port}, numbers_.mark));
  return config_.local.value_or(chosen);
}

Result<AddressPair> Tunnel::udp_path(const Endpoint& remote) const {
  for (const auto& socket : data_->local_endpoints(transports::kUdpTransport)) {
    if (socket.address.family() != remote.address.family()) continue;
    SB_TRY(const auto local, source_for(remote.address));
    return AddressPair{{local, socket.port}, remote, transports::kUdpTransport};
  }
  return fail(std::make_error_code(std::errc::address_family_not_supported));
}

std::uint16_t Tunnel::interface_mtu(const IpAddress& remote) const {
  const auto route = netlink_.lookup(remote, numbers_.mark);
  const auto mtu = route && route->mtu != 0 ? route->mtu : kUsualMtu;
  return static_cast<std::uint16_t>(std::min(mtu, 65535U));
}

path::NetworkId Tunnel::network_to(const IpAddress& remote) const {
  if (remote.empty()) return {};
  const auto route = netlink_.lookup(remote, numbers_.mark);
  if (!route) return {};
  // The link is known by its prefix and its router; what a network calls itself is not asked for.
  const IpPrefix here{route->source, static_cast<std::uint8_t>(route->source.is_v4() ? 24 : 64)};
  const auto text = here.first().to_string() + ' ' + route->gateway.to_string() + ' ' + std::to_string(route->ifindex);
  std::uint64_t hash = 0xCBF29CE484222325U;  // FNV-1a
  for (const auto c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return path::NetworkId{hash == 0 ? 1 : hash};
}

void Tunnel::set_mtu() {
  unsigned path_mtu = path_mtu_.value_or(interface_mtu(path_.remote.address));
  if (icmp_mtu_ != 0) path_mtu = std::min(path_mtu, icmp_mtu_);
  const auto& traits = data_->traits(path_.transport);
  path_inner_mtu_ = inner_mtu(path_mtu, path_.remote.address.is_v6() ? traits.overhead_v6 : traits.overhead_v4);
  auto wanted = config_.profile.tunnel.mtu.value_or(path_inner_mtu_);
  const bool has_v6 = std::any_of(settings_.addresses.begin(), settings_.addresses.end(),
                                  [](const IpPrefix& address) { return address.address.is_v6(); });
  if (has_v6) {
    // Below this the kernel takes IPv6 off the TUN. For what does not fit the path there are MSS and ICMP instead.
    wanted = std::max(wanted, kMinIpv6Mtu);
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

Result<void, UserError> Tunnel::up(const TunnelSettings& settings, const AddressPair& path, const TransportPorts& ports,
                                   std::span<const IpAddress> headends) {
  settings_ = settings;
  ports_ = ports;
  headends_.assign(headends.begin(), headends.end());
  if (path != path_) icmp_mtu_ = 0;
  path_ = path;
  path_mtu_.reset();
  set_mtu();
  if (const auto set = netlink_.set_link_up(ifindex_, true); !set) {
    return fail_user("cannot bring " + name_ + " up: " + set.error().message());
  }
  SB_CHECK(apply_routes());
  auto dns = settings.dns;
  const auto& applied = routes_->applied();
  dns.all_names = dns.search_domains.empty() || applied.full_v4 || applied.full_v6;
  if (const auto set = dns_->apply(dns); !set) {
    // The tunnel is of use without it, and whoever runs this sees why names are not found.
    log::warning("dns_not_set", {{"error", set.error().message}});
  }
  return {};
}

Result<void, UserError> Tunnel::apply_routes() {
  RouteRequest request;
  request.ifindex = ifindex_;
  request.addresses = settings_.addresses;
  request.routes = settings_.routes;
  request.name_servers = settings_.dns.servers;
  request.reachable = settings_.reachable;
  request.outer = outer_flows(config_, ports_, headends_);
  request.numbers = numbers_;
  request.block_leaks = config_.profile.tunnel.block_leaks;
  return routes_->apply(plan_routes(request));
}

void Tunnel::follow_path(const AddressPair& path, std::optional<std::uint16_t> path_mtu) {
  if (settings_.addresses.empty()) return;
  if (path != path_) icmp_mtu_ = 0;
  path_ = path;
  path_mtu_ = path_mtu;
  set_mtu();
  auto& headends = headends_;
  const auto same_family = std::find_if(headends.begin(), headends.end(), [&](const IpAddress& address) {
    return address.family() == path.remote.address.family();
  });
  if (same_family == headends.end()) {
    headends.push_back(path.remote.address);
  } else if (*same_family == path.remote.address) {
    return;
  } else {
    *same_family = path.remote.address;
  }
  if (const auto done = apply_routes(); !done) log::warning("routes", {{"error", done.error().message}});
}

void Tunnel::set_path_mtu(std::optional<std::uint16_t> path_mtu) {
  path_mtu_ = path_mtu;
  if (!settings_.addresses.empty()) set_mtu();
}

void Tunnel::lower_path_mtu(unsigned mtu) {
  const auto told = std::max(mtu, kMinPathMtu);
  if (icmp_mtu_ != 0 && told >= icmp_mtu_) return;
  icmp_mtu_ = told;
  set_mtu();
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
