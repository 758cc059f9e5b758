#include "tools/benchmark/datagrams/receiver.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "common/base/unique_fd.h"
#include "tools/benchmark/datagrams/wire.h"

namespace switchback::bench {
namespace {

constexpr std::size_t kBatch = 32, kBufferBytes = 65536;
constexpr int kSocketBytes = 16 << 20;  // a receiver that has to wait for a processor must not look like loss

/// Datagrams in one received message: a run of this size if the kernel put them together, else one.
std::size_t segment_bytes(msghdr& message) noexcept {
  for (auto* control = CMSG_FIRSTHDR(&message); control != nullptr; control = CMSG_NXTHDR(&message, control)) {
    if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
      int size = 0;
      std::memcpy(&size, CMSG_DATA(control), sizeof size);
      return size > 0 ? static_cast<std::size_t>(size) : 0;
    }
  }
  return 0;
}

}  // namespace

Result<void, UserError> serve(std::uint16_t port) {
  const UniqueFd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_user(std::string{"cannot open a UDP socket: "} + std::strerror(errno));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBytes, sizeof kSocketBytes);
  ::setsockopt(fd.get(), SOL_UDP, UDP_GRO, &on, sizeof on);
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_port = htons(port);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) {
    return fail_user("cannot bind UDP port " + std::to_string(port) + ": " + std::strerror(errno));
  }
  std::puts("listening");
  std::fflush(stdout);

  std::vector<std::uint8_t> memory(kBatch * kBufferBytes);
  std::array<mmsghdr, kBatch> messages{};
  std::array<iovec, kBatch> pieces{};
  std::array<sockaddr_in, kBatch> peers{};
  alignas(cmsghdr) std::array<std::array<char, 64>, kBatch> controls{};
  std::uint32_t run = 0;
  std::uint64_t count = 0;
  for (;;) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      pieces[i] = {memory.data() + i * kBufferBytes, kBufferBytes};
      messages[i].msg_hdr = {&peers[i], sizeof peers[i], &pieces[i], 1, controls[i].data(), controls[i].size(), 0};
    }
    const int got = ::recvmmsg(fd.get(), messages.data(), kBatch, MSG_WAITFORONE, nullptr);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_user(std::string{"cannot receive: "} + std::strerror(errno));
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
      const ByteView all{memory.data() + i * kBufferBytes, messages[i].msg_len};
      const auto step = segment_bytes(messages[i].msg_hdr);
      for (std::size_t at = 0; at < all.size(); at += step == 0 ? all.size() : step) {
        const auto header = Header::load(all.subspan(at));
        if (!header) continue;
        if (header->kind == Kind::load) {
          if (header->run != run) {
            run = header->run;
            count = 0;
          }
          ++count;
        } else if (header->kind == Kind::ask) {
          std::array<std::uint8_t, Header::kBytes> answer{};
          Header{Kind::answer, header->run, header->run == run ? count : 0}.store(answer.data());
          // If it does not leave, the question comes again.
          (void)::sendto(fd.get(), answer.data(), answer.size(), 0, reinterpret_cast<const sockaddr*>(&peers[i]),
                         sizeof peers[i]);
        }
      }
    }
  }
}

}  // namespace switchback::bench
