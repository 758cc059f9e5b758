#include "common/io/steering.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "common/io/sockets.h"

using namespace switchback;

namespace {

[[nodiscard]] bool readable(int fd, int milliseconds) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, milliseconds) == 1;
}

void send_to(int fd, const Endpoint& to, const Bytes& octets) {
  sockaddr_storage address{};
  const auto length = static_cast<socklen_t>(to.to_sockaddr(address));
  REQUIRE(::sendto(fd, octets.data(), octets.size(), 0, reinterpret_cast<const sockaddr*>(&address), length) ==
          static_cast<ssize_t>(octets.size()));
}

[[nodiscard]] Bytes with_spi(std::uint32_t spi, std::size_t octets = 60) {
  Bytes packet(octets, 0xEE);
  store_be(packet.data(), spi);
  return packet;
}

/// The SPI of the next packet at the socket. @param skip  octets in front of it
[[nodiscard]] std::uint32_t next_spi(int fd, std::size_t skip = 0) {
  Bytes octets(2048);
  const auto got = ::recv(fd, octets.data(), octets.size(), 0);
  REQUIRE(got >= static_cast<ssize_t>(skip + 4));
  return load_be<std::uint32_t>(octets.data() + skip);
}

struct Group {
  explicit Group(const char* local, unsigned members, bool by_spi = true) {
    io::UdpOptions options;
    options.sharing = io::PortSharing::found;
    sockets.push_back(io::open_udp(*Endpoint::parse(local), options).value());
    options.sharing = io::PortSharing::join;
    for (unsigned i = 1; i < members; ++i) {
      sockets.push_back(io::open_udp(sockets[0].local, options).value());
      REQUIRE(io::steer_reuseport_group(sockets.back().fd.get(), members, by_spi));
    }
  }
  std::vector<io::UdpSocket> sockets;
};

}  // namespace

TEST_CASE("each datagram comes to the socket that its SPI names, whatever port it is from", "[io][cores]") {
  for (const auto* local : {"127.0.0.1:0", "[::1]:0"}) {
    for (const unsigned members : {2U, 3U, 5U}) {
      Group group{local, members};
      for (std::uint32_t spi = 0x10000000; spi < 0x10000020; ++spi) {
        const auto sender = io::open_udp(*Endpoint::parse(local), {}).value();
        send_to(sender.fd.get(), group.sockets[0].local, with_spi(spi));
        const auto fd = group.sockets[spi % members].fd.get();
        REQUIRE(readable(fd, 2000));
        CHECK(next_spi(fd) == spi);
      }
      for (const auto& socket : group.sockets) CHECK_FALSE(readable(socket.fd.get(), 0));
    }
  }
}

TEST_CASE("IKE behind the marker and keepalives come to the first socket", "[io][cores][rfc3948]") {
  Group group{"127.0.0.1:0", 3};
  const auto first = group.sockets[0].fd.get();
  for (int i = 0; i < 20; ++i) {
    const auto sender = io::open_udp(*Endpoint::parse("127.0.0.1:0"), {}).value();
    for (const auto& packet : {with_spi(0, 32), Bytes(1, 0xFF), Bytes(3, 0x7F)}) {
      send_to(sender.fd.get(), group.sockets[0].local, packet);
      REQUIRE(readable(first, 2000));
      Bytes octets(100);
      CHECK(::recv(first, octets.data(), octets.size(), 0) == static_cast<ssize_t>(packet.size()));
    }
  }
}

TEST_CASE("a port without ESP leaves everything to the first socket", "[io][cores]") {
  Group group{"127.0.0.1:0", 2, false};
  for (std::uint32_t spi = 1; spi < 20; ++spi) {
    const auto sender = io::open_udp(*Endpoint::parse("127.0.0.1:0"), {}).value();
    send_to(sender.fd.get(), group.sockets[0].local, with_spi(spi));
    REQUIRE(readable(group.sockets[0].fd.get(), 2000));
    CHECK(next_spi(group.sockets[0].fd.get()) == spi);
  }
}

TEST_CASE("a raw socket sees only the ESP packets of its member", "[io][cores][rfc4303]") {
  for (const auto* text : {"127.0.0.1", "::1"}) {
    const auto local = *IpAddress::parse(text);
    std::vector<UniqueFd> sockets;
    for (unsigned member = 0; member < 3; ++member) {
      auto fd = io::open_raw(local, IPPROTO_ESP, 0, 1U << 18U);
      if (!fd) {
        WARN("needs CAP_NET_RAW");
        return;
      }
      REQUIRE(io::filter_raw_esp(fd->get(), local.family(), {3, member}));
      sockets.push_back(*std::move(fd));
    }
    const auto esp = io::open_raw(local, IPPROTO_ESP, 0, 1U << 18U).value();
    const std::size_t header = local.is_v4() ? 20 : 0;
    for (std::uint32_t spi = 0x20000000; spi < 0x20000012; ++spi) {
      send_to(esp.get(), {local, 0}, with_spi(spi));
      const auto fd = sockets[spi % 3].get();
      REQUIRE(readable(fd, 2000));
      CHECK(next_spi(fd, header) == spi);
    }
    for (const auto& fd : sockets) CHECK_FALSE(readable(fd.get(), 0));
  }
}
