#include "headend/server.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "common/base/log.h"
#include "common/base/unique_fd.h"
#include "common/crypto/random.h"
#include "common/io/control_socket.h"
#include "common/io/hop_limited.h"
#include "common/io/netlink.h"
#include "common/io/tun_device.h"
#include "common/keylog/keylog.h"
#include "headend/authorizer.h"
#include "headend/firewall.h"
#include "headend/session_host.h"
#include "headend/session_setup.h"
#include "headend/transport_setup.h"
#include "headend/users.h"
#include "transports/dataplane/dataplane.h"
#include "transports/dataplane/offload_views.h"

#ifndef SB_VERSION
#define SB_VERSION "unknown"
#endif

namespace switchback::headend {
namespace {

constexpr Duration kTick = std::chrono::seconds{1};
/// While the store is waited for, no session is served: a commit of `user add` takes less, and more is not worth it.
constexpr std::chrono::milliseconds kStorePatience{200};
constexpr Duration kIcmpRetry = std::chrono::seconds{10};
constexpr Duration kShutdownWait = std::chrono::seconds{3};
constexpr const char* kSysctlSetting = "sysctls";

tl::unexpected<UserError> cannot(const std::string& what, const std::error_code& why, const std::string& remedy) {
  return fail_user("cannot " + what + ": " + why.message() + "; " + remedy);
}

/// Sysctls changed by this run, or by an earlier one that was killed: recorded in the store until they are restored.
class Forwarding {
 public:
  explicit Forwarding(Store& store) noexcept : store_{store} {}
  Forwarding(const Forwarding&) = delete;
  Forwarding& operator=(const Forwarding&) = delete;
  ~Forwarding() {
    if (changed_.empty()) return;
    restore_sysctls(changed_);
    (void)store_.set_setting(kSysctlSetting, "");
  }

  Result<void, UserError> enable(bool v4, bool v6) {
    SB_TRY(const auto left, store_.setting(kSysctlSetting));
    if (left) changed_ = sysctls_from_line(*left);
    SB_TRY(auto now, enable_forwarding(v4, v6));
    for (auto& entry : now) {
      // What an earlier run recorded is nearer the truth than what was found now.
      const auto same = [&](const ChangedSysctl& other) { return other.path == entry.path; };
      if (std::none_of(changed_.begin(), changed_.end(), same)) changed_.push_back(std::move(entry));
    }
    return store_.set_setting(kSysctlSetting, to_line(changed_));
  }

 private:
  Store& store_;
  std::vector<ChangedSysctl> changed_;
};

/// Leases of the sessions that one turn of the loop begins and ends are written together.
class LeaseGathering {
 public:
  explicit LeaseGathering(Store& store) : store_{store} { store_.gather_leases(); }
  LeaseGathering(const LeaseGathering&) = delete;
  LeaseGathering& operator=(const LeaseGathering&) = delete;
  ~LeaseGathering() {
    if (const auto written = store_.write_leases(); !written) {
      log::error("store_failed", {{"detail", written.error().message}});
    }
  }

 private:
  Store& store_;
};

/// Clients refuse a headend whose certificate has expired: whoever runs it should hear of it first.
void warn_of_expiry(const ike::SessionConfig& session_config, const Config& config) {
  const auto expires = session_config.credentials->chain().front().not_after();
  const auto now = wall_now();
  if (expires >= now + std::chrono::days{30}) return;
  log::warning(expires < now ? "certificate_expired" : "certificate_expires_soon",
               {{"file", config.certificate_file},
                {"expires", iso_time(expires)},
                {"remedy", "put a new one from the same CA there and reload, or check this host's clock"}});
}

bool host_has(IpFamily family) {
  const UniqueFd probe{::socket(family == IpFamily::v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  return static_cast<bool>(probe);
}

/// Local addresses of families that the kernel has.
std::vector<IpAddress> addresses_of(const Config& config) {
  std::vector<IpAddress> addresses;
  for (const auto& address : config.listen) {
    // "::" stands in the default for hosts that have IPv6; others still start.
    if (address.is_unspecified() && !host_has(address.family())) {
      log::info("listen_skipped", {{"address", address}, {"reason", "the kernel has no such addresses"}});
      continue;
    }
    addresses.push_back(address);
  }
  return addresses;
}

ike::GateLimits gate_limits(const Config& config) {
  ike::GateLimits limits;
  limits.cookie_from_half_open = config.cookie_threshold;
  limits.max_half_open = config.max_half_open;
  limits.max_half_open_per_address = config.max_half_open_per_address;
  limits.inits_per_second = config.new_sessions_per_second;
  limits.init_burst = config.new_sessions_burst;
  return limits;
}

HostLimits host_limits(const Config& config) { return {config.max_sessions, config.max_sessions_per_user}; }

}  // namespace

struct Server::Impl {
  Impl(io::EventLoop& l, std::shared_ptr<const Config> c, Store s)
      : loop{l}, config{std::move(c)}, store{std::move(s)}, forwarding{store} {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (data_plane) data_plane->stop();
  }

  Result<void, UserError> open(const RunOptions& options, Server& server);
  Result<void, UserError> open_tun();
  Result<void, UserError> open_data_plane(const RunOptions& options);
  Result<void, UserError> open_kernel();
  void start();
  void drain(Instant now);
  void tick(Instant now);
  void arm();
  void listen_for_icmp(Instant now);
  void hear_icmp(io::IcmpSocket& socket, Instant now);
  void refresh_session_config();
  std::size_t end_revoked();
  void fail(std::string why);
  void finish();
  void transport_failed(const transports::DataPlaneFailed& broken);
  [[nodiscard]] HostPaths host_paths();
  [[nodiscard]] std::uint16_t link_mtu(const AddressPair& path);

  io::EventLoop& loop;
  std::shared_ptr<const Config> config;
  Store store;
  crypto::SystemRandom random;
  // In the order of opening; destruction undoes it in reverse.
  Forwarding forwarding;
  std::optional<NatTable> nat;
  std::optional<io::Netlink> netlink;
  std::optional<io::TunDevice> tun;
  std::optional<keylog::Keylog> keylog;
  std::optional<Authorizer> authorizer;
  std::unique_ptr<transports::DataPlane> data_plane;
  std::unique_ptr<SessionHost> host;
  std::optional<io::ControlServer> control;
  std::vector<io::IcmpSocket> icmp;  // while a client looks for where packets get lost
  std::vector<io::EventLoop::Watch> icmp_watches;
  Instant icmp_retry{};
  io::EventLoop::Watch events;
  io::EventLoop::Timer deadline_timer, tick_timer, shutdown_timer;
  std::optional<Instant> armed;
  std::vector<transports::DataPlaneEvent> batch;
  std::int64_t store_version = 0;
  Instant started = monotonic_now();
  WallTime started_wall = wall_now();
  bool forwarding_on = false;
  std::function<void()> done, failed;
  std::string failure;
  std::array<std::string, transports::kTransportIds> failures;  // of single transports; empty while they work
};

Result<void, UserError> Server::Impl::open(const RunOptions& options, Server& server) {
  if (!options.keylog_directory.empty()) {
    SB_TRY(auto opened, keylog::Keylog::open(options.keylog_directory));
    keylog.emplace(std::move(opened));
    log::warning("keylog_enabled", {{"directory", options.keylog_directory},
                                    {"detail", "EVERY KEY IS WRITTEN THERE: whoever reads it reads all traffic"}});
  }
  store_version = store.outside_version();
  SB_TRY(auto session_config, make_session_config(*config, store, keylog.has_value()));
  warn_of_expiry(*session_config, *config);
  SB_TRY(auto made, Authorizer::create(config, store));
  authorizer.emplace(std::move(made));

  // First of what only one instance can have, because its error names the reason.
  SB_TRY(auto listening, io::ControlServer::listen(loop, config->control_socket,
                                                   [&server](std::string_view line, io::ControlServer::Reply reply) {
                                                     reply.send(handle_control_request(line, server));
                                                   }));
  control.emplace(std::move(listening));
  SB_CHECK(open_tun());
  SB_CHECK(open_data_plane(options));
  SB_CHECK(open_kernel());
  host = std::make_unique<SessionHost>(*data_plane, *authorizer, random, gate_limits(*config), host_limits(*config),
                                       host_paths(), monotonic_now());
  host->set_session_config(std::move(session_config));
  host->set_keylog(keylog ? &*keylog : nullptr);
  start();
  return {};
}

Result<void, UserError> Server::Impl::open_tun() {
  io::TunConfig wanted;
  wanted.name = config->tun;
  wanted.queues = config->workers.value_or(default_workers());
  SB_TRY(auto device, io::TunDevice::create(wanted));
  tun.emplace(std::move(device));
  const std::string remedy = "check [network] in " + config->layout.config();
  auto opened = io::Netlink::open();
  if (!opened) return cannot("talk to the kernel by netlink", opened.error(), "run as root");
  netlink.emplace(*std::move(opened));
  if (const auto set = tun->set_mtu(config->mtu); !set) return cannot("set the tunnel's MTU", set.error(), remedy);
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    const auto& pool = authorizer->pool(family);
    if (!pool) continue;
    const IpPrefix address{pool->gateway(), pool->prefix().length};
    if (const auto added = netlink->add_address(tun->ifindex(), address); !added) {
      return cannot("give " + tun->name() + " the address " + address.to_string(), added.error(), remedy);
    }
  }
  if (const auto up = tun->set_up(true); !up) return cannot("bring " + tun->name() + " up", up.error(), remedy);
  return {};
}

Result<void, UserError> Server::Impl::open_data_plane(const RunOptions& options) {
  const auto addresses = addresses_of(*config);
  if (addresses.empty()) return fail_user(config->layout.config() + ": headend.listen has no address of this host");
  transports::DataPlaneConfig wanted;
  SB_TRY(wanted.transports, make_transports(*config, addresses));
  const auto built = transports::builtin_transports().names();
  const auto absent = [&](const transports::TransportConfig& transport) {
    if (std::find(built.begin(), built.end(), transport.name) != built.end()) return false;
    log::warning("transport_absent", {{"transport", transport.name}, {"detail", "this build does not have it"}});
    return true;
  };
  std::erase_if(wanted.transports, absent);
  SB_CHECK(check_transports(*config, wanted.transports));
  wanted.tun = tun->take_queues();
  wanted.tun_offloads = tun->offloads();
  wanted.pcap_file = options.pcap_file;
  SB_TRY(auto plane, transports::DataPlane::create(std::move(wanted)));
  data_plane = std::move(plane);
  return {};
}

Result<void, UserError> Server::Impl::open_kernel() {
  if (config->forwarding) {
    SB_CHECK(forwarding.enable(config->pool.has_value(), config->pool6.has_value()));
    forwarding_on = true;
  }
  if (config->nat) {
    std::vector<IpPrefix> pools;
    for (const auto& pool : {config->pool, config->pool6}) {
      if (pool) pools.push_back(*pool);
    }
    SB_TRY(auto table, NatTable::install(config->tun, pools));
    if (table.ownership() == TableOwnership::plain) {
      log::warning("nat_table_plain", {{"table", table.name()},
                                       {"detail",
                                        "this kernel cannot tie it to the process; after a crash it stays "
                                        "until the next start"}});
    }
    nat.emplace(std::move(table));
  }
  return {};
}

void Server::Impl::start() {
  deadline_timer = loop.make_timer([this](Instant now) {
    armed.reset();
    const LeaseGathering leases{store};
    host->handle_deadlines(now, wall_now());
    arm();
  });
  tick_timer = loop.make_timer([this](Instant now) { tick(now); });
  tick_timer.arm(monotonic_now() + kTick);
  events = loop.on_readable(data_plane->events_fd(), [this](Instant now) { drain(now); });
  data_plane->start();
}

void Server::Impl::drain(Instant now) {
  if (store.outside_version() != store_version) refresh_session_config();
  batch.clear();
  data_plane->drain_events(batch);
  const auto wall = wall_now();
  const LeaseGathering leases{store};
  for (auto& event : batch) {
    if (const auto* broken = std::get_if<transports::DataPlaneFailed>(&event)) {
      transport_failed(*broken);
    } else if (const auto* offload = std::get_if<transports::OffloadChanged>(&event)) {
      transports::log_change(*offload);
    } else {
      host->handle(event, now, wall);
    }
  }
  listen_for_icmp(now);
  arm();
}

/// Only while somebody wants to know: at other times no error that others send costs this thread anything.
void Server::Impl::listen_for_icmp(Instant now) {
  if (host->wants_icmp(now) == !icmp.empty() || now < icmp_retry) return;
  icmp_watches.clear();
  icmp.clear();
  if (!host->wants_icmp(now)) return;
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    if (auto opened = io::IcmpSocket::open(family)) icmp.push_back(std::move(*opened));
  }
  host->set_hears_icmp(!icmp.empty());
  if (icmp.empty()) icmp_retry = now + kIcmpRetry;  // no privilege: it will not come by itself
  for (auto& socket : icmp) {                       // which stay where they are from here on
    icmp_watches.push_back(loop.on_readable(socket.fd(), [this, &socket](Instant at) { hear_icmp(socket, at); }));
  }
}

void Server::Impl::hear_icmp(io::IcmpSocket& socket, Instant now) {
  constexpr int kAtOnce = 32;
  std::array<std::uint8_t, io::IcmpSocket::kBufferBytes> buffer;
  for (int i = 0; i < kAtOnce; ++i) {
    const auto received = socket.receive(buffer);
    if (!received) return;
    host->handle_icmp(socket.family(), received->message, received->from, now);
  }
}

void Server::Impl::tick(Instant now) {
  host->notice_traffic(now);
  listen_for_icmp(now);
  // Somebody added or removed users; `user remove` also says so by the control socket, but need not get through.
  if (store.outside_version() != store_version) {
    refresh_session_config();
    (void)end_revoked();
  }
  if (done && host->size() == 0) return finish();
  arm();
  tick_timer.arm(now + kTick);
}

void Server::Impl::arm() {
  if (done && host->size() == 0) {
    loop.post([this] { finish(); });
    return;
  }
  const auto next = host->next_deadline();
  if (next == armed) return;
  armed = next;
  if (next) {
    deadline_timer.arm(*next);
  } else {
    deadline_timer.cancel();
  }
}

void Server::Impl::refresh_session_config() {
  store_version = store.outside_version();
  auto made = make_session_config(*config, store, keylog.has_value());
  if (!made) return log::error("session_config_failed", {{"detail", made.error().message}});
  host->set_session_config(*std::move(made));
}

std::size_t Server::Impl::end_revoked() {
  const auto revoked = store.revoked_users();
  if (!revoked) {
    log::error("store_failed", {{"detail", revoked.error().message}});
    return 0;
  }
  std::size_t ended = 0;
  const auto now = monotonic_now();
  for (const auto user : *revoked) {
    ended += host->end_user(user, "the user was removed", now);
    authorizer->forget(user);
  }
  arm();
  return ended;
}

void Server::Impl::fail(std::string why) {
  if (!failure.empty()) return;
  failure = std::move(why);
  log::error("failed", {{"detail", failure}});
  if (failed) failed();
}

void Server::Impl::finish() {
  if (!done) return;
  shutdown_timer.cancel();
  std::exchange(done, nullptr)();
}

/// One transport that fails leaves the others; without any, or without the TUN, there is nothing left to do.
void Server::Impl::transport_failed(const transports::DataPlaneFailed& broken) {
  const auto why = broken.what + ": " + broken.error.message();
  if (!broken.transport) return fail(why);
  auto& slot = failures.at(*broken.transport);
  if (slot.empty()) {
    log::error("transport_failed", {{"transport", transports::transport_name(*broken.transport)},
                                    {"detail", why},
                                    {"remedy", "the others go on; restart the headend to have it again"}});
  }
  slot = why;
  const auto works = [&](const std::string& name) {
    const auto id = transports::transport_id(name);
    return id && failures.at(*id).empty();
  };
  const auto& enabled = config->transports.enabled;
  if (std::none_of(enabled.begin(), enabled.end(), works)) fail("no transport is left, the last error is: " + why);
}

HostPaths Server::Impl::host_paths() {
  HostPaths paths;
  paths.rules.tun_mtu = static_cast<std::uint16_t>(config->mtu);
  for (transports::TransportId id = 0; id < transports::kTransportIds; ++id) {
    if (!data_plane->has(id)) continue;
    const auto& traits = data_plane->traits(id);
    paths.rules.overhead[id] = {traits.overhead_v4, traits.overhead_v6};
  }
  paths.ike_port = config->ike_port;
  paths.native_esp = data_plane->has(transports::kEspTransport);
  paths.offer = make_offer(*config);
  std::erase_if(paths.offer.transports, [this](const path::OfferedTransport& offered) {
    return !data_plane->has(static_cast<transports::TransportId>(offered.transport));
  });
  paths.link_mtu = [this](const AddressPair& path) { return link_mtu(path); };
  return paths;
}

std::uint16_t Server::Impl::link_mtu(const AddressPair& path) {
  constexpr std::uint16_t kUsual = 1500;
  const auto route = netlink->lookup(path.remote.address, 0);
  if (!route || route->mtu == 0) return kUsual;
  return static_cast<std::uint16_t>(std::min<unsigned>(route->mtu, path::kLargestPmtu));
}

Server::Server(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Server::~Server() = default;

Result<std::unique_ptr<Server>, UserError> Server::create(io::EventLoop& loop, Config config,
                                                          const RunOptions& options) {
  SB_TRY(auto store, Store::open(config.layout.database(), kStorePatience));
  auto impl = std::make_unique<Impl>(loop, std::make_shared<const Config>(std::move(config)), std::move(store));
  std::unique_ptr<Server> server{new Server{std::move(impl)}};
  SB_CHECK(server->impl_->open(options, *server));
  return server;
}

void Server::shut_down(std::function<void()> done) {
  if (impl_->done) return impl_->finish();
  impl_->done = std::move(done);
  impl_->shutdown_timer = impl_->loop.make_timer([this](Instant) { impl_->finish(); });
  const auto now = monotonic_now();
  impl_->shutdown_timer.arm(now + kShutdownWait);
  {
    const LeaseGathering leases{impl_->store};
    impl_->host->close_all(now);
  }
  impl_->arm();
}

void Server::reload() {
  auto fresh = load_config(impl_->config->layout.directory);
  if (!fresh) return log::error("reload_failed", {{"detail", fresh.error().message}});
  auto merged = *impl_->config;
  merged.addresses = fresh->addresses;
  merged.routes = fresh->routes;
  merged.dns = fresh->dns;
  merged.search_domains = fresh->search_domains;
  merged.ike_proposals = fresh->ike_proposals;
  merged.esp_proposals = fresh->esp_proposals;
  merged.liveness = fresh->liveness;
  merged.ike_rekey = fresh->ike_rekey;
  merged.child_rekey = fresh->child_rekey;
  merged.max_sessions = fresh->max_sessions;
  merged.max_sessions_per_user = fresh->max_sessions_per_user;
  auto session_config = make_session_config(merged, impl_->store, impl_->keylog.has_value());
  if (!session_config) return log::error("reload_failed", {{"detail", session_config.error().message}});
  warn_of_expiry(**session_config, merged);
  impl_->config = std::make_shared<const Config>(std::move(merged));
  impl_->authorizer->reconfigure(impl_->config);
  impl_->host->set_session_config(*std::move(session_config));
  impl_->host->set_limits(host_limits(*impl_->config));
  (void)impl_->end_revoked();
  log::info("reloaded", {{"file", impl_->config->layout.config()},
                         {"detail", "addresses, ports, transports, pools, forwarding and NAT need a restart"}});
}

const std::string& Server::failure() const noexcept { return impl_->failure; }

void Server::on_failure(std::function<void()> failed) { impl_->failed = std::move(failed); }

std::string Server::summary() const {
  std::string text = "ready: identity " + impl_->config->identity + " tun " + impl_->tun->name();
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    if (const auto& pool = impl_->authorizer->pool(family)) text += " pool " + pool->prefix().to_string();
  }
  for (const auto& name : impl_->config->transports.enabled) {
    for (const auto& endpoint : impl_->data_plane->local_endpoints(transports::transport_id(name).value_or(0))) {
      text += " " + name + " " + (endpoint.port == 0 ? endpoint.address.to_string() : endpoint.to_string());
    }
  }
  return text;
}

StatusView Server::status() const {
  const auto now = monotonic_now();
  StatusView view;
  view.version = SB_VERSION;
  view.started = impl_->started_wall;
  view.uptime = now - impl_->started;
  view.identity = impl_->config->identity;
  view.tun = impl_->tun ? impl_->tun->name() : impl_->config->tun;
  view.forwarding = impl_->forwarding_on;
  view.nat = !impl_->nat ? "off" : impl_->nat->ownership() == TableOwnership::process ? "owned" : "plain";
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    if (const auto& pool = impl_->authorizer->pool(family)) {
      view.pools.push_back({pool->prefix(), pool->capacity(), pool->in_use(), pool->reserved()});
    }
  }
  if (!impl_->host) return view;
  view.listening = impl_->data_plane->local_endpoints(transports::kUdpTransport);
  view.sessions = impl_->host->size();
  view.established = impl_->host->established();
  view.half_open = impl_->host->half_open();
  view.users_online = impl_->host->users();
  const auto& door = impl_->host->door();
  const auto plane = impl_->data_plane->counters();
  view.counters = {{"sessions_begun", door.created},
                   {"init_duplicates", door.duplicates},
                   {"unprotected_replies", door.replies},
                   {"unprotected_dropped", door.dropped},
                   {"ike_received", plane.ike_received},
                   {"ike_sent", plane.ike_sent},
                   {"ike_dropped", plane.ike_dropped},
                   {"inner_sent", plane.inner_sent},
                   {"inner_received", plane.inner_received},
                   {"tun_read_bytes", plane.tun_read_octets},
                   {"tun_written_bytes", plane.tun_written_octets},
                   {"tun_write_failed", plane.tun_write_failed},
                   {"no_outbound", plane.no_outbound},
                   {"too_big", plane.too_big},
                   {"unknown_spi", plane.unknown_spi},
                   {"esp_malformed", plane.esp_malformed},
                   {"esp_replayed", plane.esp_replayed},
                   {"esp_forged", plane.esp_forged},
                   {"esp_refused", plane.esp_refused},
                   {"pool_empty", plane.pool_empty}};
  if (impl_->data_plane->workers() > 1) {
    view.counters.insert(view.counters.end(), {{"handed_inner", plane.handed_inner},
                                               {"handed_arrived", plane.handed_arrived},
                                               {"handed_sealed", plane.handed_sealed},
                                               {"handover_full", plane.handover_full}});
  }
  const auto& shares = impl_->host->per_worker();
  for (const auto& one : impl_->data_plane->worker_counters()) {
    WorkerView worker;
    worker.sessions = shares[view.workers.size()];
    worker.counters = {{"inner_sent", one.inner_sent},
                       {"inner_received", one.inner_received},
                       {"tun_read_packets", one.tun_read_packets},
                       {"tun_written_packets", one.tun_written_packets},
                       {"handed_inner", one.handed_inner},
                       {"handed_arrived", one.handed_arrived},
                       {"handed_sealed", one.handed_sealed},
                       {"handover_full", one.handover_full},
                       {"pool_empty", one.pool_empty},
                       {"loop_turns", one.loop_turns}};
    view.workers.push_back(std::move(worker));
  }
  view.counters.insert(
      view.counters.end(),
      {{"esp_control", plane.esp_dummy}, {"control_dropped", plane.control_dropped}, {"twins_sent", plane.twins_sent}});
  if (const auto& udp = plane.transports[transports::kUdpTransport]) {
    view.counters.insert(view.counters.end(), {{"udp_received_packets", udp->received_packets},
                                               {"udp_sent_packets", udp->sent_packets},
                                               {"udp_malformed", udp->receive_malformed},
                                               {"udp_send_dropped", udp->send_dropped}});
  }
  for (const auto& name : impl_->config->transports.enabled) {
    const auto id = transports::transport_id(name).value_or(0);
    const auto& counts = plane.transports.at(id);
    if (!counts) continue;
    TransportView transport;
    transport.name = transports::transport_name(id);
    transport.failure = impl_->failures.at(id);
    transport.listening = impl_->data_plane->local_endpoints(id);
    transport.sessions = impl_->host->sessions_on(id);
    transport.counters = {{"received_packets", counts->received_packets}, {"received_bytes", counts->received_octets},
                          {"sent_packets", counts->sent_packets},         {"sent_bytes", counts->sent_octets},
                          {"send_dropped", counts->send_dropped},         {"send_blocked", counts->send_blocked},
                          {"malformed", counts->receive_malformed},       {"path_reports", counts->path_reports}};
    view.transports.push_back(std::move(transport));
  }
  view.offloads = impl_->data_plane->offloads();
  return view;
}

std::vector<SessionView> Server::sessions() const {
  return impl_->host ? impl_->host->views(monotonic_now(), wall_now()) : std::vector<SessionView>{};
}

std::size_t Server::kick(const KickTarget& target) {
  const auto ended = impl_->host->end(target, "kicked", monotonic_now());
  impl_->arm();
  return ended;
}

std::size_t Server::users_changed() {
  impl_->refresh_session_config();
  return impl_->end_revoked();
}

}  // namespace switchback::headend
