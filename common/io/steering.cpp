#include "common/io/steering.h"

#include <sys/socket.h>

namespace switchback::io {
namespace {

constexpr std::uint32_t kWholePacket = 0xFFFFFFFF;

[[nodiscard]] Result<void> attach(int fd, int option, std::vector<sock_filter> instructions) {
  const sock_fprog program{static_cast<unsigned short>(instructions.size()), instructions.data()};
  if (::setsockopt(fd, SOL_SOCKET, option, &program, sizeof program) != 0) return fail_errno();
  return {};
}

}  // namespace

std::vector<sock_filter> reuseport_program(unsigned members, bool by_spi) {
  if (!by_spi) return {BPF_STMT(BPF_RET | BPF_K, 0)};
  return {
      // The UDP header is in front of offset 0. A load beyond the end ends the program with 0: a NAT keepalive.
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      // RFC 3948 §2.2: the non-ESP marker is 0, which is the first's by itself.
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, members),
      BPF_STMT(BPF_RET | BPF_A, 0),
  };
}

std::vector<sock_filter> raw_esp_program(IpFamily family, const SteeringShare& share) {
  std::vector<sock_filter> program;
  if (family == IpFamily::v4) {
    program.push_back(BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0));  // X: octets of the IPv4 header
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0));
  } else {
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0));
  }
  program.push_back(BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, share.members));
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, share.member, 0, 1));
  program.push_back(BPF_STMT(BPF_RET | BPF_K, kWholePacket));
  program.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
  return program;
}

Result<void> steer_reuseport_group(int fd, unsigned members, bool by_spi) {
  return attach(fd, SO_ATTACH_REUSEPORT_CBPF, reuseport_program(members, by_spi));
}

Result<void> filter_raw_esp(int fd, IpFamily family, const SteeringShare& share) {
  return attach(fd, SO_ATTACH_FILTER, raw_esp_program(family, share));
}

}  // namespace switchback::io
