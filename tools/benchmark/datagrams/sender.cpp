#include "tools/benchmark/datagrams/sender.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>

#include "common/base/time.h"
#include "tools/benchmark/datagrams/wire.h"

namespace switchback::bench {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::size_t kMessages = 32;                          // of one sendmmsg
constexpr double kPeriod = 200e-6;                             // packets are due in groups, so many seconds apart
constexpr Duration kFarBehind = std::chrono::milliseconds{5};  // then time was lost, and no burst shall make up for it
constexpr int kAskMs = 25, kQuestions = 80;

UserError system_error(const char* what) { return {std::string{what} + ": " + std::strerror(errno)}; }

Result<UniqueFd, UserError> connected(const Endpoint& remote) {
  UniqueFd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!fd) return tl::unexpected{system_error("cannot open a UDP socket")};
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(remote.port);
  std::memcpy(&to.sin_addr, remote.address.bytes().data(), sizeof to.sin_addr);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    return tl::unexpected{system_error("cannot reach the receiver")};
  }
  return fd;
}

void sleep_until(Instant due) noexcept {
  const auto since = due.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  const timespec at{seconds.count(), (since - seconds).count()};
  ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr);
}

}  // namespace

Sender::Sender(const SenderConfig& config, UniqueFd load, UniqueFd ask)
    : config_{config},
      load_{std::move(load)},
      ask_{std::move(ask)},
      memory_((config.packet_bytes - kIpUdpBytes) * config.segments),
      run_{static_cast<std::uint32_t>(::getpid()) << 8U} {}

Result<Sender, UserError> Sender::open(const SenderConfig& config) {
  if (!config.remote.address.is_v4()) return fail_user("the receiver's address is not IPv4");
  if (config.packet_bytes < kIpUdpBytes + Header::kBytes)
    return fail_user("packets of that size have no room for a header");
  if (config.segments == 0 || config.segments > 64 || config.segments * (config.packet_bytes - kIpUdpBytes) > 65507) {
    return fail_user("so many segments are not one datagram for the kernel");
  }
  SB_TRY(auto load, connected(config.remote));
  SB_TRY(auto ask, connected(config.remote));
  if (config.segments > 1) {
    const int size = static_cast<int>(config.packet_bytes - kIpUdpBytes);
    if (::setsockopt(load.get(), SOL_UDP, UDP_SEGMENT, &size, sizeof size) != 0) {
      return tl::unexpected{system_error("this kernel has no UDP_SEGMENT")};
    }
  }
  ::prctl(PR_SET_TIMERSLACK, 1000UL);
  return Sender{config, std::move(load), std::move(ask)};
}

Result<RateStep, UserError> Sender::step(double rate) {
  ++run_;
  const auto payload = config_.packet_bytes - kIpUdpBytes;
  for (unsigned i = 0; i < config_.segments; ++i) Header{Kind::load, run_, 0}.store(&memory_[i * payload]);
  iovec piece{memory_.data(), memory_.size()};
  std::array<mmsghdr, kMessages> messages{};
  for (auto& message : messages) {
    message.msg_hdr.msg_iov = &piece;
    message.msg_hdr.msg_iovlen = 1;
  }

  const bool flat_out = std::isinf(rate);
  const auto each = static_cast<double>(config_.segments);
  const auto group =
      flat_out
          ? kMessages
          : static_cast<std::size_t>(std::clamp(std::ceil(rate * kPeriod / each), 1.0, static_cast<double>(kMessages)));
  const auto start = monotonic_now();
  const auto end = start + std::chrono::milliseconds{config_.step_ms};
  auto from = start;  // moves when time was lost
  std::uint64_t messages_sent = 0, since = 0;
  auto now = start;
  for (; now < end; now = monotonic_now()) {
    if (!flat_out) {
      const auto due = from + std::chrono::duration_cast<Duration>(Seconds{static_cast<double>(since) * each / rate});
      if (now < due) {
        sleep_until(due);
        continue;
      }
      if (now - due > kFarBehind) {
        from = now;
        since = 0;
      }
    }
    const int sent = ::sendmmsg(load_.get(), messages.data(), static_cast<unsigned>(group), 0);
    if (sent < 0) {
      // A full queue, or an ICMP error for something earlier: offered, and lost.
      if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED && errno != EPERM) {
        return tl::unexpected{system_error("cannot send")};
      }
    }
    const auto count = sent > 0 ? static_cast<std::uint64_t>(sent) : group;
    messages_sent += count;
    since += count;
  }
  const auto seconds = Seconds{now - start}.count();
  SB_TRY(const auto arrived, ask());
  return RateStep{static_cast<double>(messages_sent) * each / seconds, static_cast<double>(arrived) / seconds};
}

// Until two answers in a row say the same, so that what was still on its way is counted.
Result<std::uint64_t, UserError> Sender::ask() {
  std::array<std::uint8_t, Header::kBytes> question{};
  Header{Kind::ask, run_, 0}.store(question.data());
  std::optional<std::uint64_t> last;
  for (int i = 0; i < kQuestions; ++i) {
    (void)::send(ask_.get(), question.data(), question.size(), 0);
    const auto until = monotonic_now() + std::chrono::milliseconds{kAskMs};
    std::optional<std::uint64_t> said;
    for (auto now = monotonic_now(); now < until; now = monotonic_now()) {
      pollfd ready{ask_.get(), POLLIN, 0};
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - now).count() + 1;
      if (::poll(&ready, 1, static_cast<int>(left)) <= 0) continue;
      std::array<std::uint8_t, 64> answer{};
      const auto got = ::recv(ask_.get(), answer.data(), answer.size(), MSG_DONTWAIT);
      if (got < 0) continue;
      const auto header = Header::load(ByteView{answer}.first(static_cast<std::size_t>(got)));
      if (header && header->kind == Kind::answer && header->run == run_) said = header->count;
    }
    if (said && last == said) return *said;
    if (said) last = said;
  }
  return fail_user("the receiver does not answer");
}

}  // namespace switchback::bench
