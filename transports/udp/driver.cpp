#include "transports/udp/driver.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>

#include "common/io/sockets.h"
#include "common/packet/pool.h"
#include "transports/udp/framing.h"

namespace switchback::transports::udp {
namespace {

using packet::Packet;
using packet::PacketKind;
using packet::PacketPool;

/// Messages of one recvmmsg and of one sendmmsg.
constexpr std::size_t kReceiveMessages = 32, kSendMessages = 32;
/// What a UDP_SEGMENT run may be: 64 segments since Linux 4.18 (128 since 6.9), and one IP packet in length, with
/// room for the headers of either family.
constexpr std::size_t kMaxRunPackets = 64, kMaxRunBytes = 65400;
/// Packets looked at for one sendmmsg.
constexpr std::size_t kMaxBatch = 1024;
/// Where a small datagram is received; 33 of them fill a slab. Not a power of two, for the caches' sake.
constexpr std::size_t kSlotBytes = 2112;
/// From this mean size of received messages on, a few at a time fill the cache.
constexpr std::size_t kLargeMessageBytes = 8192;
constexpr std::size_t kMaxReports = 16;
/// System calls of one receive(), so that a flood of malformed datagrams, which fill nothing, lets others have their
/// turn.
constexpr std::size_t kMaxFetches = 16;

struct Socket {
  io::UdpSocket io;
  bool segmentation = false;
  bool readable = true;
  bool wants_write = false;
};

[[nodiscard]] UserError explain_open(const Endpoint& local, std::error_code error) {
  const auto where = "cannot open UDP " + local.to_string() + ": ";
  if (error == std::errc::address_in_use) {
    return {where + "the port is in use; stop the other IKE daemon (\"ss -ulpn\" shows it) or configure another port"};
  }
  if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted) {
    return {where + error.message() + "; this needs root (CAP_NET_BIND_SERVICE, CAP_NET_ADMIN)"};
  }
  if (error == std::errc::address_not_available) {
    return {where + "this host does not have the address; configure one that \"ip address\" shows"};
  }
  return {where + error.message()};
}

/// A received message, handed out datagram by datagram.
struct Received {
  Packet buffer;
  std::size_t offset = 0;
  std::size_t segment = 0;  // datagram size; the last may be shorter
  Framing framing = Framing::bare;
};

class Driver final : public Transport {
 public:
  Driver(const TransportConfig& config, PacketPool& pool)
      : config_{config}, pool_{pool}, epoll_{::epoll_create1(EPOLL_CLOEXEC)} {
    traits_ = {"udp", 20 + 8, 40 + 8, kMaxBatch};
    for (std::size_t i = 0; i < kReceiveMessages; ++i) {
      auto& header = receive_messages_[i].msg_hdr;
      header.msg_name = &receive_names_[i];
      header.msg_iov = &receive_parts_[2 * i];
      header.msg_iovlen = 2;
    }
  }

  [[nodiscard]] Result<void, UserError> open_all(std::span<const Endpoint> local) {
    if (!epoll_)
      return fail_user("cannot create an epoll descriptor: too many open files; raise the limit (ulimit -n)");
    std::vector<Socket> opened;
    opened.reserve(local.size());
    const io::UdpOptions options{config_.mark, config_.reuse_port, config_.offload, config_.socket_buffer};
    for (const auto& endpoint : local) {
      auto socket = io::open_udp(endpoint, options);
      if (!socket) return fail(explain_open(endpoint, socket.error()));
      const bool segmentation = socket->segmentation && config_.offload;
      opened.push_back({*std::move(socket), segmentation, true, false});
    }
    // The old sockets leave the epoll set when they are closed.
    sockets_ = std::move(opened);
    next_ = 0;
    for (std::size_t i = 0; i < sockets_.size(); ++i) watch(i, EPOLL_CTL_ADD);
    return {};
  }

  [[nodiscard]] const TransportTraits& traits() const noexcept override { return traits_; }
  [[nodiscard]] const TransportCounters& counters() const noexcept override { return counters_; }
  [[nodiscard]] Result<std::size_t> send(std::span<Packet> batch, Instant now) override;
  [[nodiscard]] Result<std::size_t> receive(std::span<Packet> out, Instant now) override;
  [[nodiscard]] std::optional<PathReport> poll_report() override {
    if (reports_.empty()) return std::nullopt;
    auto report = std::move(reports_.front());
    reports_.pop_front();
    return report;
  }
  void open_path(const PathRequest& request, Instant now) override;
  // Paths of datagrams have no state here.
  void close_path(const AddressPair& /*path*/, Instant /*now*/) override {}
  void set_inbound_spis(const AddressPair& /*path*/, std::span<const Spi> /*spis*/) override {}
  // NAT keepalives belong to the sessions, and UDP itself has no timers.
  [[nodiscard]] std::optional<Instant> next_deadline() const override { return std::nullopt; }
  void handle_deadline(Instant /*now*/) override {}
  [[nodiscard]] int wait_fd() const noexcept override { return epoll_.get(); }
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const override {
    std::vector<Endpoint> all;
    for (const auto& socket : sockets_) all.push_back(socket.io.local);
    return all;
  }
  [[nodiscard]] Result<void, UserError> rebind(std::span<const Endpoint> local) override { return open_all(local); }

 private:
  void watch(std::size_t index, int operation) noexcept {
    epoll_event event{};
    event.events = EPOLLIN | (sockets_[index].wants_write ? std::uint32_t{EPOLLOUT} : 0U);
    event.data.u64 = index;
    ::epoll_ctl(epoll_.get(), operation, sockets_[index].io.fd.get(), &event);
  }

  // --- sending ---
  struct Run {
    std::size_t first = 0, count = 0;
  };
  [[nodiscard]] Socket* socket_for(const AddressPair& path) noexcept;
  [[nodiscard]] bool frame(Packet& packet) const noexcept;
  void lay_out(std::size_t message, std::span<Packet> batch, const Run& run, const Socket& socket) noexcept;
  enum class Outcome : std::uint8_t { sent, dropped, blocked };
  [[nodiscard]] Outcome overcome(Socket& socket, std::size_t message, std::span<Packet> batch, const Run& run,
                                 std::size_t& taken);
  [[nodiscard]] Outcome send_one(Socket& socket, msghdr& message, const AddressPair& path);
  void block(Socket& socket) noexcept;
  void report(const PathReport& what) {
    ++counters_.path_reports;
    if (reports_.size() < kMaxReports) reports_.push_back(what);
  }

  // --- receiving ---
  void poll_sockets();
  void drain_errors(const Socket& socket, const AddressPair* just_sent = nullptr);
  [[nodiscard]] bool prepare(std::size_t wanted, std::size_t& ready) noexcept;
  [[nodiscard]] Result<void> fetch(Socket& socket);
  [[nodiscard]] std::size_t deliver(std::span<Packet> out);

  TransportConfig config_;
  PacketPool& pool_;
  UniqueFd epoll_;
  TransportTraits traits_;
  TransportCounters counters_;
  std::vector<Socket> sockets_;
  std::size_t next_ = 0;  // whose turn it is to be read
  std::deque<PathReport> reports_;

  std::array<mmsghdr, kSendMessages> send_messages_{};
  std::array<Run, kSendMessages> send_runs_{};
  std::array<sockaddr_storage, kSendMessages> send_names_{};
  std::array<iovec, kMaxBatch> send_parts_{};
  struct alignas(cmsghdr) SendControl {
    std::array<std::uint8_t, io::kSendControlBytes> octets;
  };
  struct alignas(cmsghdr) ReceiveControl {
    std::array<std::uint8_t, io::kReceiveControlBytes> octets;
  };
  std::array<SendControl, kSendMessages> send_controls_{};

  std::array<mmsghdr, kReceiveMessages> receive_messages_{};
  std::array<sockaddr_storage, kReceiveMessages> receive_names_{};
  std::array<ReceiveControl, kReceiveMessages> receive_controls_{};
  std::array<iovec, 2 * kReceiveMessages> receive_parts_{};
  std::array<Packet, kReceiveMessages> overflow_;  // whole slabs for what does not fit into a slot
  Packet slots_;                                   // one slab, cut into slots
  std::size_t slots_used_ = 0;                     // octets of it
  bool large_messages_ = false;
  std::array<Received, kReceiveMessages> received_;
  std::size_t received_count_ = 0, received_next_ = 0;
};

// ---------------------------------------------------------------- sending

Socket* Driver::socket_for(const AddressPair& path) noexcept {
  const auto family = path.remote.address.family();
  Socket* wildcard = nullptr;
  Socket* any = nullptr;
  for (auto& socket : sockets_) {
    const auto& local = socket.io.local;
    if (local.address.family() != family) continue;
    // A client has one socket for each family, whose port may have changed since the path was made.
    if ((path.local.port == 0 || !config_.headend) && any == nullptr) any = &socket;
    if (local.port != path.local.port) continue;
    if (local.address == path.local.address) return &socket;
    if (local.address.is_unspecified()) wildcard = &socket;
    // A path without an address goes by whatever has the port.
    if (path.local.address.empty() || path.local.address.is_unspecified()) any = &socket;
  }
  return wildcard != nullptr ? wildcard : any;
}

void Driver::open_path(const PathRequest& request, Instant /*now*/) {
  PathReport answer;
  answer.request = request.id;
  // What the path will say has no port yet: it takes the socket of the family, and that one's port.
  answer.path = {{request.local, 0}, request.remote, kUdpTransport};
  if (const auto* socket = socket_for(answer.path)) {
    answer.kind = PathReport::Kind::opened;
    answer.path.local.port = socket->io.local.port;
    if (!socket->io.local.address.is_unspecified()) answer.path.local.address = socket->io.local.address;
  } else {
    answer.kind = PathReport::Kind::failed;
    answer.detail = std::string{"there is no UDP socket for "} + (request.remote.address.is_v6() ? "IPv6" : "IPv4");
  }
  reports_.push_back(std::move(answer));  // beyond the bound for hints: every request is answered once
}

/// Puts the framing in front of a packet. False: it cannot travel on this path.
bool Driver::frame(Packet& packet) const noexcept {
  const auto framing = framing_of(packet.path, config_.headend, config_.ike_port);
  switch (packet.kind) {
    case PacketKind::ike:
      if (framing == Framing::marked) store_be<std::uint32_t>(packet.prepend(kMarkerBytes).data(), 0);
      return true;
    case PacketKind::esp:
    case PacketKind::keepalive: return framing == Framing::marked;  // RFC 7296 §2.23: never on the IKE port
    case PacketKind::inner: break;
  }
  return false;
}

void Driver::lay_out(std::size_t message, std::span<Packet> batch, const Run& run, const Socket& socket) noexcept {
  auto& packet = batch[run.first];
  auto& header = send_messages_[message].msg_hdr;
  header = {};
  header.msg_name = &send_names_[message];
  header.msg_namelen = packet.path.remote.to_sockaddr(send_names_[message]);
  header.msg_iov = &send_parts_[run.first];
  header.msg_iovlen = run.count;
  const auto bound = !socket.io.local.address.is_unspecified();
  io::build_control(header, send_controls_[message].octets.data(), bound ? IpAddress{} : packet.path.local.address,
                    run.count > 1 ? static_cast<std::uint16_t>(packet.size()) : std::uint16_t{0});
  send_runs_[message] = run;
}

void Driver::block(Socket& socket) noexcept {
  ++counters_.send_blocked;
  if (socket.wants_write) return;
  socket.wants_write = true;
  watch(static_cast<std::size_t>(&socket - sockets_.data()), EPOLL_CTL_MOD);
}

/// One datagram, whatever the kernel says at first.
Driver::Outcome Driver::send_one(Socket& socket, msghdr& message, const AddressPair& path) {
  const int fd = socket.io.fd.get();
  // With IP_RECVERR a call may fail by an ICMP error about an earlier datagram, to anyone: that is over with the next.
  for (int attempt = 0; attempt < 3; ++attempt) {
    ++counters_.send_calls;
    if (::sendmsg(fd, &message, MSG_NOSIGNAL) >= 0) return Outcome::sent;
    switch (errno) {
      case EINTR: break;
      case EAGAIN: return Outcome::blocked;
      case ENOBUFS: return Outcome::dropped;  // a queue of the device was full; the socket is not
      case EMSGSIZE: {
        // The path takes less. The datagram still leaves, in fragments, and the report makes the tunnel's MTU smaller.
        const bool left = io::send_fragmented(fd, path.remote.address.family(), message).has_value();
        drain_errors(socket, &path);
        return left ? Outcome::sent : Outcome::dropped;
      }
      case ENETUNREACH:
      case EHOSTUNREACH:
      case ENETDOWN:
      case ECONNREFUSED:
        if (attempt == 2) report({PathReport::Kind::unreachable, path, 0});
        break;
      case EINVAL:         // the source address is no longer of this host
      case EADDRNOTAVAIL:  // as above, IPv6
        report({PathReport::Kind::unreachable, path, 0});
        return Outcome::dropped;
      default: break;
    }
  }
  return Outcome::dropped;
}

/// A message that sendmmsg refused, again by itself: as a run if the error was someone else's, datagram by datagram if
/// it was about segmentation. `taken` counts what left or was dropped.
Driver::Outcome Driver::overcome(Socket& socket, std::size_t message, std::span<Packet> batch, const Run& run,
                                 std::size_t& taken) {
  auto& header = send_messages_[message].msg_hdr;
  const auto& path = batch[run.first].path;
  if (run.count > 1) {
    for (;;) {
      ++counters_.send_calls;
      if (::sendmsg(socket.io.fd.get(), &header, MSG_NOSIGNAL) >= 0) {
        taken = run.count;
        return Outcome::sent;
      }
      if (errno == EAGAIN) return Outcome::blocked;
      if (errno != EINTR) break;
    }
    // EIO: the device does no checksums, for good. EINVAL, EMSGSIZE: segments beyond the path's MTU, or a kernel that
    // does not like the run; if single datagrams pass as they are, it is the latter.
    if (errno == EIO || errno == EOPNOTSUPP) socket.segmentation = false;
  }
  const auto reason = run.count > 1 ? errno : 0;
  const auto dropped_before = counters_.send_dropped;
  const auto reports_before = counters_.path_reports;
  for (std::size_t i = 0; i < run.count; ++i) {
    msghdr single = header;
    single.msg_iov = &send_parts_[run.first + i];
    single.msg_iovlen = 1;
    io::build_control(single, send_controls_[message].octets.data(),
                      socket.io.local.address.is_unspecified() ? path.local.address : IpAddress{}, 0);
    const auto outcome = send_one(socket, single, path);
    if (outcome == Outcome::blocked) {
      taken = i;
      return Outcome::blocked;
    }
    if (outcome == Outcome::dropped) ++counters_.send_dropped;
  }
  taken = run.count;
  if (reason == EINVAL && dropped_before == counters_.send_dropped) {
    drain_errors(socket);
    if (reports_before == counters_.path_reports) socket.segmentation = false;
  }
  return Outcome::sent;
}

Result<std::size_t> Driver::send(std::span<Packet> batch, Instant /*now*/) {
  std::size_t done = 0;
  const auto take = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      counters_.sent_octets += batch[done + i].size();
      batch[done + i].reset();
    }
    counters_.sent_packets += count;
    done += count;
  };
  while (done < batch.size()) {
    auto rest = batch.subspan(done, std::min(batch.size() - done, kMaxBatch));
    auto* socket = socket_for(rest[0].path);
    // Runs of equal-sized packets to one address, as many as go by this socket.
    std::size_t messages = 0, framed = 0;
    while (framed < rest.size() && messages < kSendMessages && socket != nullptr) {
      auto& first = rest[framed];
      if (framed != 0 && first.path != rest[framed - 1].path && socket_for(first.path) != socket) break;
      if (!frame(first)) break;
      Run run{framed, 1};
      std::size_t octets = first.size();
      send_parts_[framed] = {first.data().data(), first.size()};
      ++framed;
      if (socket->segmentation && first.kind == PacketKind::esp) {
        while (framed < rest.size() && run.count < kMaxRunPackets) {
          auto& next = rest[framed];
          if (next.kind != PacketKind::esp || next.size() > first.size() || octets + next.size() > kMaxRunBytes ||
              next.path != first.path) {
            break;
          }
          send_parts_[framed] = {next.data().data(), next.size()};
          octets += next.size();
          ++run.count;
          ++framed;
          if (next.size() < first.size()) break;  // only the last may be shorter
        }
      }
      lay_out(messages++, rest, run, *socket);
    }
    if (messages == 0) {  // no socket for the path, or the wrong kind of packet for it
      ++counters_.send_dropped;
      rest[0].reset();
      ++done;
      continue;
    }
    std::size_t sent = 0;
    bool blocked = false;
    while (sent < messages && !blocked) {
      const auto got =
          ::sendmmsg(socket->io.fd.get(), &send_messages_[sent], static_cast<unsigned>(messages - sent), MSG_NOSIGNAL);
      if (got > 0) {
        counters_.send_calls += static_cast<std::size_t>(got);
        for (int i = 0; i < got; ++i) take(send_runs_[sent++].count);
        continue;
      }
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        blocked = true;
        break;
      }
      std::size_t taken = 0;
      blocked = overcome(*socket, sent, rest, send_runs_[sent], taken) == Outcome::blocked;
      take(taken);
      if (!blocked) ++sent;
    }
    if (!blocked) continue;
    // What was framed and not sent goes back as it was.
    for (auto& packet : batch.subspan(done, static_cast<std::size_t>(&rest[0] - &batch[0]) + framed - done)) {
      if (packet.kind == PacketKind::ike &&
          framing_of(packet.path, config_.headend, config_.ike_port) == Framing::marked) {
        packet.trim_front(kMarkerBytes);
      }
    }
    block(*socket);
    return done;
  }
  return done;
}

// ---------------------------------------------------------------- receiving

/// @param just_sent  whom an error is about that names no port: the kernel's own EMSGSIZE for IPv4 does not
void Driver::drain_errors(const Socket& socket, const AddressPair* just_sent) {
  for (int i = 0; i < 64; ++i) {  // bounded: anyone can send ICMP
    const auto error = io::next_socket_error(socket.io.fd.get());
    if (!error) break;
    if (error->remote.address.empty()) continue;
    AddressPair path{socket.io.local, error->remote};
    if (path.remote.port == 0 && just_sent != nullptr && just_sent->remote.address == path.remote.address)
      path = *just_sent;
    if (error->error == EMSGSIZE) {
      report({PathReport::Kind::mtu, path, error->mtu});
    } else {
      report({PathReport::Kind::unreachable, path, 0});
    }
  }
  io::clear_socket_error(socket.io.fd.get());
}

void Driver::poll_sockets() {
  std::array<epoll_event, 64> events{};
  const auto count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    auto& socket = sockets_[event.data.u64];
    if ((event.events & EPOLLIN) != 0) socket.readable = true;
    if ((event.events & EPOLLERR) != 0) drain_errors(socket);
    if ((event.events & EPOLLOUT) != 0) {
      socket.wants_write = false;
      watch(event.data.u64, EPOLL_CTL_MOD);
    }
  }
}

/// Memory for up to `wanted` messages: each gets a slot, and behind it a whole slab for what does not fit.
bool Driver::prepare(std::size_t wanted, std::size_t& ready) noexcept {
  ready = 0;
  if (!slots_ || slots_.size() - slots_used_ < kSlotBytes * std::min(wanted, std::size_t{4})) {
    slots_ = pool_.allocate(0);
    slots_used_ = 0;
    if (!slots_) return false;
    slots_.resize(PacketPool::kSlabBytes);
  }
  for (; ready < wanted; ++ready) {
    const auto offset = slots_used_ + ready * kSlotBytes;
    if (offset + kSlotBytes > slots_.size()) break;
    auto& overflow = overflow_[ready];
    if (!overflow) {
      overflow = pool_.allocate(0);
      if (!overflow) break;
      overflow.resize(PacketPool::kSlabBytes);
    }
    receive_parts_[2 * ready] = {slots_.data().data() + offset, kSlotBytes};
    receive_parts_[2 * ready + 1] = {overflow.data().data() + kSlotBytes, PacketPool::kSlabBytes - kSlotBytes};
    auto& header = receive_messages_[ready].msg_hdr;
    header.msg_namelen = sizeof receive_names_[ready];
    header.msg_control = receive_controls_[ready].octets.data();
    header.msg_controllen = io::kReceiveControlBytes;
    header.msg_flags = 0;
  }
  return ready != 0;
}

Result<void> Driver::fetch(Socket& socket) {
  const std::size_t wanted = large_messages_ ? 4 : kReceiveMessages;
  std::size_t ready = 0;
  if (!prepare(wanted, ready)) {
    socket.readable = false;  // no memory: epoll will bring us back
    return {};
  }
  const auto got = ::recvmmsg(socket.io.fd.get(), receive_messages_.data(), static_cast<unsigned>(ready), 0, nullptr);
  if (got < 0) {
    if (errno == EINTR) return {};
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      socket.readable = false;
      return {};
    }
    // An ICMP error about something sent earlier; it is over with this call.
    if (errno == EBADF || errno == ENOTSOCK || errno == EFAULT) return fail_errno();
    drain_errors(socket);
    return {};
  }
  const auto count = static_cast<std::size_t>(got);
  if (count < ready) socket.readable = false;
  std::size_t octets = 0;
  received_next_ = received_count_ = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& header = receive_messages_[i].msg_hdr;
    const std::size_t size = receive_messages_[i].msg_len;
    octets += size;
    ++counters_.receive_calls;
    if ((header.msg_flags & MSG_TRUNC) != 0 || size == 0) {
      ++counters_.receive_malformed;
      continue;
    }
    auto& entry = received_[received_count_++];
    if (size <= kSlotBytes) {
      entry.buffer = slots_.slice(slots_used_ + i * kSlotBytes, size);
    } else {
      std::memcpy(overflow_[i].data().data(), receive_parts_[2 * i].iov_base, kSlotBytes);
      entry.buffer = std::move(overflow_[i]);
      entry.buffer.resize(size);
    }
    const auto control = io::parse_control(header);
    auto& path = entry.buffer.path;
    path.remote = Endpoint::from_sockaddr(receive_names_[i]);
    path.local = socket.io.local;
    if (!control.destination.empty()) path.local.address = control.destination;
    entry.framing = framing_of(path, config_.headend, config_.ike_port);
    entry.offset = 0;
    entry.segment = control.segment_bytes == 0 ? size : control.segment_bytes;
  }
  slots_used_ += count * kSlotBytes;
  if (count != 0) large_messages_ = octets / count >= kLargeMessageBytes;
  return {};
}

std::size_t Driver::deliver(std::span<Packet> out) {
  std::size_t produced = 0;
  while (produced < out.size() && received_next_ < received_count_) {
    auto& entry = received_[received_next_];
    const auto size = std::min(entry.segment, entry.buffer.size() - entry.offset);
    const auto verdict = classify(entry.buffer.data().subspan(entry.offset, size), entry.framing);
    if (verdict.content == Content::malformed) {
      ++counters_.receive_malformed;
    } else {
      ++counters_.received_packets;
      counters_.received_octets += size;
      auto& packet = out[produced++];
      packet = entry.buffer.slice(entry.offset + verdict.skip, size - verdict.skip);
      packet.kind = verdict.content == Content::esp   ? PacketKind::esp
                    : verdict.content == Content::ike ? PacketKind::ike
                                                      : PacketKind::keepalive;
    }
    entry.offset += size;
    if (entry.offset == entry.buffer.size()) {
      entry.buffer.reset();
      ++received_next_;
    }
  }
  return produced;
}

Result<std::size_t> Driver::receive(std::span<Packet> out, Instant /*now*/) {
  std::size_t produced = 0;
  bool polled = false;
  for (std::size_t fetches = 0; fetches < kMaxFetches; ++fetches) {
    produced += deliver(out.subspan(produced));
    if (produced == out.size()) return produced;
    // Sockets take turns, so that none starves the others.
    Socket* ready = nullptr;
    for (std::size_t i = 0; i < sockets_.size() && ready == nullptr; ++i) {
      auto& candidate = sockets_[(next_ + i) % sockets_.size()];
      if (!candidate.readable) continue;
      ready = &candidate;
      next_ = (next_ + i + 1) % sockets_.size();
    }
    if (ready == nullptr) {
      if (polled) return produced;
      polled = true;
      poll_sockets();
      continue;
    }
    SB_CHECK(fetch(*ready));
  }
  // Only floods of rubbish come here: nothing of it remains inside, and the sockets still show what they have.
  return produced + deliver(out.subspan(produced));
}

}  // namespace

Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config, packet::PacketPool& pool) {
  auto driver = std::make_unique<Driver>(config, pool);
  SB_CHECK(driver->open_all(config.local));
  return driver;
}

}  // namespace switchback::transports::udp
