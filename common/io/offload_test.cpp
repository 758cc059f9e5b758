#include "common/io/offload_test.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "common/base/time.h"
#include "common/io/sockets.h"

namespace switchback::io {
namespace {

/// A run: `count` datagrams of `size`, and one of `last`.
struct Run {
  std::size_t size, count, last;
};
constexpr std::array<Run, 3> kRuns{{{1201, 6, 333}, {301, 60, 17}, {1399, 2, 1}}};
/// A busy machine may take its time; that something is missing has to happen twice.
constexpr Duration kPatience = std::chrono::milliseconds{100};
constexpr int kAttempts = 2;

[[nodiscard]] std::vector<Bytes> datagrams_of(const Run& run) {
  std::vector<Bytes> made(run.count + 1);
  std::uint32_t mixed = 1;
  for (std::size_t i = 0; i < made.size(); ++i) {
    made[i].resize(i < run.count ? run.size : run.last);
    for (auto& octet : made[i]) {
      mixed = mixed * 1664525U + 1013904223U;
      octet = static_cast<std::uint8_t>(mixed >> 24U);
    }
  }
  return made;
}

[[nodiscard]] bool send_run(int fd, const Endpoint& to, std::vector<Bytes>& datagrams, std::size_t segment_bytes) {
  std::vector<iovec> parts;
  for (auto& datagram : datagrams) parts.push_back({datagram.data(), datagram.size()});
  sockaddr_storage name{};
  msghdr message{};
  message.msg_namelen = to.to_sockaddr(name);
  message.msg_name = &name;
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  alignas(cmsghdr) std::array<std::uint8_t, kSendControlBytes> control{};
  build_control(message, control.data(), {}, static_cast<std::uint16_t>(segment_bytes));
  return ::sendmsg(fd, &message, MSG_NOSIGNAL) >= 0;
}

/// Waits until `until` at most.
[[nodiscard]] std::optional<OffloadTestMessage> receive_one(int fd, Instant until) {
  OffloadTestMessage got;
  got.octets.resize(65536);
  iovec part{got.octets.data(), got.octets.size()};
  alignas(cmsghdr) std::array<std::uint8_t, kReceiveControlBytes> control{};
  for (;;) {
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto size = ::recvmsg(fd, &message, 0);
    if (size >= 0) {
      got.octets.resize(static_cast<std::size_t>(size));
      got.segment_bytes = parse_control(message).segment_bytes;
      return got;
    }
    if (errno != EAGAIN && errno != EINTR) return std::nullopt;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - monotonic_now());
    if (left.count() <= 0) return std::nullopt;
    pollfd entry{fd, POLLIN, 0};
    ::poll(&entry, 1, static_cast<int>(left.count()));
  }
}

/// What is wrong with what arrives of `sent`, empty if nothing. `missing`: only that it is not all.
[[nodiscard]] std::string compare(int fd, const std::vector<Bytes>& sent, bool joining, const OffloadTamper& tamper,
                                  bool& missing) {
  const auto until = monotonic_now() + kPatience;
  std::size_t next = 0;
  while (next < sent.size()) {
    auto message = receive_one(fd, until);
    missing = !message;
    if (missing) return std::to_string(sent.size() - next) + " of " + std::to_string(sent.size()) + " were missing";
    if (tamper) tamper(*message, joining);
    ByteView rest{message->octets};
    const auto segment = message->segment_bytes == 0 ? rest.size() : message->segment_bytes;
    do {
      const auto one = rest.first(std::min(segment, rest.size()));
      rest = rest.subspan(one.size());
      if (next == sent.size()) return "there were more datagrams than had been sent";
      const auto& expected = sent[next++];
      if (one.size() != expected.size()) {
        return "a datagram of " + std::to_string(expected.size()) + " octets arrived with " +
               std::to_string(one.size());
      }
      if (!std::equal(one.begin(), one.end(), expected.begin())) return "a datagram arrived with other contents";
    } while (!rest.empty());
  }
  return {};
}

/// What is left of an attempt that failed.
void drain(int fd) {
  while (receive_one(fd, Instant{})) continue;
}

}  // namespace

OffloadTest test_udp_offloads(const IpAddress& loopback, const OffloadTamper& tamper) {
  OffloadTest found;
  const auto open = [&](bool joining) {
    UdpOptions options;
    options.receive_offload = joining;
    options.buffer = std::size_t{256} << 10U;
    return open_udp({loopback, 0}, options);
  };
  const auto sender = open(false), plain = open(false), joining = open(true);
  if (!sender || !plain || !joining || !sender->segmentation) return found;
  // A loopback that is down proves nothing.
  std::vector<Bytes> lone{Bytes(33, 7)};
  if (!send_run(sender->fd.get(), plain->local, lone, 0)) return found;
  if (!receive_one(plain->fd.get(), monotonic_now() + kPatience)) return found;
  const auto fails = [&](const UdpSocket& to, bool joins) {
    std::string wrong;
    for (const auto& run : kRuns) {
      auto datagrams = datagrams_of(run);
      for (int attempt = 0; attempt < kAttempts; ++attempt) {
        drain(to.fd.get());
        // What the kernel refuses, it refuses later too, and that is overcome there.
        if (!send_run(sender->fd.get(), to.local, datagrams, run.size)) return std::string{};
        bool missing = false;
        wrong = compare(to.fd.get(), datagrams, joins, tamper, missing);
        if (!missing) break;
      }
      if (!wrong.empty()) return wrong;
    }
    return wrong;
  };
  found.segmentation = fails(*plain, false);
  if (found.segmentation.empty() && joining->receive_offload) found.receive = fails(*joining, true);
  return found;
}

const OffloadTest& tested_udp_offloads() {
  static const OffloadTest result = [] {
    OffloadTest all;
    for (const auto* loopback : {"127.0.0.1", "::1"}) {
      auto one = test_udp_offloads(*IpAddress::parse(loopback));
      if (all.segmentation.empty()) all.segmentation = std::move(one.segmentation);
      if (all.receive.empty()) all.receive = std::move(one.receive);
    }
    return all;
  }();
  return result;
}

}  // namespace switchback::io
