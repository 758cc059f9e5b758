// Sent by unconnected raw sockets, the kernel making the IP header: it chooses route, source and fragments, and its
// firewall and policy routing apply, as they do for UDP. Measured over a veth pair with 1440 octets and sendmmsg of 64,
// 2.7 us of CPU time for each packet whether connected, bound or with IP_PKTINFO; one by one, 2.9 us. A packet socket
// takes 1.5 us, but routes, neighbours and fragments would be for us to do, and the host's firewall would not see it.
#include "transports/esp/driver.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "common/io/sockets.h"
#include "common/io/steering.h"
#include "transports/datagram/receive_batch.h"
#include "transports/datagram/report_queue.h"
#include "transports/datagram/send_one.h"
#include "transports/esp/ipv4_header.h"

namespace switchback::transports::native_esp {
namespace {

using datagram::Outcome;
using packet::Packet;
using packet::PacketKind;

/// Packets of one sendmmsg, each a message: there is no segmentation offload for protocol 50.
constexpr std::size_t kSendMessages = 64;
/// System calls of one receive(), so that a flood of malformed packets, which fill nothing, lets others have their
/// turn.
constexpr std::size_t kMaxFetches = 16;
/// Shortest ESP packet that could be ours: SPI, sequence number, IV, trailer of two, tag; RFC 4303 §2, RFC 4106.
constexpr std::size_t kMinimumEspBytes = 4 + 4 + 8 + 2 + 16;

struct Socket {
  UniqueFd fd;
  IpAddress local;
  bool readable = true;
  bool wants_write = false;
};

[[nodiscard]] UserError explain_open(const IpAddress& local, std::error_code error) {
  const auto where = "cannot open a raw socket for ESP at " + local.to_string() + ": ";
  if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted) {
    return {where + "it needs CAP_NET_RAW and CAP_NET_ADMIN; run as root, or turn the esp transport off"};
  }
  if (error == std::errc::address_not_available) {
    return {where + "this host does not have the address; configure one that \"ip address\" shows"};
  }
  return {where + error.message()};
}

/// Each address once, and none that an unspecified one covers: the kernel gives every raw socket a copy.
[[nodiscard]] std::vector<IpAddress> distinct(std::span<const Endpoint> local) {
  std::vector<IpAddress> all;
  for (const auto& endpoint : local) {
    const auto& address = endpoint.address;
    const auto covers = [&](const Endpoint& other) { return other.address == IpAddress::any(address.family()); };
    if (!address.is_unspecified() && std::any_of(local.begin(), local.end(), covers)) continue;
    if (std::find(all.begin(), all.end(), address) == all.end()) all.push_back(address);
  }
  return all;
}

class Driver final : public Transport {
 public:
  Driver(const TransportConfig& config, packet::PacketPool& pool)
      : config_{config}, epoll_{::epoll_create1(EPOLL_CLOEXEC)}, batch_{pool} {}

  [[nodiscard]] Result<void, UserError> open_all(std::span<const Endpoint> local) {
    if (!epoll_)
      return fail_user("cannot create an epoll descriptor: too many open files; raise the limit (ulimit -n)");
    std::vector<Socket> opened;
    for (const auto& address : distinct(local)) {
      auto fd = io::open_raw(address, IPPROTO_ESP, config_.mark, config_.socket_buffer);
      if (!fd) return fail(explain_open(address, fd.error()));
      // Without it every worker has everything, and the replay windows drop what comes twice.
      if (config_.workers > 1) {
        (void)io::filter_raw_esp(fd->get(), address.family(), {config_.workers, config_.worker});
      }
      opened.push_back({*std::move(fd), address, true, false});
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
  [[nodiscard]] std::optional<PathReport> poll_report() override { return reports_.next(); }
  void open_path(const PathRequest& request, Instant now) override;
  // Paths have no state here: neither ports nor mappings.
  void close_path(const AddressPair& /*path*/, Instant /*now*/) override {}
  void set_inbound_spis(const AddressPair& /*path*/, std::span<const Spi> /*spis*/) override {}
  [[nodiscard]] std::optional<Instant> next_deadline() const override { return std::nullopt; }
  void handle_deadline(Instant /*now*/) override {}
  [[nodiscard]] int wait_fd() const noexcept override { return epoll_.get(); }
  [[nodiscard]] LimitedKind limited_kind(const AddressPair& /*path*/) const override { return LimitedKind::esp; }
  [[nodiscard]] std::optional<packet::LimitedPacket> send_limited(Packet packet, std::uint8_t hop_limit,
                                                                  Instant now) override;
  [[nodiscard]] std::vector<Endpoint> local_endpoints() const override {
    std::vector<Endpoint> all;
    for (const auto& socket : sockets_) all.push_back({socket.local, 0});
    return all;
  }
  [[nodiscard]] Result<void, UserError> rebind(std::span<const Endpoint> local) override { return open_all(local); }

 private:
  void watch(std::size_t index, int operation) noexcept {
    epoll_event event{};
    event.events = EPOLLIN | (sockets_[index].wants_write ? std::uint32_t{EPOLLOUT} : 0U);
    event.data.u64 = index;
    ::epoll_ctl(epoll_.get(), operation, sockets_[index].fd.get(), &event);
  }
  void drain_errors(const Socket& socket) { datagram::drain_errors(socket.fd.get(), {socket.local, 0}, reports_); }

  [[nodiscard]] Socket* socket_for(const AddressPair& path) noexcept;
  void lay_out(std::size_t message, Packet& packet, const Socket& socket) noexcept;
  [[nodiscard]] Outcome send_alone(const Socket& socket, std::size_t message, const Packet& packet);
  [[nodiscard]] Outcome send_group(Socket& socket, std::span<Packet> group, std::size_t& taken);
  void block(Socket& socket) noexcept;

  void poll_sockets();
  [[nodiscard]] Result<void> fetch(Socket& socket);
  [[nodiscard]] std::size_t deliver(std::span<Packet> out);

  TransportConfig config_;
  UniqueFd epoll_;
  TransportTraits traits_{"esp", 20, 40, kSendMessages};
  TransportCounters counters_;
  datagram::ReportQueue reports_{counters_};
  std::vector<Socket> sockets_;
  std::size_t next_ = 0;  // whose turn it is to be read

  struct alignas(cmsghdr) Control {
    std::array<std::uint8_t, io::kSendControlBytes> octets;
  };
  std::array<mmsghdr, kSendMessages> messages_{};
  std::array<sockaddr_storage, kSendMessages> names_{};
  std::array<iovec, kSendMessages> parts_{};
  std::array<Control, kSendMessages> controls_{};

  datagram::ReceiveBatch batch_;
  std::array<Packet, datagram::ReceiveBatch::kMessages> received_;
  std::size_t received_count_ = 0, received_next_ = 0;
};

// ---------------------------------------------------------------- sending

Socket* Driver::socket_for(const AddressPair& path) noexcept {
  Socket* any = nullptr;
  for (auto& socket : sockets_) {
    if (socket.local.family() != path.remote.address.family()) continue;
    if (socket.local == path.local.address) return &socket;
    // A path without an address goes by the first; so does one of a client, whose address may have changed.
    const bool fits = socket.local.is_unspecified() || path.local.address.empty() ||
                      path.local.address.is_unspecified() || !config_.headend;
    if (fits && any == nullptr) any = &socket;
  }
  return any;
}

void Driver::open_path(const PathRequest& request, Instant /*now*/) {
  PathReport answer;
  answer.request = request.id;
  answer.path = {{request.local, 0}, {request.remote.address, 0}, kEspTransport};
  if (const auto* socket = socket_for(answer.path)) {
    answer.kind = PathReport::Kind::opened;
    if (!socket->local.is_unspecified()) answer.path.local.address = socket->local;
  } else {
    answer.kind = PathReport::Kind::failed;
    answer.detail = std::string{"there is no ESP socket for "} + (request.remote.address.is_v6() ? "IPv6" : "IPv4");
  }
  reports_.answer(std::move(answer));
}

void Driver::lay_out(std::size_t message, Packet& packet, const Socket& socket) noexcept {
  parts_[message] = {packet.data().data(), packet.size()};
  auto& header = messages_[message].msg_hdr;
  header = {};
  header.msg_name = &names_[message];
  // Raw sockets take a port for the protocol, and accept their own or none.
  header.msg_namelen = Endpoint{packet.path.remote.address, 0}.to_sockaddr(names_[message]);
  header.msg_iov = &parts_[message];
  header.msg_iovlen = 1;
  io::build_control(header, controls_[message].octets.data(),
                    socket.local.is_unspecified() ? packet.path.local.address : IpAddress{}, 0);
}

void Driver::block(Socket& socket) noexcept {
  ++counters_.send_blocked;
  if (socket.wants_write) return;
  socket.wants_write = true;
  watch(static_cast<std::size_t>(&socket - sockets_.data()), EPOLL_CTL_MOD);
}

/// A packet that sendmmsg refused, or one that is alone.
Outcome Driver::send_alone(const Socket& socket, std::size_t message, const Packet& packet) {
  const auto& header = messages_[message].msg_hdr;
  const auto outcome =
      packet.outer == packet::OuterSize::fits
          ? datagram::send_one(socket.fd.get(), {socket.local, 0}, header, packet.path, counters_, reports_)
          : datagram::send_sized(socket.fd.get(), header, packet, counters_);
  if (outcome == Outcome::dropped) ++counters_.send_dropped;
  return outcome;
}

/// Packets that all go by one socket; what is not OuterSize::fits is alone. `taken`: how many left or were dropped.
Outcome Driver::send_group(Socket& socket, std::span<Packet> group, std::size_t& taken) {
  taken = 0;
  for (std::size_t i = 0; i < group.size(); ++i) lay_out(i, group[i], socket);
  while (taken < group.size()) {
    if (group[taken].outer == packet::OuterSize::fits) {
      const auto got =
          ::sendmmsg(socket.fd.get(), &messages_[taken], static_cast<unsigned>(group.size() - taken), MSG_NOSIGNAL);
      if (got > 0) {
        counters_.send_calls += static_cast<std::size_t>(got);
        taken += static_cast<std::size_t>(got);
        continue;
      }
      if (errno == EINTR) continue;
      if (errno == EAGAIN) return Outcome::blocked;
    }
    if (send_alone(socket, taken, group[taken]) == Outcome::blocked) return Outcome::blocked;
    ++taken;
  }
  return Outcome::sent;
}

Result<std::size_t> Driver::send(std::span<Packet> batch, Instant /*now*/) {
  std::size_t done = 0;
  while (done < batch.size()) {
    const auto& first = batch[done];
    // IKE has another protocol, and there are no mappings to keep.
    auto* socket = first.kind == PacketKind::esp ? socket_for(first.path) : nullptr;
    if (socket == nullptr) {
      ++counters_.send_dropped;
      batch[done++].reset();
      continue;
    }
    const auto limit = std::min(batch.size(), done + (first.outer == packet::OuterSize::fits ? kSendMessages : 1));
    std::size_t end = done + 1;
    for (; end < limit; ++end) {
      const auto& next = batch[end];
      if (next.kind != PacketKind::esp || next.outer != packet::OuterSize::fits) break;
      if (next.path != batch[end - 1].path && socket_for(next.path) != socket) break;
    }
    std::size_t taken = 0;
    const auto outcome = send_group(*socket, batch.subspan(done, end - done), taken);
    for (auto& packet : batch.subspan(done, taken)) {
      counters_.sent_octets += packet.size();
      packet.reset();
    }
    counters_.sent_packets += taken;
    done += taken;
    if (outcome == Outcome::blocked) {
      block(*socket);
      break;
    }
  }
  return done;
}

/// By the flow's own socket, so that IPv6 flow labels are the same too. SPI and sequence number are the first octets,
/// which every router quotes: nothing else has to tell these packets apart.
std::optional<packet::LimitedPacket> Driver::send_limited(Packet packet, std::uint8_t hop_limit, Instant /*now*/) {
  auto* socket = socket_for(packet.path);
  if (socket == nullptr || packet.kind != PacketKind::esp) return std::nullopt;
  packet::LimitedPacket sent;
  sent.destination = packet.path.remote.address;
  sent.protocol = IPPROTO_ESP;
  sent.set_front(packet.data());
  lay_out(0, packet, *socket);
  auto& header = messages_[0].msg_hdr;
  io::build_control(header, controls_[0].octets.data(),
                    socket->local.is_unspecified() ? packet.path.local.address : IpAddress{}, 0, hop_limit);
  if (datagram::send_one(socket->fd.get(), {socket->local, 0}, header, packet.path, counters_, reports_) !=
      Outcome::sent) {
    return std::nullopt;
  }
  return sent;
}

// ---------------------------------------------------------------- receiving

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

Result<void> Driver::fetch(Socket& socket) {
  received_next_ = received_count_ = 0;
  bool drained = false;
  const auto got = batch_.fetch(socket.fd.get(), drained);
  if (!got) {
    const auto error = got.error().value();
    if (error == EBADF || error == ENOTSOCK || error == EFAULT) return fail(got.error());
    drain_errors(socket);
    return {};
  }
  socket.readable = !drained;
  for (auto& message : *got) {
    ++counters_.receive_calls;
    auto& packet = message.buffer;
    AddressPair path{{message.control.destination, 0}, {message.from.address, 0}, kEspTransport};
    if (packet && socket.local.is_v4()) {
      const auto header = read_ipv4_header(packet.data());
      if (header) {
        packet.trim_front(header->octets);
        path.local.address = header->destination;
      } else {
        packet.reset();
      }
    }
    if (!packet || packet.size() < kMinimumEspBytes) {
      ++counters_.receive_malformed;
      packet.reset();
      continue;
    }
    if (path.local.address.empty()) path.local.address = socket.local;
    packet.path = path;
    packet.kind = PacketKind::esp;
    received_[received_count_++] = std::move(packet);
  }
  return {};
}

std::size_t Driver::deliver(std::span<Packet> out) {
  const auto count = std::min(out.size(), received_count_ - received_next_);
  for (std::size_t i = 0; i < count; ++i) {
    out[i] = std::move(received_[received_next_++]);
    counters_.received_octets += out[i].size();
  }
  counters_.received_packets += count;
  return count;
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
  // What the last fetch brought beyond `out` waits for the next call.
  return produced + deliver(out.subspan(produced));
}

}  // namespace

Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config, packet::PacketPool& pool) {
  auto driver = std::make_unique<Driver>(config, pool);
  SB_CHECK(driver->open_all(config.local));
  return driver;
}

}  // namespace switchback::transports::native_esp
