#include "tools/load/flood.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/unique_fd.h"
#include "common/crypto/random.h"
#include "common/ike/session.h"
#include "tools/load/schedule.h"

namespace switchback::load {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kIpHeader = 20, kUdpHeader = 8;
constexpr std::uint8_t kUdp = 17, kHops = 64;

/// A request as our own initiator makes it: well-formed in every part.
Bytes make_request(const Endpoint& headend) {
  crypto::SystemRandom random;
  ike::SpiRegistry spis;
  auto config = std::make_shared<ike::SessionConfig>();
  ike::Session session{ike::Role::initiator, std::move(config), {random, spis}};
  session.start({{IpAddress::any(IpFamily::v4), headend.port}, headend}, monotonic_now(), wall_now());
  const auto message = session.poll_transmit();
  return message ? message->datagram : Bytes{};
}

/// Cheap numbers for addresses, ports and SPIs that nobody has to be unable to guess.
class Numbers {
 public:
  explicit Numbers(std::uint64_t seed) noexcept : state_{seed | 1U} {}
  std::uint64_t next() noexcept {  // xorshift64
    state_ ^= state_ << 13U;
    state_ ^= state_ >> 7U;
    state_ ^= state_ << 17U;
    return state_;
  }

 private:
  std::uint64_t state_;
};

}  // namespace

Result<FloodResult, UserError> run_flood(const FloodOptions& options,
                                         const std::function<bool(const FloodResult&)>& go_on) {
  if (!options.headend.address.is_v4() || !options.sources.address.is_v4()) {
    return fail_user("a flood is of IPv4 only: give IPv4 addresses for --to and --sources");
  }
  const UniqueFd socket{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
  if (!socket) return fail_user("cannot open a raw socket: run as root (CAP_NET_RAW)");
  const auto request = make_request(options.headend);
  if (request.empty()) return fail_user("no IKE_SA_INIT request could be made");

  const auto size = kIpHeader + kUdpHeader + request.size();
  std::vector<Bytes> packets(kBatch, Bytes(size));
  std::array<iovec, kBatch> vectors{};
  std::array<mmsghdr, kBatch> headers{};
  sockaddr_storage to{};
  const auto to_size = options.headend.to_sockaddr(to);
  for (std::size_t i = 0; i < kBatch; ++i) {
    auto& packet = packets[i];
    packet[0] = 0x45;
    store_be(packet.data() + 2, static_cast<std::uint16_t>(size));  // the kernel fills in the IP checksum
    packet[8] = kHops;
    packet[9] = kUdp;
    const auto destination = options.headend.address.bytes();
    std::copy(destination.begin(), destination.end(), packet.begin() + 16);
    store_be(packet.data() + 22, options.headend.port);
    store_be(packet.data() + 24, static_cast<std::uint16_t>(kUdpHeader + request.size()));
    std::copy(request.begin(), request.end(), packet.begin() + kIpHeader + kUdpHeader);  // UDP checksum 0: none
    vectors[i] = {packet.data(), size};
    headers[i].msg_hdr.msg_name = &to;
    headers[i].msg_hdr.msg_namelen = to_size;
    headers[i].msg_hdr.msg_iov = &vectors[i];
    headers[i].msg_hdr.msg_iovlen = 1;
  }

  crypto::SystemRandom random;
  Numbers numbers{public_random<std::uint64_t>(random)};
  const auto first = load_be<std::uint32_t>(options.sources.first().bytes().data());
  const auto host_bits = 32U - options.sources.length;
  const auto mask = host_bits >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << host_bits) - 1;
  FloodResult result;
  const auto start = monotonic_now();
  const auto until = start + std::chrono::seconds{options.seconds};
  Pacer pacer{options.rate, start};
  auto ask_at = start;
  for (auto now = start; now < until; now = monotonic_now()) {
    for (auto left = pacer.take(now); left > 0;) {
      const auto count = std::min(left, kBatch);
      for (std::size_t i = 0; i < count; ++i) {
        auto* const packet = packets[i].data();
        store_be(packet + 12, first | (static_cast<std::uint32_t>(numbers.next()) & mask));
        store_be(packet + 20, static_cast<std::uint16_t>(1024 + numbers.next() % 60000));
        store_be(packet + kIpHeader + kUdpHeader, numbers.next() | 1U);  // the initiator's SPI
      }
      const auto sent = ::sendmmsg(socket.get(), headers.data(), static_cast<unsigned>(count), 0);
      result.sent += sent > 0 ? static_cast<std::uint64_t>(sent) : 0;
      result.refused += sent < 0 ? count : count - static_cast<std::size_t>(sent);
      left -= count;
    }
    result.seconds = std::chrono::duration<double>(now - start).count();
    if (now >= ask_at) {
      ask_at = now + std::chrono::milliseconds{200};
      if (!go_on(result)) break;
    }
    std::this_thread::sleep_until(std::min(std::max(pacer.next(), now + std::chrono::microseconds{200}), until));
  }
  result.seconds = std::chrono::duration<double>(monotonic_now() - start).count();
  return result;
}

}  // namespace switchback::load
