#include "transports/udp/driver.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "common/io/hop_limited.h"
#include "common/io/offload_test.h"
#include "common/io/sockets.h"
#include "common/io/steering.h"
#include "common/packet/checksum.h"
#include "common/packet/pool.h"
#include "transports/datagram/interface_guards.h"
#include "transports/datagram/receive_batch.h"
#include "transports/datagram/report_queue.h"
#include "transports/datagram/send_one.h"
#include "transports/udp/framing.h"

namespace switchback::transports::udp {
namespace {

using datagram::Outcome;
using packet::OuterSize;
using packet::Packet;
using packet::PacketKind;
using packet::PacketPool;

/// Messages of one sendmmsg.
constexpr std::size_t kSendMessages = 32;
/// What a UDP_SEGMENT run may be: 64 segments since Linux 4.18 (128 since 6.9), and one IP packet in length, with
/// room for the headers of either family.
constexpr std::size_t kMaxRunPackets = 64, kMaxRunBytes = 65400;
constexpr std::size_t kUdpHeaderBytes = 8;
/// Packets looked at for one sendmmsg.
constexpr std::size_t kMaxBatch = 1024;
/// System calls of one receive(), so that a flood of malformed datagrams, which fill nothing, lets others have their
/// turn.
constexpr std::size_t kMaxFetches = 16;

struct Socket {
  io::UdpSocket io;
  bool segmentation = false;
  bool joining = false;                        // UDP_GRO is on
  datagram::InterfaceGuards::Set came_by = 0;  // interfaces
  std::string_view no_segmentation{};          // why, for people
  std::optional<Instant> no_segmentation_since{};
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
  packet::Arrival arrival;
  Framing framing = Framing::bare;
};

class Driver final : public Transport {
 public:
  Driver(const TransportConfig& config, PacketPool& pool)
      : config_{config}, epoll_{::epoll_create1(EPOLL_CLOEXEC)}, batch_{pool} {
    traits_ = {"udp", 20 + 8, 40 + 8, kMaxBatch};
  }

  [[nodiscard]] Result<void, UserError> open_all(std::span<const Endpoint> local) {
    if (!epoll_)
      return fail_user("cannot create an epoll descriptor: too many open files; raise the limit (ulimit -n)");
    std::vector<Socket> opened;
    opened.reserve(local.size());
    const bool joins = config_.worker != 0;
    const auto sharing = joins                 ? io::PortSharing::join
                         : config_.workers > 1 ? io::PortSharing::found
                                               : io::PortSharing::none;
    static const io::OffloadTest kUntested;
    const auto& test = config_.offload ? io::tested_udp_offloads() : kUntested;
    const io::UdpOptions options{config_.mark, sharing, config_.offload && test.receive.empty(), config_.socket_buffer};
    for (const auto& endpoint : local) {
      auto socket = io::open_udp(endpoint, options);
      if (!socket) return fail(explain_open(endpoint, socket.error()));
      // Without it, workers hand over what is not theirs.
      const bool has_esp =
          framing_of({socket->local, socket->local}, config_.headend, config_.ike_port) != Framing::bare;
      if (joins) (void)io::steer_reuseport_group(socket->fd.get(), config_.workers, has_esp);
      Socket made;
      made.no_segmentation = !config_.offload             ? "not wanted"
                             : !socket->segmentation      ? "this kernel does not have it"
                             : !test.segmentation.empty() ? std::string_view{test.segmentation}
                                                          : std::string_view{};
      made.segmentation = made.no_segmentation.empty();
      made.joining = socket->receive_offload;
      made.io = *std::move(socket);
      opened.push_back(std::move(made));
    }
    no_joining_ = !config_.offload                             ? "not wanted"
                  : !test.receive.empty()                      ? std::string_view{test.receive}
                  : !opened.empty() && !opened.front().joining ? "this kernel does not have it"
                                                               : std::string_view{};
    // The old sockets leave the epoll set when they are closed.
    sockets_ = std::move(opened);
    next_ = 0;
    for (std::size_t i = 0; i < sockets_.size(); ++i) watch(i, EPOLL_CTL_ADD);
    if (!std::exchange(tested_told_, true) && config_.worker == 0) {
      if (!test.segmentation.empty()) changes_.push_back({"segmentation", "*", "off", test.segmentation, {}, {}});
      if (!test.receive.empty()) changes_.push_back({"receive", "*", "off", test.receive, {}, {}});
    }
    return {};
  }

  [[nodiscard]] const TransportTraits& traits() const noexcept override { return traits_; }
  [[nodiscard]] const TransportCounters& counters() const noexcept override { return counters_; }
  [[nodiscard]] Result<std::size_t> send(std::span<Packet> batch, Instant now) override;
  [[nodiscard]] Result<std::size_t> receive(std::span<Packet> out, Instant now) override;
  [[nodiscard]] std::optional<PathReport> poll_report() override { return reports_.next(); }
  void open_path(const PathRequest& request, Instant now) override;
  // Paths of datagrams have no state here.
  void close_path(const AddressPair& /*path*/, Instant /*now*/) override {}
  void set_inbound_spis(const AddressPair& /*path*/, std::span<const Spi> /*spis*/) override {}
  // NAT keepalives belong to the sessions, and UDP itself has no timers.
  [[nodiscard]] std::optional<Instant> next_deadline() const override { return guards_.next_deadline(); }
  void handle_deadline(Instant now) override {
    if (guards_.handle_deadline(now)) set_joining();
  }
  void handle_evidence(const ArrivalEvidence& evidence, Instant now) override {
    if (guards_.handle_evidence(evidence, now)) set_joining();
  }
  [[nodiscard]] std::optional<OffloadStatus> poll_offload_change() override;
  [[nodiscard]] std::vector<OffloadStatus> offloads() const override;
  [[nodiscard]] int wait_fd() const noexcept override { return epoll_.get(); }
  [[nodiscard]] LimitedKind limited_kind(const AddressPair& path) const override {
    return framing_of(path, config_.headend, config_.ike_port) == Framing::marked ? LimitedKind::esp
                                                                                  : LimitedKind::none;
  }
  [[nodiscard]] std::optional<packet::LimitedPacket> send_limited(Packet packet, std::uint8_t hop_limit,
                                                                  Instant now) override;
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
  [[nodiscard]] Outcome overcome(Socket& socket, std::size_t message, std::span<Packet> batch, const Run& run,
                                 std::size_t& taken, Instant now);
  void give_up_segmentation(Socket& socket, std::string_view why, Instant now);
  [[nodiscard]] Outcome send_alone(Socket& socket, std::span<Packet> batch);
  void block(Socket& socket) noexcept;

  // --- receiving ---
  void poll_sockets();
  [[nodiscard]] Result<void> fetch(Socket& socket);
  [[nodiscard]] std::size_t deliver(std::span<Packet> out);
  void set_joining();
  void set_joining(Socket& socket);

  TransportConfig config_;
  UniqueFd epoll_;
  TransportTraits traits_;
  TransportCounters counters_;
  std::vector<Socket> sockets_;
  std::size_t next_ = 0;  // whose turn it is to be read
  datagram::ReportQueue reports_{counters_};
  std::optional<io::HopLimitedSender> limited_v4_;  // once somebody has asked for it
  std::uint16_t limited_id_ = 0;
  datagram::InterfaceGuards guards_;
  std::string_view no_joining_{};  // why no socket has UDP_GRO; empty if they may
  std::uint8_t last_joined_ = 0;
  std::vector<OffloadStatus> changes_;  // beside those of the guards
  bool tested_told_ = false;

  std::array<mmsghdr, kSendMessages> send_messages_{};
  std::array<Run, kSendMessages> send_runs_{};
  std::array<sockaddr_storage, kSendMessages> send_names_{};
  std::array<iovec, kMaxBatch> send_parts_{};
  struct alignas(cmsghdr) SendControl {
    std::array<std::uint8_t, io::kSendControlBytes> octets;
  };
  std::array<SendControl, kSendMessages> send_controls_{};

  datagram::ReceiveBatch batch_;
  std::array<Received, datagram::ReceiveBatch::kMessages> received_;
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
  reports_.answer(std::move(answer));
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

/// The first packet of the batch, framed, which is not OuterSize::fits.
Outcome Driver::send_alone(Socket& socket, std::span<Packet> batch) {
  send_parts_[0] = {batch[0].data().data(), batch[0].size()};
  lay_out(0, batch, {0, 1}, socket);
  return datagram::send_sized(socket.io.fd.get(), send_messages_[0].msg_hdr, batch[0], counters_);
}

/// A message that sendmmsg refused, again by itself: as a run if the error was someone else's, datagram by datagram if
/// it was about segmentation. `taken` counts what left or was dropped.
Outcome Driver::overcome(Socket& socket, std::size_t message, std::span<Packet> batch, const Run& run,
                         std::size_t& taken, Instant now) {
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
    if (errno == EIO || errno == EOPNOTSUPP) {
      const auto error = errno;
      give_up_segmentation(socket, "the kernel refused it: the interface computes no checksums", now);
      errno = error;
    }
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
    const auto outcome = datagram::send_one(socket.io.fd.get(), socket.io.local, single, path, counters_, reports_);
    if (outcome == Outcome::blocked) {
      taken = i;
      return Outcome::blocked;
    }
    if (outcome == Outcome::dropped) ++counters_.send_dropped;
  }
  taken = run.count;
  if (reason == EINVAL && dropped_before == counters_.send_dropped) {
    datagram::drain_errors(socket.io.fd.get(), socket.io.local, reports_);
    if (reports_before == counters_.path_reports) {
      give_up_segmentation(socket, "the kernel refused a run whose datagrams it took one by one", now);
    }
  }
  return Outcome::sent;
}

void Driver::give_up_segmentation(Socket& socket, std::string_view why, Instant now) {
  if (!std::exchange(socket.segmentation, false)) return;
  socket.no_segmentation = why;
  socket.no_segmentation_since = now;
  changes_.push_back({"segmentation", socket.io.local.to_string(), "off", std::string{why}, now, {}});
}

Result<std::size_t> Driver::send(std::span<Packet> batch, Instant now) {
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
      const bool alone = first.outer != OuterSize::fits;
      if (alone && messages != 0) break;  // those before it first
      if (!frame(first)) break;
      if (alone) {
        framed = 1;
        break;
      }
      Run run{framed, 1};
      std::size_t octets = first.size();
      send_parts_[framed] = {first.data().data(), first.size()};
      ++framed;
      if (socket->segmentation && first.kind == PacketKind::esp) {
        while (framed < rest.size() && run.count < kMaxRunPackets) {
          auto& next = rest[framed];
          if (next.kind != PacketKind::esp || next.outer != OuterSize::fits || next.size() > first.size() ||
              octets + next.size() > kMaxRunBytes || next.path != first.path) {
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
    if (framed == 0) {  // no socket for the path, or the wrong kind of packet for it
      ++counters_.send_dropped;
      rest[0].reset();
      ++done;
      continue;
    }
    std::size_t sent = 0;
    bool blocked = false;
    if (messages == 0) {
      const auto outcome = send_alone(*socket, rest);
      blocked = outcome == Outcome::blocked;
      if (outcome == Outcome::dropped) ++counters_.send_dropped;
      if (!blocked) take(1);
    }
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
      blocked = overcome(*socket, sent, rest, send_runs_[sent], taken, now) == Outcome::blocked;
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

/// IPv6 goes by the flow's own socket, so that the flow label is the same, by which routers choose among paths too; its
/// routers quote enough to see SPI and sequence number. IPv4 routers may quote UDP's header alone, in which nothing
/// tells packets apart that the kernel makes (identification 0, RFC 6864, and perhaps a checksum that a device fills
/// in later): those are built here, with ports as the flow has them, an identification, and the checksum.
std::optional<packet::LimitedPacket> Driver::send_limited(Packet packet, std::uint8_t hop_limit, Instant /*now*/) {
  auto* socket = socket_for(packet.path);
  if (socket == nullptr || packet.kind != PacketKind::esp || !frame(packet)) return std::nullopt;
  const auto& path = packet.path;
  packet::LimitedPacket sent;
  sent.destination = path.remote.address;
  sent.protocol = IPPROTO_UDP;
  const auto source = socket->io.local.address.is_unspecified() ? path.local.address : socket->io.local.address;
  if (packet.headroom() < kUdpHeaderBytes || source.empty() || source.is_unspecified()) return std::nullopt;
  const auto payload = packet.size();
  const auto udp_bytes = kUdpHeaderBytes + payload;
  if (udp_bytes > 0xFFFF) return std::nullopt;
  auto header = packet.prepend(kUdpHeaderBytes);
  store_be(header.data(), socket->io.local.port);
  store_be(header.data() + 2, path.remote.port);
  store_be(header.data() + 4, static_cast<std::uint16_t>(udp_bytes));
  store_be(header.data() + 6, std::uint16_t{0});
  if (path.remote.address.is_v6()) {
    sent.set_front(packet.data());
    packet.trim_front(kUdpHeaderBytes);
    send_parts_[0] = {packet.data().data(), packet.size()};
    lay_out(0, {&packet, 1}, {0, 1}, *socket);
    auto& message = send_messages_[0].msg_hdr;
    io::build_control(message, send_controls_[0].octets.data(),
                      socket->io.local.address.is_unspecified() ? source : IpAddress{}, 0, hop_limit);
    const auto outcome = datagram::send_one(socket->io.fd.get(), socket->io.local, message, path, counters_, reports_);
    return outcome == Outcome::sent ? std::optional{sent} : std::nullopt;
  }
  std::array<std::uint8_t, 8> addresses{};
  std::copy_n(source.bytes().data(), 4, addresses.begin());
  std::copy_n(path.remote.address.bytes().data(), 4, addresses.begin() + 4);
  packet::ChecksumSum sum;
  sum.add_pseudo_header(addresses, IPPROTO_UDP, static_cast<std::uint32_t>(udp_bytes)).add(packet.data());
  const auto checksum = sum.finish();
  store_be(packet.data().data() + 6, checksum == 0 ? std::uint16_t{0xFFFF} : checksum);  // RFC 768: 0 says none
  if (!limited_v4_) {
    auto opened = io::HopLimitedSender::open(IpFamily::v4, config_.mark);
    if (!opened) return std::nullopt;
    limited_v4_ = std::move(*opened);
  }
  limited_id_ = static_cast<std::uint16_t>(limited_id_ == 0xFFFF ? 1 : limited_id_ + 1);
  sent.identification = limited_id_;
  sent.set_front(packet.data());
  const io::HopLimitedSender::Packet raw{source,    path.remote.address, IPPROTO_UDP,
                                         hop_limit, limited_id_,         packet.data()};
  return limited_v4_->send(raw) ? std::optional{sent} : std::nullopt;
}

// ---------------------------------------------------------------- receiving

void Driver::poll_sockets() {
  std::array<epoll_event, 64> events{};
  const auto count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    auto& socket = sockets_[event.data.u64];
    if ((event.events & EPOLLIN) != 0) socket.readable = true;
    if ((event.events & EPOLLERR) != 0) datagram::drain_errors(socket.io.fd.get(), socket.io.local, reports_);
    if ((event.events & EPOLLOUT) != 0) {
      socket.wants_write = false;
      watch(event.data.u64, EPOLL_CTL_MOD);
    }
  }
}

Result<void> Driver::fetch(Socket& socket) {
  received_next_ = received_count_ = 0;
  bool drained = false;
  const auto got = batch_.fetch(socket.io.fd.get(), drained);
  if (!got) {
    const auto error = got.error().value();
    if (error == EBADF || error == ENOTSOCK || error == EFAULT) return fail(got.error());
    datagram::drain_errors(socket.io.fd.get(), socket.io.local, reports_);
    return {};
  }
  socket.readable = !drained;
  const auto came_by = socket.came_by;
  for (auto& message : *got) {
    ++counters_.receive_calls;
    if (!message.buffer) {
      ++counters_.receive_malformed;
      continue;
    }
    auto& entry = received_[received_count_++];
    entry.buffer = std::move(message.buffer);
    auto& path = entry.buffer.path;
    path = {socket.io.local, message.from};
    if (!message.control.destination.empty()) path.local.address = message.control.destination;
    entry.framing = framing_of(path, config_.headend, config_.ike_port);
    entry.offset = 0;
    entry.segment = message.control.segment_bytes == 0 ? entry.buffer.size() : message.control.segment_bytes;
    entry.arrival = {};
    if (no_joining_.empty()) {
      entry.arrival.interface = guards_.number_of(message.control.interface);
      socket.came_by |= datagram::InterfaceGuards::set_of(entry.arrival.interface);
      if (entry.segment < entry.buffer.size()) {
        if (++last_joined_ == 0) last_joined_ = 1;
        entry.arrival.joined = last_joined_;
      }
    }
  }
  if (drained || socket.came_by != came_by) set_joining(socket);
  return {};
}

void Driver::set_joining() {
  for (auto& socket : sockets_) set_joining(socket);
}

/// UDP_GRO as the guards of the interfaces want it that the socket's packets come by. Not while there is something to
/// read: what is joined already would come without the size of its datagrams.
void Driver::set_joining(Socket& socket) {
  const bool wanted = no_joining_.empty() && (socket.came_by & guards_.off()) == 0;
  if (wanted == socket.joining || socket.readable) return;
  if (io::set_receive_offload(socket.io.fd.get(), wanted)) socket.joining = wanted;
}

std::optional<OffloadStatus> Driver::poll_offload_change() {
  if (changes_.empty()) return guards_.poll_change();
  auto first = std::move(changes_.front());
  changes_.erase(changes_.begin());
  return first;
}

std::vector<OffloadStatus> Driver::offloads() const {
  std::vector<OffloadStatus> all;
  for (const auto& socket : sockets_) {
    all.push_back({"segmentation",
                   socket.io.local.to_string(),
                   socket.segmentation ? "in use" : "off",
                   std::string{socket.no_segmentation},
                   socket.no_segmentation_since,
                   {}});
  }
  const auto sending = all.size();
  if (no_joining_.empty()) guards_.append_status(all);
  if (all.size() == sending) {
    all.push_back({"receive", "*", no_joining_.empty() ? "in use" : "off", std::string{no_joining_}, {}, {}});
  }
  return all;
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
      packet.arrival = entry.arrival;
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
