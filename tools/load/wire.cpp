#include "tools/load/wire.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace switchback::load {
namespace {

constexpr std::size_t kSocketBuffer = std::size_t{16} << 20U;

}  // namespace

struct Wire::Impl {
  struct Slot {
    std::array<std::uint8_t, kDatagramOctets> octets;
    alignas(8) std::array<std::uint8_t, std::max(io::kReceiveControlBytes, io::kSendControlBytes)> control;
    sockaddr_storage remote;
    iovec vector;
  };

  /// Makes a message of slot `i`, of `size` octets.
  msghdr& prepare(std::vector<Slot>& slots, std::size_t i, std::size_t size) {
    auto& slot = slots[i];
    slot.vector = {slot.octets.data(), size};
    headers[i] = {};
    auto& message = headers[i].msg_hdr;
    message.msg_name = &slot.remote;
    message.msg_namelen = sizeof slot.remote;
    message.msg_iov = &slot.vector;
    message.msg_iovlen = 1;
    return message;
  }

  io::UdpSocket socket;
  std::vector<Slot> out{kBatch}, in{kBatch};
  struct Waiting {
    std::size_t size;
    socklen_t remote_size;
    IpAddress source;
  };
  std::array<Waiting, kBatch> waiting{};
  std::size_t count = 0;
  std::array<mmsghdr, kBatch> headers{};
  WireCounters counters;
};

Wire::Wire(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Wire::Wire(Wire&&) noexcept = default;
Wire& Wire::operator=(Wire&&) noexcept = default;
Wire::~Wire() = default;

Result<Wire, UserError> Wire::open(const IpPrefix& sources) {
  io::UdpOptions options;
  options.receive_offload = false;
  options.buffer = kSocketBuffer;
  // A trial first: an address that is not the kernel's cannot be bound.
  const auto remedy = "make the kernel take them for its own: ip route add local " + sources.to_string() + " dev lo";
  auto trial = sources.first();
  if (sources.length != sources.address.bits()) trial = trial.plus(1);
  if (const auto bound = io::open_udp({trial, 0}, options); !bound) {
    return fail_user("--sources: cannot send from " + trial.to_string() + " (" + bound.error().message() +
                     "): " + remedy);
  }
  auto opened = io::open_udp({IpAddress::any(sources.address.family()), 0}, options);
  if (!opened) return fail_user("cannot open a UDP socket: " + opened.error().message());
  auto impl = std::make_unique<Impl>();
  impl->socket = std::move(*opened);
  return Wire{std::move(impl)};
}

std::uint16_t Wire::port() const noexcept { return impl_->socket.local.port; }
int Wire::fd() const noexcept { return impl_->socket.fd.get(); }
const WireCounters& Wire::counters() const noexcept { return impl_->counters; }

void Wire::send(const AddressPair& path, ByteView datagram, ByteView prefix) {
  auto& self = *impl_;
  if (prefix.size() + datagram.size() > kDatagramOctets) {
    ++self.counters.refused;
    return;
  }
  if (self.count == kBatch) flush();
  auto& slot = self.out[self.count];
  std::copy(prefix.begin(), prefix.end(), slot.octets.begin());
  std::copy(datagram.begin(), datagram.end(), slot.octets.begin() + static_cast<std::ptrdiff_t>(prefix.size()));
  auto& waiting = self.waiting[self.count];
  waiting.remote_size = path.remote.to_sockaddr(slot.remote);
  waiting.size = prefix.size() + datagram.size();
  waiting.source = path.local.address;
  ++self.count;
}

void Wire::flush() {
  auto& self = *impl_;
  for (std::size_t i = 0; i < self.count; ++i) {
    auto& message = self.prepare(self.out, i, self.waiting[i].size);
    message.msg_namelen = self.waiting[i].remote_size;
    io::build_control(message, self.out[i].control.data(), self.waiting[i].source, 0);
  }
  for (std::size_t done = 0; done < self.count;) {
    const auto sent = ::sendmmsg(fd(), self.headers.data() + done, static_cast<unsigned>(self.count - done), 0);
    if (sent > 0) {
      self.counters.sent += static_cast<std::uint64_t>(sent);
      done += static_cast<std::size_t>(sent);
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    // An ICMP error of before, or this datagram is not to be had out: the others may be.
    ++self.counters.refused;
    io::clear_socket_error(fd());
    ++done;
  }
  self.count = 0;
}

bool Wire::receive(const std::function<void(ByteView, const AddressPair&)>& take) {
  auto& self = *impl_;
  for (std::size_t i = 0; i < kBatch; ++i) {
    auto& message = self.prepare(self.in, i, kDatagramOctets);
    message.msg_control = self.in[i].control.data();
    message.msg_controllen = self.in[i].control.size();
  }
  const auto count = ::recvmmsg(fd(), self.headers.data(), kBatch, MSG_DONTWAIT, nullptr);
  if (count < 0) {
    if (errno != EAGAIN) io::clear_socket_error(fd());
    return false;
  }
  self.counters.received += static_cast<std::uint64_t>(count);
  const auto got = static_cast<std::size_t>(count);
  // What `take` sends uses the headers, too: first take out of them what is needed.
  std::array<std::size_t, kBatch> sizes{};
  std::array<IpAddress, kBatch> destinations;
  for (std::size_t i = 0; i < got; ++i) {
    sizes[i] = self.headers[i].msg_len;
    destinations[i] = io::parse_control(self.headers[i].msg_hdr).destination;
  }
  for (std::size_t i = 0; i < got; ++i) {
    const AddressPair path{{destinations[i], port()}, Endpoint::from_sockaddr(self.in[i].remote)};
    take(ByteView{self.in[i].octets.data(), sizes[i]}, path);
  }
  return got == kBatch;
}

}  // namespace switchback::load
