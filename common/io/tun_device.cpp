#include "common/io/tun_device.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace switchback::io {
namespace {

// Linux 6.2; Debian 12's headers are older than the kernels that this may run on.
constexpr unsigned kTunUso4 = 0x20, kTunUso6 = 0x40;

/// Interface ioctls go through any socket at all.
[[nodiscard]] Result<UniqueFd> control_fd() {
  UniqueFd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail_errno();
  return fd;
}

[[nodiscard]] ifreq request_for(const std::string& name) noexcept {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

[[nodiscard]] Result<void> interface_ioctl(unsigned long code, ifreq& request) {
  SB_TRY(const auto fd, control_fd());
  if (::ioctl(fd.get(), code, &request) != 0) return fail_errno();
  return {};
}

[[nodiscard]] UserError explain_open(int error) {
  if (error == ENOENT || error == ENODEV || error == ENXIO) {
    return {
        "/dev/net/tun does not exist: load the kernel module with \"modprobe tun\", or give the container the device"};
  }
  return {std::string{"cannot open /dev/net/tun: "} + std::strerror(error) + "; this program needs root"};
}

[[nodiscard]] UserError explain_create(const std::string& name, int error) {
  if (error == EPERM) return {"cannot create the interface " + name + ": this needs root (CAP_NET_ADMIN)"};
  if (error == EBUSY) {
    return {"the interface " + name + " exists and is in use; stop the other program or choose another name"};
  }
  if (error == EINVAL)
    return {"the kernel refuses \"" + name + "\" as the name of a TUN interface; choose another name"};
  return {"cannot create the interface " + name + ": " + std::strerror(error)};
}

/// Asks for everything first and for less where the kernel says no.
[[nodiscard]] TunOffloads negotiate(int fd) noexcept {
  constexpr unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if (::ioctl(fd, TUNSETOFFLOAD, tso | kTunUso4 | kTunUso6) == 0) return {true, true, true, true};
  if (::ioctl(fd, TUNSETOFFLOAD, tso) == 0) return {true, true, true, false};
  if (::ioctl(fd, TUNSETOFFLOAD, unsigned{TUN_F_CSUM}) == 0) return {true, false, false, false};
  (void)::ioctl(fd, TUNSETOFFLOAD, 0U);
  return {};
}

}  // namespace

Result<std::size_t> TunQueue::read(packet::VirtioNetHeader& header, ByteSpan buffer) noexcept {
  std::array<std::uint8_t, packet::VirtioNetHeader::kBytes> prefix{};
  const std::array<iovec, 2> parts{{{prefix.data(), prefix.size()}, {buffer.data(), buffer.size()}}};
  for (;;) {
    const auto got = header_ ? ::readv(fd_.get(), parts.data(), 2) : ::read(fd_.get(), buffer.data(), buffer.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      // EIO: the interface is down, or was for a moment.
      if (errno == EAGAIN || errno == EIO) return std::size_t{0};
      return fail_errno();
    }
    if (got == 0) return fail(std::make_error_code(std::errc::no_such_device));
    const auto octets = static_cast<std::size_t>(got);
    if (!header_) {
      header = {};
      return octets;
    }
    if (octets <= prefix.size()) continue;  // no packet in it
    header = packet::VirtioNetHeader::load(prefix);
    return octets - prefix.size();
  }
}

bool TunQueue::write(std::span<const iovec> parts) noexcept {
  for (;;) {
    if (::writev(fd_.get(), parts.data(), static_cast<int>(parts.size())) >= 0) return true;
    if (errno != EINTR) return false;
  }
}

Result<TunDevice, UserError> TunDevice::create(const TunConfig& config) {
  if (config.name.empty() || config.name.size() >= IFNAMSIZ) {
    return fail_user("the interface name \"" + config.name + "\" must have 1 to 15 characters");
  }
  TunDevice device;
  const auto queues = config.queues == 0 ? 1U : config.queues;
  auto request = request_for(config.name);
  bool header = config.offload;
  for (unsigned i = 0; i < queues; ++i) {
    UniqueFd fd{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    if (!fd) return fail(explain_open(errno));
    const auto attach = [&] {
      unsigned flags = IFF_TUN | IFF_NO_PI;
      if (queues > 1) flags |= IFF_MULTI_QUEUE;
      if (header) flags |= IFF_VNET_HDR;
      request.ifr_flags = static_cast<short>(flags);
      return ::ioctl(fd.get(), TUNSETIFF, &request) == 0;
    };
    if (!attach()) {
      const auto error = errno;
      const bool again = i == 0 && header && error == EINVAL;
      if (again) header = false;
      if (!again || !attach()) return fail(explain_create(config.name, again ? errno : error));
    }
    // The first queue settles the name where the kernel chose its number; the offloads are the interface's.
    if (i == 0) {
      device.name_.assign(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
      if (header) device.offloads_ = negotiate(fd.get());
    }
    device.queues_.emplace_back(std::move(fd), header);
  }
  device.ifindex_ = ::if_nametoindex(device.name_.c_str());
  return device;
}

Result<unsigned> TunDevice::mtu() const {
  auto request = request_for(name_);
  SB_CHECK(interface_ioctl(SIOCGIFMTU, request));
  return static_cast<unsigned>(request.ifr_mtu);
}

Result<void> TunDevice::set_mtu(unsigned mtu) {
  auto request = request_for(name_);
  request.ifr_mtu = static_cast<int>(mtu);
  return interface_ioctl(SIOCSIFMTU, request);
}

Result<void> TunDevice::set_up(bool up) {
  auto request = request_for(name_);
  SB_CHECK(interface_ioctl(SIOCGIFFLAGS, request));
  const auto flags = static_cast<unsigned>(static_cast<unsigned short>(request.ifr_flags));
  request.ifr_flags = static_cast<short>(up ? (flags | IFF_UP) : (flags & ~unsigned{IFF_UP}));
  return interface_ioctl(SIOCSIFFLAGS, request);
}

std::vector<TunQueue> TunDevice::take_queues() { return std::exchange(queues_, {}); }

}  // namespace switchback::io
