#include "transports/ctcp/driver.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "transports/ctcp/ctcp_driver.h"

namespace switchback::transports::ctcp {
namespace {

/// When octets that nobody acknowledges are worth a word: so many round trips, and at least so long.
constexpr int kStuckRoundTrips = 8;
constexpr Duration kStuckFloor = std::chrono::milliseconds{1500};
/// Duplicate ACKs belong to any loss, and are repaired; while the acknowledgement stands for so long they are a sign.
constexpr Duration kDuplicatesFloor = std::chrono::milliseconds{500};
constexpr std::size_t kTcpAndTimestamps = 32;
/// Client connections at a time: the filter's bound.
constexpr std::size_t kClientConnections = io::TcpTap::kMaximumPorts;

UserError explain(const std::string& what, std::error_code error) {
  if (error == std::errc::address_in_use) {
    return {what + ": the port is in use; stop the other server (\"ss -tlpn\" shows it) or configure another port"};
  }
  if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted) {
    return {what + ": " + error.message() + "; this needs root (CAP_NET_RAW, CAP_NET_ADMIN)"};
  }
  if (error == std::errc::address_not_available) {
    return {what + ": this host does not have the address; configure one that \"ip address\" shows"};
  }
  return {what + ": " + error.message()};
}

/// A peer that answers so many times, and for so long, with nothing but RST has no such connection (any more).
constexpr std::uint64_t kGoneResets = 3;
constexpr Duration kGoneAfter = std::chrono::seconds{1};

std::size_t mss_of(unsigned mtu, bool v6) noexcept {
  const std::size_t headers = v6 ? 60 : 40;
  return std::clamp<std::size_t>(mtu > headers ? mtu - headers : 0, kDefaultMss, kMaximumMss);
}

std::uint16_t offered_mss(unsigned mtu, bool v6) noexcept {
  return static_cast<std::uint16_t>(mss_of(std::max(mtu, 1500U), v6));
}

Duration stuck_after(const TcpEngine& engine) noexcept {
  return std::max(kStuckFloor, engine.sender()->srtt() * kStuckRoundTrips);
}

}  // namespace

Driver::Driver(const TransportConfig& config, packet::PacketPool& pool, io::NextHops hops, io::TcpEmitter emitter)
    : config_{config},
      pool_{pool},
      epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      hops_{std::move(hops)},
      emitter_{std::move(emitter)} {
  const auto framing = kTcpAndTimestamps + stream::kLengthBytes;
  traits_ = {"ctcp", static_cast<std::uint16_t>(20 + framing), static_cast<std::uint16_t>(40 + framing), 1024};
}

Driver::~Driver() {
  // The other ends learn it at once: an RST costs nothing, a timeout would cost their users seconds.
  table_.for_each([&](Connection& connection) {
    if (connection.engine) connection.engine->abort();
    if (connection.classic) connection.classic->close();
    flush(connection, latest_);
  });
}

Result<std::unique_ptr<Driver>, UserError> Driver::make(const TransportConfig& config, packet::PacketPool& pool) {
  auto hops = io::NextHops::open(config.mark);
  if (!hops) return fail(explain("cannot ask the kernel for routes", hops.error()));
  auto emitter = io::TcpEmitter::open({config.mark, config.offload, config.socket_buffer});
  if (!emitter) return fail(explain("cannot open packet sockets for cTCP", emitter.error()));
  std::unique_ptr<Driver> driver{new Driver{config, pool, *std::move(hops), *std::move(emitter)}};
  if (!driver->epoll_) return fail_user("cannot create an epoll descriptor: too many open files; raise the limit");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = driver->hops_.fd() >= 0 ? ~std::uint64_t{0} : 0;
  for (const auto fd : {driver->hops_.fd(), driver->hops_.neighbour_fd()}) {
    ::epoll_ctl(driver->epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  for (const auto family : {IpFamily::v4, IpFamily::v6}) {
    const auto wanted = std::any_of(config.local.begin(), config.local.end(),
                                    [&](const auto& local) { return local.address.family() == family; });
    if (wanted) SB_CHECK(driver->open_tap(family));
  }
  if (config.headend) {
    SB_CHECK(driver->open_listeners(config.local));
  } else {
    driver->client_local_ = config.local;
  }
  if (const auto set = driver->set_ports(); !set) return fail(explain("cannot filter cTCP's packets", set.error()));
  return driver;
}

Result<void, UserError> Driver::open_tap(IpFamily family) {
  auto tap = io::TcpTap::open(family, config_.socket_buffer);
  if (!tap) return fail(explain("cannot open a packet socket for cTCP", tap.error()));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = taps_.size();
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, tap->fd(), &event);
  taps_.push_back({*std::move(tap), family, true});
  return {};
}

Result<void, UserError> Driver::open_listeners(std::span<const Endpoint> local) {
  std::vector<Guard> opened;
  const auto mtu = io::largest_link_mtu();
  for (const auto& endpoint : local) {
    auto guard = io::open_guarded(endpoint);
    if (!guard) return fail(explain("cannot open TCP " + endpoint.to_string() + " for cTCP", guard.error()));
    Secret key{32};
    random_.secret_fill(key.span());
    // The MSS that is offered is that of our links, since strangers' routes are not looked up; what we send is bounded
    // by the route of each connection.
    auto second = key.clone();
    opened.push_back({*std::move(guard), std::make_unique<SynCookies>(std::move(key), offered_mss(mtu, false)),
                      std::make_unique<SynCookies>(std::move(second), offered_mss(mtu, true))});
  }
  guards_ = std::move(opened);
  return {};
}

Result<void> Driver::set_ports() {
  for (auto& tap : taps_) {
    std::vector<std::uint16_t> ports;
    for (const auto& guard : guards_) {
      if (guard.io.local.address.family() == tap.family) ports.push_back(guard.io.local.port);
    }
    table_.for_each([&](const Connection& connection) {
      if (connection.guard && connection.path.local.address.family() == tap.family) {
        ports.push_back(connection.path.local.port);
      }
    });
    std::sort(ports.begin(), ports.end());
    ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
    SB_CHECK(tap.io.set_ports(ports));
  }
  return {};
}

std::vector<Endpoint> Driver::local_endpoints() const {
  if (!config_.headend) return client_local_;
  std::vector<Endpoint> all;
  for (const auto& guard : guards_) all.push_back(guard.io.local);
  return all;
}

Result<void, UserError> Driver::rebind(std::span<const Endpoint> local) {
  // A client's connections have their own ports, and stay as long as their paths do.
  if (!config_.headend) {
    client_local_.assign(local.begin(), local.end());
    return {};
  }
  SB_CHECK(open_listeners(local));
  if (const auto set = set_ports(); !set) return fail(explain("cannot filter cTCP's packets", set.error()));
  return {};
}

void Driver::fail_request(std::uint64_t request, const AddressPair& path, std::string why) {
  PathReport report;
  report.kind = PathReport::Kind::failed;
  report.request = request;
  report.path = path;
  report.detail = std::move(why);
  reports_.answer(std::move(report));
}

void Driver::open_path(const PathRequest& request, Instant now) {
  latest_ = std::max(latest_, now);
  AddressPair path{{request.local, 0}, request.remote, kCtcpTransport};
  const auto family = request.remote.address.family();
  const auto tapped = std::any_of(taps_.begin(), taps_.end(), [&](const Tap& tap) { return tap.family == family; });
  if (!tapped) return fail_request(request.id, path, "the address family is not configured");
  if (table_.size() >= kClientConnections) return fail_request(request.id, path, "too many connections are open");
  const auto hop = hops_.find(request.remote.address, now);
  if (!hop) return fail_request(request.id, path, "no route: " + hop.error().message());
  if (path.local.address.family() != family || path.local.address.is_unspecified()) path.local.address = hop->source;
  if (path.local.address.family() != family) return fail_request(request.id, path, "no source address");
  auto guard = io::open_guarded(path.local);
  if (!guard) return fail_request(request.id, path, "no local port: " + guard.error().message());
  path.local.port = guard->local.port;

  auto connection = std::make_unique<Connection>();
  connection->path = path;
  connection->role = ClassicRole::client;
  connection->request = request.id;
  connection->guard = *std::move(guard);
  if (request.classic) {
    connection->classic = ClassicConnection::connect(path.local.port, path.remote.port, random_, now);
  } else {
    EngineConfig engine;
    engine.local_port = path.local.port;
    engine.remote_port = path.remote.port;
    engine.mss = static_cast<std::uint16_t>(mss_of(hop->mtu, family == IpFamily::v6));
    connection->engine = TcpEngine::connect(engine, random_, now);
  }
  auto& added = table_.add(std::move(connection));
  if (const auto set = set_ports(); !set) {
    table_.remove(added);
    return fail_request(request.id, path, "no packet filter: " + set.error().message());
  }
  flush(added, now);
  reschedule(added, now);
}

void Driver::close_path(const AddressPair& path, Instant now) {
  latest_ = std::max(latest_, now);
  auto* connection = table_.find(path);
  if (connection == nullptr) return;
  connection->closing = true;
  if (connection->engine) connection->engine->close(now);
  if (connection->classic) connection->classic->close();
  flush(*connection, now);
  look_after(*connection, now);
}

void Driver::set_inbound_spis(const AddressPair& path, std::span<const Spi> spis) {
  auto* connection = table_.find(path);
  if (connection == nullptr) return;
  if (connection->engine) {
    for (const auto spi : connection->spis) connection->engine->marks().remove(spi);
    for (const auto spi : spis) connection->engine->marks().add(spi);
  }
  connection->spis.assign(spis.begin(), spis.end());
  if (connection->role == ClassicRole::client) return;
  if (!spis.empty()) {
    if (connection->unproven_since) --unproven_;
    connection->unproven_since.reset();
  } else if (!connection->unproven_since) {
    note_unproven(*connection, latest_);
  }
  reschedule(*connection, latest_);
}

void Driver::note_unproven(Connection& connection, Instant now) {
  connection.unproven_since = now;
  unproven_order_.push_back(connection.path);
  if (unproven_order_.size() > 2 * kMaximumUnproven) unproven_order_.pop_front();  // it still has its lifetime
  const auto most = std::clamp<std::size_t>(config_.max_connections / 2, 1, kMaximumUnproven);
  if (++unproven_ <= most) return;
  // Strangers hold memory, and an honest client needs its connection unproven for a moment only: the oldest goes.
  while (!unproven_order_.empty()) {
    const auto path = unproven_order_.front();
    unproven_order_.pop_front();
    auto* oldest = table_.find(path);
    if (oldest == nullptr || oldest == &connection || !oldest->unproven_since || oldest->closing) continue;
    close_unproven(*oldest, "too many connections have no session");
    flush(*oldest, now);
    return look_after(*oldest, now);
  }
}

void Driver::close_unproven(Connection& connection, std::string why) {
  PathReport report;
  report.kind = PathReport::Kind::closed;
  report.path = connection.path;
  report.detail = std::move(why);
  reports_.hint(std::move(report));
  connection.closing = true;
  if (connection.engine) connection.engine->abort();
  if (connection.classic) connection.classic->close();
}

void Driver::handle_deadline(Instant now) {
  latest_ = std::max(latest_, now);
  while (auto* connection = table_.pop_due(now)) {
    if (connection->engine) connection->engine->handle_deadline(now);
    if (connection->classic) connection->classic->handle_deadline(now);
    if (connection->unproven_since && now >= *connection->unproven_since + config_.unproven_lifetime &&
        !connection->closing) {
      close_unproven(*connection, "no session proved itself in time");
    }
    flush(*connection, now);
    look_after(*connection, now);
  }
}

void Driver::reschedule(Connection& connection, Instant now) {
  auto at = connection.next_deadline();
  if (connection.unproven_since && !connection.closing) {
    at = earliest(at, *connection.unproven_since + config_.unproven_lifetime);
  }
  if (connection.engine && connection.engine->sender() != nullptr && !connection.stuck_reported) {
    if (const auto since = connection.engine->sender()->waiting_since()) {
      at = earliest(at, *since + stuck_after(*connection.engine));
    }
  }
  // A deadline that has passed and changes nothing must not make a busy loop.
  if (at) table_.schedule(connection, std::max(*at, now + std::chrono::microseconds{100}));
}

std::string Driver::why_closed(const Connection& connection) {
  if (connection.engine) {
    switch (connection.engine->close_reason()) {
      case CloseReason::refused: return "connection refused";
      case CloseReason::timed_out: return "no answer to SYN";
      case CloseReason::not_our_stream: return "the stream is not of this protocol";
      default: return "closed";
    }
  }
  switch (connection.classic->close_reason()) {
    case ClassicClose::refused: return "connection refused";
    case ClassicClose::reset: return "reset by the peer";
    case ClassicClose::finished: return "closed by the peer";
    case ClassicClose::timed_out: return "no answer to SYN";
    default: return "closed";
  }
}

void Driver::remove(Connection& connection) {
  const bool had_port = connection.guard.has_value();
  if (connection.unproven_since) --unproven_;
  std::erase(touched_, &connection);
  table_.remove(connection);
  if (had_port) static_cast<void>(set_ports());  // a port too many in the filter does no harm
}

/// Whether the peer has forgotten the connection: it restarted, or its process is gone and its kernel answers. RST can
/// be forged, by who sees the flow: as long as the peer's own segments come too, they are signals and no more.
bool Driver::peer_is_gone(Connection& connection, Instant now) {
  if (!connection.engine || connection.engine->sender() == nullptr) return false;
  const auto& engine = *connection.engine;
  const auto counted = engine.signals().resets;
  const auto heard = engine.receiver()->counters().segments + engine.sender()->una() +
                     engine.sender()->counters().duplicate_acks + engine.sender()->counters().sacked_segments;
  auto& resets = connection.resets;
  if (heard != resets.heard) resets = {counted, heard, 0, now};
  if (counted == resets.counted) return false;
  if (resets.count == 0) resets.since = now;
  resets.count += counted - resets.counted;
  resets.counted = counted;
  // In answer to ours: something has been waiting for all that time.
  return resets.count >= kGoneResets && std::min(now - resets.since, engine.stuck_for(now)) >= kGoneAfter;
}

/// After every input: reports what became of the connection, and lets go of it once it is over.
void Driver::look_after(Connection& connection, Instant now) {
  if (connection.request && connection.established()) {
    PathReport report;
    report.kind = PathReport::Kind::opened;
    report.request = *connection.request;
    report.path = connection.path;
    connection.request.reset();
    if (!connection.closing) reports_.answer(std::move(report));
  }
  report_signals(connection, now);
  const bool gone = !connection.closed() && peer_is_gone(connection, now);
  if (!connection.closed() && !gone) return reschedule(connection, now);
  if (!connection.closing) {
    if (connection.request) {
      fail_request(*connection.request, connection.path, why_closed(connection));
    } else {
      PathReport report;
      report.kind = PathReport::Kind::closed;
      report.path = connection.path;
      report.detail = gone ? "the peer does not know the connection" : why_closed(connection);
      // Anyone can make connections and end them; no session waits to hear of those.
      if (connection.unproven_since) {
        reports_.hint(std::move(report));
      } else {
        reports_.answer(std::move(report));
      }
    }
  }
  remove(connection);
}

void Driver::signal(Connection& connection, path::Signal what, std::uint64_t count) {
  if (count == 0 || connection.closing) return;
  PathReport report;
  report.kind = PathReport::Kind::signal;
  report.path = connection.path;
  report.signal = what;
  report.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, 1000));
  reports_.hint(std::move(report));
}

void Driver::report_signals(Connection& connection, Instant now) {
  using path::Signal;
  if (connection.classic) {
    const auto& counters = connection.classic->counters();
    if (counters.stale_acks > 0) {
      signal(connection, Signal::duplicate_acks, counters.duplicate_acks - connection.reported_duplicates);
    }
    connection.reported_duplicates = counters.duplicate_acks;
    return;
  }
  const auto& engine = *connection.engine;
  const auto& signals = engine.signals();
  auto& told = connection.reported;
  signal(connection, Signal::reset, signals.resets - told.resets);
  signal(connection, Signal::fin, signals.remote_fins - told.remote_fins);
  signal(connection, Signal::zero_window, signals.zero_windows - told.zero_windows);
  if (signals.proxy_proven && !told.proxy_proven) signal(connection, Signal::resegmented, 1);
  told.resets = signals.resets;
  told.remote_fins = signals.remote_fins;
  told.zero_windows = signals.zero_windows;
  told.proxy_proven = signals.proxy_proven;
  if (engine.sender() == nullptr) return;
  const auto stuck = engine.stuck_for(now);
  const auto duplicates = engine.sender()->counters().duplicate_acks;
  if (stuck >= kDuplicatesFloor) {
    signal(connection, Signal::duplicate_acks, duplicates - connection.reported_duplicates);
  }
  connection.reported_duplicates = duplicates;
  if (stuck < stuck_after(engine)) {
    if (stuck < kDuplicatesFloor) connection.stuck_reported = false;
  } else if (!connection.stuck_reported) {
    connection.stuck_reported = true;
    signal(connection, Signal::ack_behind, 1);
  }
}

Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config, packet::PacketPool& pool) {
  auto driver = Driver::make(config, pool);
  if (!driver) return fail(driver.error());
  return std::unique_ptr<Transport>{*std::move(driver)};
}

}  // namespace switchback::transports::ctcp
