#include "transports/tcp/stream_driver.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "transports/tcp/tcp_health.h"

namespace switchback::transports::tcp {
namespace {

using packet::Packet;
using packet::PacketKind;
using packet::PacketPool;
using stream::Content;

/// The upper octet of epoll's data says what a descriptor is.
constexpr unsigned kTagShift = 56;
constexpr std::uint64_t kKickTag = 0, kListenerTag = 1, kPeerTag = 2, kUpstreamTag = 3;
constexpr std::uint64_t kIdMask = (std::uint64_t{1} << kTagShift) - 1;
constexpr std::uint64_t tag(std::uint64_t kind, std::uint64_t id) noexcept { return kind << kTagShift | id; }

constexpr int kAcceptsPerTurn = 32;
/// Reads of one receive(), so that what fills nothing (rubbish, keepalives) lets others have their turn.
constexpr std::size_t kReadsPerTurn = 32;
constexpr std::size_t kMostPiece = 64 * 1024;
/// Below this what is left of a slab is not worth a read.
constexpr std::size_t kLeastPiece = 16 * 1024;

/// Rather than FIN: nothing is left behind here, not even TIME_WAIT.
void reset_at_close(int fd) noexcept {
  const ::linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

AddressPair key_of(const AddressPair& path) noexcept { return {path.local, path.remote, 0}; }

[[nodiscard]] UserError explain_listen(std::string_view name, const Endpoint& local, std::error_code error) {
  const auto where = "cannot open " + std::string{name} + " " + local.to_string() + ": ";
  if (error == std::errc::address_in_use) {
    return {where + "the port is in use; \"ss -tlnp\" shows by whom, or configure another port"};
  }
  if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted) {
    return {where + error.message() + "; this needs root (CAP_NET_BIND_SERVICE, CAP_NET_ADMIN)"};
  }
  if (error == std::errc::address_not_available) {
    return {where + "this host does not have the address; configure one that \"ip address\" shows"};
  }
  return {where + error.message()};
}

}  // namespace

StreamDriver::StreamDriver(TransportConfig config, PacketPool& pool, TransportTraits traits, TransportId id,
                           std::unique_ptr<Flavour> flavour)
    : config_{std::move(config)},
      pool_{pool},
      traits_{traits},
      id_{id},
      flavour_{std::move(flavour)},
      epoll_{::epoll_create1(EPOLL_CLOEXEC)},
      kick_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
  config_.tls.reset();  // the flavour took what it needs; keys need not live longer
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag(kKickTag, 0);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, kick_.get(), &event);
}

StreamDriver::~StreamDriver() = default;

Result<void, UserError> StreamDriver::open_all(std::span<const Endpoint> local) {
  if (!epoll_ || !kick_) {
    return fail_user("cannot create an epoll descriptor: too many open files; raise the limit (ulimit -n)");
  }
  if (!config_.headend) {
    client_local_.assign(local.begin(), local.end());
    return {};
  }
  std::vector<Listener> opened;
  for (const auto& endpoint : local) {
    // The same port again is only free once the old listener is gone.
    const auto same = std::find_if(listeners_.begin(), listeners_.end(),
                                   [&](const Listener& l) { return l.fd && l.local == endpoint; });
    if (same != listeners_.end()) {
      const auto copy = ::fcntl(same->fd.get(), F_DUPFD_CLOEXEC, 0);
      if (copy < 0) return fail_user("too many open files; raise the limit (ulimit -n)");
      opened.push_back({UniqueFd{copy}, endpoint});
      continue;
    }
    auto fd = open_listener(endpoint, {config_.mark, config_.socket_buffer});
    if (!fd) return fail(explain_listen(traits_.name, endpoint, fd.error()));
    const auto bound = local_of(fd->get());
    opened.push_back({*std::move(fd), bound});
  }
  for (auto& listener : listeners_) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener.fd.get(), nullptr);
  listeners_ = std::move(opened);
  listeners_paused_ = false;
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = tag(kListenerTag, i);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listeners_[i].fd.get(), &event);
  }
  return {};
}

std::vector<Endpoint> StreamDriver::local_endpoints() const {
  if (!config_.headend) return client_local_;
  std::vector<Endpoint> all;
  for (const auto& listener : listeners_) all.push_back(listener.local);
  return all;
}

// ---------------------------------------------------------------- readiness

void StreamDriver::kick() noexcept {
  if (std::exchange(kicked_, true)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(kick_.get(), &one, sizeof one);
}

Connection* StreamDriver::find(std::uint64_t id) noexcept {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

Connection* StreamDriver::find(const AddressPair& path) noexcept {
  const auto found = paths_.find(key_of(path));
  return found == paths_.end() ? nullptr : found->second;
}

void StreamDriver::enqueue(Connection& connection) {
  if (std::exchange(connection.queued, true)) return;
  ready_.push_back(connection.id);
}

void StreamDriver::watch(Connection& connection) noexcept {
  Interest wanted;
  const bool writing = connection.outbox.waiting_bytes() > 0 || (connection.stream && connection.stream->wants_write());
  switch (connection.state) {
    case State::connecting: wanted.peer = EPOLLOUT; break;
    case State::foreign: wanted = connection.foreign->interest(*connection.stream); break;
    default: wanted.peer = EPOLLIN | (writing ? std::uint32_t{EPOLLOUT} : 0U);
  }
  if (wanted.peer != connection.watched.peer) {
    connection.watched.peer = wanted.peer;
    epoll_event event{};
    // EPOLLHUP cannot be masked; without other interest it is shown once, not for ever.
    event.events = wanted.peer != 0 ? wanted.peer : std::uint32_t{EPOLLET};
    event.data.u64 = tag(kPeerTag, connection.id);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), &event);
  }
  const auto upstream = connection.foreign ? connection.foreign->upstream_fd() : -1;
  if (upstream >= 0 && wanted.upstream != connection.watched.upstream) {
    connection.watched.upstream = wanted.upstream;
    epoll_event event{};
    event.events = wanted.upstream;
    event.data.u64 = tag(kUpstreamTag, connection.id);
    // Not watched at all without interest: EPOLLHUP cannot be masked and would never rest.
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, upstream, nullptr);
    if (wanted.upstream != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, upstream, &event);
  }
}

void StreamDriver::poll_events(Instant now) {
  std::array<epoll_event, 64> events{};
  const auto count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    const auto id = event.data.u64 & kIdMask;
    switch (event.data.u64 >> kTagShift) {
      case kKickTag: {
        std::uint64_t value = 0;
        [[maybe_unused]] const auto got = ::read(kick_.get(), &value, sizeof value);
        kicked_ = false;
        break;
      }
      case kListenerTag: accept_some(id, now); break;
      case kUpstreamTag:
        if (auto* connection = find(id); connection != nullptr && connection->foreign) run_foreign(*connection, now);
        break;
      default:
        if (auto* connection = find(id)) handle_event(*connection, event.events, now);
    }
  }
}

// ---------------------------------------------------------------- life of a connection

Connection& StreamDriver::add(UniqueFd fd) {
  auto made = std::make_unique<Connection>();
  auto& connection = *made;
  connection.id = next_id_++;
  connection.fd = std::move(fd);
  connections_.emplace(connection.id, std::move(made));
  connection.watched.peer = EPOLLOUT;
  epoll_event event{};
  event.events = EPOLLOUT;
  event.data.u64 = tag(kPeerTag, connection.id);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection.fd.get(), &event);
  return connection;
}

void StreamDriver::remove(Connection& connection) {
  if (const auto found = paths_.find(connection.path); found != paths_.end() && found->second == &connection) {
    paths_.erase(found);
  }
  if (connection.accepted) {
    const auto holder = held_.find(holder_of(connection.path.remote.address));
    if (holder != held_.end() && --holder->second == 0) held_.erase(holder);
    if (!connection.proven) --unproven_;
  }
  if (draining_ == connection.id) draining_ = 0;
  const auto id = connection.id;
  connections_.erase(id);
}

void StreamDriver::open_path(const PathRequest& request, Instant now) {
  latest_ = std::max(latest_, now);
  IpAddress local = request.local;
  for (const auto& endpoint : client_local_) {
    if (local.empty() && endpoint.address.family() == request.remote.address.family()) local = endpoint.address;
  }
  auto fd = start_connect(local, request.remote, {config_.mark, config_.socket_buffer});
  if (!fd) {
    PathReport failed;
    failed.kind = PathReport::Kind::failed;
    failed.request = request.id;
    failed.path = {{local, 0}, request.remote, id_};
    failed.detail = "cannot connect to " + request.remote.to_string() + ": " + describe_errno(fd.error().value());
    reports_.answer(std::move(failed));
    return kick();
  }
  auto& connection = add(*std::move(fd));
  connection.path = {local_of(connection.fd.get()), request.remote, 0};
  connection.request = request.id;
  connection.deadline = now + kEstablishTimeout;
  need_tick(now);
}

void StreamDriver::accept_some(std::size_t index, Instant now) {
  if (index >= listeners_.size()) return;
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    UniqueFd fd{::accept4(listeners_[index].fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    bool later = false;
    if (fd) {
      admit(std::move(fd), now);
      later = !flavour_->takes_more(now);
      if (!later) continue;
    } else if (errno == EINTR || errno == ECONNABORTED) {
      continue;
    }
    if (later || errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      // The listener stays readable; it is looked at again by the tick instead of at every turn.
      listeners_paused_ = true;
      for (auto& listener : listeners_) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener.fd.get(), nullptr);
      need_tick(now);
    }
    return;
  }
}

void StreamDriver::admit(UniqueFd fd, Instant now) {
  const auto remote = remote_of(fd.get());
  if (remote.address.empty()) return;  // gone already
  const auto holder = holder_of(remote.address);
  const auto found = held_.find(holder);
  const auto held = found == held_.end() ? std::size_t{0} : found->second;
  if (connections_.size() >= config_.max_connections || held >= config_.max_connections_per_address) {
    reset_at_close(fd.get());
    return;
  }
  prepare_connected(fd.get());
  ++held_[holder];
  auto& connection = add(std::move(fd));
  connection.accepted = true;
  connection.path = {local_of(connection.fd.get()), remote, 0};
  connection.deadline = now + kEstablishTimeout;
  connection.state = State::establishing;
  note_unproven(connection, now);
  need_tick(now);
  connection.stream = flavour_->make_stream(connection.fd.get(), true);
  if (!connection.stream) return remove(connection);
  establish(connection, now);
}

void StreamDriver::note_unproven(Connection& connection, Instant now) {
  connection.unproven_since = now;
  unproven_order_.push_back(connection.id);
  // Many: after a restart of the headend all clients come at once. Visitors of the web page are among them.
  const auto most = std::max<std::size_t>(config_.max_connections / 2, 1);
  if (unproven_order_.size() > 2 * most) unproven_order_.pop_front();  // it still has its lifetime
  if (++unproven_ <= most) return;
  // Strangers must not take all places, and an honest client needs its connection unproven for a moment only: the
  // oldest goes.
  while (!unproven_order_.empty()) {
    const auto id = unproven_order_.front();
    unproven_order_.pop_front();
    auto* oldest = find(id);
    if (oldest == nullptr || oldest == &connection || oldest->proven) continue;
    reset_at_close(oldest->fd.get());
    return lose(*oldest, IoStatus::failed, "too many connections have no session");
  }
}

void StreamDriver::handle_event(Connection& connection, std::uint32_t events, Instant now) {
  switch (connection.state) {
    case State::connecting: {
      int error = 0;
      socklen_t length = sizeof error;
      ::getsockopt(connection.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
      if (error != 0) return lose(connection, IoStatus::failed, describe_errno(error));
      if ((events & EPOLLOUT) == 0) return;
      connection.path.local = local_of(connection.fd.get());
      connection.state = State::establishing;
      connection.stream = flavour_->make_stream(connection.fd.get(), false);
      if (!connection.stream) return lose(connection, IoStatus::failed, "out of memory");
      return establish(connection, now);
    }
    case State::establishing: return establish(connection, now);
    case State::foreign: return run_foreign(connection, now);
    case State::waiting:
    case State::open:
    case State::closing: break;
  }
  const auto id = connection.id;
  if ((events & EPOLLOUT) != 0) flush(connection);
  if (find(id) != nullptr && (events & ~std::uint32_t{EPOLLOUT}) != 0) enqueue(connection);
}

void StreamDriver::establish(Connection& connection, Instant now) {
  const auto status = connection.stream->establish();
  if (status == IoStatus::ok) return established(connection, now);
  if (status == IoStatus::blocked) return watch(connection);
  if (connection.accepted && status == IoStatus::failed) {
    // The alert that says what was wrong is on its way, and closing at once might overtake it.
    connection.state = State::closing;
    connection.deadline = now + kCloseTimeout;
    return flush(connection);
  }
  lose(connection, status,
       status == IoStatus::finished ? "the peer closed the connection" : connection.stream->error());
}

void StreamDriver::established(Connection& connection, Instant now) {
  if (connection.accepted) {
    connection.state = State::waiting;
    connection.deadline = now + kFirstOctetsTimeout;
    enqueue(connection);
    return watch(connection);
  }
  connection.state = State::open;
  connection.outbox.keep(stream::kPrefix);  // RFC 9329 §4: the originator, and only it
  paths_[connection.path] = &connection;
  PathReport opened;
  opened.kind = PathReport::Kind::opened;
  opened.request = connection.request;
  opened.path = connection.path;
  opened.path.transport = id_;
  reports_.answer(std::move(opened));
  enqueue(connection);
  flush(connection);
}

/// The first octets of an accepted connection, however few come at a time: just as many as decide.
void StreamDriver::read_first(Connection& connection, Instant now) {
  std::array<std::uint8_t, stream::kPrefix.size()> octets{};
  auto& first = connection.first;
  while (first.size() < stream::kPrefix.size()) {
    const auto result = connection.stream->read(ByteSpan{octets}.first(stream::kPrefix.size() - first.size()));
    if (result.status == IoStatus::blocked) return watch(connection);
    if (result.status != IoStatus::ok) return remove(connection);
    append(first, ByteView{octets}.first(result.octets));
    if (!same_bytes(first, ByteView{stream::kPrefix}.first(first.size()))) return become_foreign(connection, now);
  }
  connection.state = State::open;
  connection.first = {};
  paths_[connection.path] = &connection;
  enqueue(connection);
}

void StreamDriver::become_foreign(Connection& connection, Instant now) {
  connection.foreign = flavour_->make_foreign(connection.first, now);
  if (!connection.foreign) {
    ++counters_.receive_malformed;
    return remove(connection);
  }
  connection.first = {};
  connection.state = State::foreign;
  run_foreign(connection, now);
}

void StreamDriver::run_foreign(Connection& connection, Instant now) {
  if (!connection.foreign->proceed(*connection.stream, now)) {
    connection.foreign.reset();
    return linger(connection, now);
  }
  watch(connection);
  if ((connection.watched.peer & EPOLLIN) != 0 && connection.stream->has_pending()) enqueue(connection);
}

/// Lets what was sent arrive, then goes.
void StreamDriver::linger(Connection& connection, Instant now) {
  if (const auto found = paths_.find(connection.path); found != paths_.end() && found->second == &connection) {
    paths_.erase(found);
  }
  if (draining_ == connection.id) draining_ = 0;
  if (connection.state == State::connecting || connection.state == State::establishing) return remove(connection);
  connection.state = State::closing;
  connection.deadline = now + kCloseTimeout;
  need_tick(now);
  flush(connection);
}

/// Closing without reading what came would reset the connection, and what was sent with it.
void StreamDriver::discard(Connection& connection) {
  std::array<std::uint8_t, 4096> octets;
  for (int i = 0; i < 16; ++i) {
    const auto result = connection.stream->read(octets);
    if (result.status == IoStatus::blocked) return;
    if (result.status != IoStatus::ok) return remove(connection);
  }
}

void StreamDriver::flush(Connection& connection) {
  const auto status = connection.outbox.flush(*connection.stream);
  if (!alive(status)) {
    if (connection.state == State::closing) return remove(connection);
    // What the peer said before it broke off is still to be read; reading finds out the rest.
    enqueue(connection);
    return kick();
  }
  if (connection.state == State::closing && status == IoStatus::ok) {
    connection.stream->finish();
    ::shutdown(connection.fd.get(), SHUT_WR);
  }
  watch(connection);
}

void StreamDriver::report_end(Connection& connection, IoStatus why, std::string detail) {
  PathReport report;
  report.path = connection.path;
  report.path.transport = id_;
  report.request = connection.request;
  if (connection.state == State::connecting || connection.state == State::establishing) {
    if (connection.accepted) return;
    report.kind = PathReport::Kind::failed;
    report.detail = "cannot connect to " + connection.path.remote.to_string() + ": " + std::move(detail);
    reports_.answer(std::move(report));
    return kick();
  }
  if (connection.state != State::open) return;
  // Anybody can open connections and close them: of those without a session only some are told of.
  const bool known = !connection.accepted || connection.proven;
  if (why == IoStatus::reset || why == IoStatus::finished) {
    auto signal = report;
    signal.kind = PathReport::Kind::signal;
    signal.signal = why == IoStatus::reset ? path::Signal::reset : path::Signal::fin;
    signal.count = 1;
    known ? reports_.answer(std::move(signal)) : reports_.hint(std::move(signal));
  }
  report.kind = PathReport::Kind::closed;
  report.detail = std::move(detail);
  known ? reports_.answer(std::move(report)) : reports_.hint(std::move(report));
  kick();
}

void StreamDriver::lose(Connection& connection, IoStatus why, std::string detail) {
  report_end(connection, why, std::move(detail));
  remove(connection);
}

void StreamDriver::close_path(const AddressPair& path, Instant now) {
  latest_ = std::max(latest_, now);
  if (auto* connection = find(path)) return linger(*connection, now);
  // One that is not open yet has no path but its request's.
  for (auto& [id, connection] : connections_) {
    const bool opening = connection->state == State::connecting || connection->state == State::establishing;
    if (opening && !connection->accepted && connection->path == key_of(path)) return remove(*connection);
  }
}

void StreamDriver::set_inbound_spis(const AddressPair& path, std::span<const Spi> spis) {
  auto* connection = find(path);
  if (connection == nullptr) return;
  const bool proven = !spis.empty();
  if (connection->proven == proven) return;
  connection->proven = proven;
  if (!connection->accepted) return;
  if (proven) {
    --unproven_;
  } else {
    note_unproven(*connection, latest_);
    need_tick(latest_);
  }
}

void StreamDriver::handle_deadline(Instant now) {
  latest_ = std::max(latest_, now);
  next_tick_.reset();
  if (std::exchange(listeners_paused_, false)) {
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = tag(kListenerTag, i);
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listeners_[i].fd.get(), &event);
    }
  }
  std::vector<std::uint64_t> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) all.push_back(id);
  for (const auto id : all) {
    if (auto* connection = find(id)) look_after(*connection, now);
  }
  if (!ready_.empty()) kick();  // what waited for the pool
}

void StreamDriver::look_after(Connection& connection, Instant now) {
  switch (connection.state) {
    case State::connecting:
    case State::establishing:
      if (now < connection.deadline) break;
      return lose(
          connection, IoStatus::failed,
          connection.state == State::connecting ? "no answer within 10 s" : "the handshake was not over within 10 s");
    case State::waiting:
      if (now < connection.deadline) break;
      return become_foreign(connection, now);
    case State::closing:
      if (now < connection.deadline) break;
      return remove(connection);
    case State::foreign:
      if (now < connection.foreign->deadline()) break;
      connection.foreign.reset();
      return linger(connection, now);
    case State::open:
      if (connection.accepted && !connection.proven) {
        if (now < connection.unproven_since + config_.unproven_lifetime) break;
        report_end(connection, IoStatus::failed, "no session proved itself in time");
        return linger(connection, now);
      }
      if (connection.sent_since_look) check_health(connection, now);
      if (!connection.sent_since_look) return;
  }
  need_tick(now);
}

void StreamDriver::check_health(Connection& connection, Instant now) {
  const auto health = tcp_health(connection.fd.get());
  if (!health) return;
  const auto signal = [&](path::Signal what) {
    PathReport report;
    report.kind = PathReport::Kind::signal;
    report.path = connection.path;
    report.path.transport = id_;
    report.signal = what;
    report.count = 1;
    reports_.hint(std::move(report));
    kick();
  };
  if (health->octets_per_second > 0) {
    const auto wanted = unsent_limit(health->octets_per_second);
    // Not for every small change.
    if (wanted > connection.lowat + connection.lowat / 4 || wanted < connection.lowat - connection.lowat / 4) {
      connection.lowat = wanted;
      set_unsent_limit(connection.fd.get(), wanted);
    }
  }
  const bool progress = health->octets_acked != connection.octets_acked || !health->outstanding;
  if (progress || connection.progress_at == Instant{}) {
    connection.progress_at = now;
    connection.stall_told = false;
  }
  connection.octets_acked = health->octets_acked;
  if (health->zero_window) signal(path::Signal::zero_window);
  const auto patience = std::max<Duration>(8 * health->rtt, std::chrono::milliseconds{1500});
  const bool stalled = health->retransmits >= 3 || now - connection.progress_at > patience;
  if (health->outstanding && stalled && !std::exchange(connection.stall_told, true)) signal(path::Signal::ack_behind);
  connection.sent_since_look = health->outstanding || health->unsent_octets > 0;
  if (!connection.sent_since_look) connection.progress_at = Instant{};
}

// ---------------------------------------------------------------- sending

Result<std::size_t> StreamDriver::send(std::span<Packet> batch, Instant now) {
  latest_ = std::max(latest_, now);
  touched_.clear();
  Connection* connection = nullptr;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    auto& packet = batch[i];
    // RFC 9329 §5: NAT keepalives are not for TCP, which has its own.
    if (packet.kind == PacketKind::keepalive) {
      packet.reset();
      continue;
    }
    if (connection == nullptr || connection->path != key_of(packet.path)) connection = find(packet.path);
    const auto content = packet.kind == PacketKind::ike ? Content::ike : Content::esp;
    if (connection == nullptr || packet.kind == PacketKind::inner || !stream::fits(content, packet.size())) {
      ++counters_.send_dropped;
      packet.reset();
      continue;
    }
    const auto size = packet.size();
    stream::write_header(content, size, packet.prepend(stream::header_bytes(content)));
    if (connection->batch.empty()) touched_.push_back(connection->id);
    connection->batch.push_back(static_cast<std::uint32_t>(i));
  }
  for (const auto id : touched_) {
    auto* each = find(id);
    const auto path = batch[each->batch.front()].path;
    const auto status = each->outbox.send(*each->stream, batch, each->batch, counters_);
    own_drops_.add(path, each->outbox.take_dropped_esp());
    each->batch.clear();
    if (!each->sent_since_look) {
      each->sent_since_look = true;
      need_tick(now);
    }
    if (!alive(status)) {
      enqueue(*each);  // reading finds out why
      kick();
    } else {
      watch(*each);
    }
  }
  return batch.size();
}

// ---------------------------------------------------------------- receiving

/// A slab with room for a piece. False: the pool is empty.
bool StreamDriver::has_room() noexcept {
  if (slab_ && slab_.size() - slab_used_ >= kLeastPiece) return true;
  slab_ = pool_.allocate(0);
  slab_used_ = 0;
  if (!slab_) return false;
  slab_.resize(PacketPool::kSlabBytes);
  return true;
}

void StreamDriver::read_piece(Connection& connection) {
  const auto room = slab_.data().subspan(slab_used_);
  const auto wanted = std::min(room.size(), kMostPiece);
  const auto result = connection.stream->read(room.first(wanted));
  ++counters_.receive_calls;
  switch (result.status) {
    case IoStatus::ok: break;
    case IoStatus::blocked: return watch(connection);
    case IoStatus::finished: return lose(connection, result.status, "closed by the peer");
    case IoStatus::reset: return lose(connection, result.status, "reset by the peer, or by something on the way");
    case IoStatus::failed: return lose(connection, result.status, connection.stream->error());
  }
  piece_ = room.first(result.octets);
  slab_used_ += result.octets;
  draining_ = connection.id;
  connection.parser.give(piece_);
  // A short read has emptied the socket; the others go to the end of the line.
  if (result.octets == wanted || connection.stream->has_pending()) enqueue(connection);
}

/// A payload as a packet: a part of the slab where it lies in it, a copy where the parser put it together.
Packet StreamDriver::packet_of(ByteView payload) {
  const std::less_equal<const std::uint8_t*> not_after;
  const auto* const begin = slab_.data().data();
  if (not_after(piece_.data(), payload.data()) &&
      not_after(payload.data() + payload.size(), &*piece_.begin() + piece_.size())) {
    return slab_.slice(static_cast<std::size_t>(payload.data() - begin), payload.size());
  }
  if (slab_.size() - slab_used_ >= payload.size()) {
    auto packet = slab_.slice(slab_used_, payload.size());
    slab_used_ += payload.size();
    std::memcpy(packet.data().data(), payload.data(), payload.size());
    return packet;
  }
  auto packet = pool_.allocate(0);
  if (!packet) return packet;
  std::memcpy(packet.append(payload.size()).data(), payload.data(), payload.size());
  return packet;
}

std::size_t StreamDriver::deliver(std::span<Packet> out) {
  std::size_t produced = 0;
  while (draining_ != 0 && produced < out.size()) {
    auto& connection = *find(draining_);
    const auto next = connection.parser.next();
    if (!next) {
      // RFC 9329 §3: framing cannot be found again.
      ++counters_.receive_malformed;
      lose(connection, IoStatus::failed, "framing error: a length that cannot be");
      return produced;
    }
    if (!*next) {
      draining_ = 0;
      return produced;
    }
    const auto& frame = **next;
    if (frame.content == Content::keepalive) continue;
    if (frame.content == Content::malformed) {
      ++counters_.receive_malformed;
      continue;
    }
    auto packet = packet_of(frame.payload);
    if (!packet) continue;  // the pool is empty: lost, as on any queue
    ++counters_.received_packets;
    counters_.received_octets += frame.payload.size();
    packet.kind = frame.content == Content::ike ? PacketKind::ike : PacketKind::esp;
    packet.path = connection.path;
    out[produced++] = std::move(packet);
  }
  return produced;
}

Result<std::size_t> StreamDriver::receive(std::span<Packet> out, Instant now) {
  latest_ = std::max(latest_, now);
  std::size_t produced = 0;
  // Each time: connections that never run dry must not keep the others from being seen.
  poll_events(now);
  for (std::size_t reads = 0; reads < kReadsPerTurn;) {
    produced += deliver(out.subspan(produced));
    if (produced == out.size()) return produced;
    if (ready_.empty()) return produced;
    const auto id = ready_.front();
    ready_.pop_front();
    auto* connection = find(id);
    if (connection == nullptr) continue;
    connection->queued = false;
    ++reads;
    switch (connection->state) {
      case State::waiting: read_first(*connection, now); break;
      case State::closing: discard(*connection); break;
      case State::open:
        if (!has_room()) {
          enqueue(*connection);
          need_tick(now);
          return produced;
        }
        read_piece(*connection);
        break;
      case State::foreign: run_foreign(*connection, now); break;
      default: break;
    }
  }
  produced += deliver(out.subspan(produced));
  // Sockets show what they still have, but not what TLS has taken from them.
  if (!ready_.empty() || draining_ != 0) kick();
  return produced;
}

}  // namespace switchback::transports::tcp
