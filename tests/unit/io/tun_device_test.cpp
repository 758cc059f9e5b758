#include "common/io/tun_device.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <thread>

#include "common/base/ip_address.h"

using namespace switchback;

namespace {

/// Runs `test` on a thread in a network namespace of its own, where nothing it does can be seen. False: not allowed.
template <class Test>
bool in_own_namespace(const Test& test) {
  bool allowed = false;
  std::thread{[&] {
    allowed = ::unshare(CLONE_NEWNET) == 0 && ::access("/dev/net/tun", R_OK | W_OK) == 0;
    if (allowed) test();
  }}.join();
  if (!allowed) WARN("skipped: no privilege for a network namespace, or no /dev/net/tun");
  return allowed;
}

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 5000) == 1;
}

}  // namespace

TEST_CASE("a TUN interface can be made, sized, raised, and goes away with its queues", "[io][privileged]") {
  in_own_namespace([] {
    io::TunConfig config;
    config.name = "swbt%d";
    {
      auto device = io::TunDevice::create(config).value();
      CHECK(device.name() == "swbt0");
      CHECK(device.ifindex() != 0);
      CHECK(device.offloads().checksum);
      CHECK(device.offloads().tso4);
      REQUIRE(device.set_mtu(1380));
      CHECK(device.mtu().value() == 1380);
      REQUIRE(device.set_up(true));
      auto queues = device.take_queues();
      REQUIRE(queues.size() == 1);
      CHECK(queues[0].has_header());
      CHECK(device.take_queues().empty());
    }
    auto again = io::TunDevice::create(config).value();
    CHECK(again.name() == "swbt0");
    config.name = "swbt0";
    const auto taken = io::TunDevice::create(config);
    REQUIRE_FALSE(taken);
    CHECK(taken.error().message.find("swbt0") != std::string::npos);
    CHECK(taken.error().message.find("in use") != std::string::npos);
  });
}

TEST_CASE("several queues belong to one interface", "[io][privileged]") {
  in_own_namespace([] {
    io::TunConfig config;
    config.name = "swbtq";
    config.queues = 3;
    auto device = io::TunDevice::create(config).value();
    CHECK(device.take_queues().size() == 3);
  });
}

TEST_CASE("what the kernel routes into the TUN is read, and what is written comes in", "[io][privileged]") {
  in_own_namespace([] {
    for (const bool offload : {true, false}) {
      io::TunConfig config;
      config.name = "swbtp";
      config.offload = offload;
      auto device = io::TunDevice::create(config).value();
      auto queues = device.take_queues();
      auto& queue = queues[0];
      CHECK(queue.has_header() == offload);
      packet::VirtioNetHeader header;
      Bytes buffer(65535);
      CHECK(queue.read(header, buffer).value() == 0);
      REQUIRE(device.set_up(true));
      // IPv6 gives every interface an address of its own and announces it at once.
      REQUIRE(readable(queue.fd()));
      const auto got = queue.read(header, buffer).value();
      REQUIRE(got >= 40);
      CHECK(buffer[0] >> 4U == 6);

      std::array<std::uint8_t, packet::VirtioNetHeader::kBytes> prefix{};
      Bytes empty_udp{0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 9, 0, 9, 0, 8, 0, 0};
      const std::array<iovec, 2> parts{{{prefix.data(), prefix.size()}, {empty_udp.data(), empty_udp.size()}}};
      CHECK(queue.write(offload ? std::span{parts} : std::span{parts}.subspan(1)));
      Bytes nonsense{0xF5, 0, 0};
      const std::array<iovec, 2> bad{{{prefix.data(), prefix.size()}, {nonsense.data(), nonsense.size()}}};
      CHECK_FALSE(queue.write(offload ? std::span{bad} : std::span{bad}.subspan(1)));
      REQUIRE(device.set_up(false));
      CHECK_FALSE(queue.write(offload ? std::span{parts} : std::span{parts}.subspan(1)));
    }
  });
}

TEST_CASE("a name that no interface can have is refused with the reason", "[io]") {
  io::TunConfig config;
  config.name = "a-name-that-is-too-long";
  const auto refused = io::TunDevice::create(config);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("15") != std::string::npos);
}
