#include "common/io/sockets.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <catch2/catch.hpp>

using namespace switchback;

namespace {

const auto kLoopback4 = *Endpoint::parse("127.0.0.1:0");
const auto kLoopback6 = *Endpoint::parse("[::1]:0");

struct alignas(cmsghdr) Control {
  std::array<std::uint8_t, 256> octets{};
};

struct Message {
  explicit Message(std::size_t size) : octets(size) {
    part = {octets.data(), octets.size()};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_name = &name;
    header.msg_namelen = sizeof name;
  }
  void to(const Endpoint& remote) { header.msg_namelen = remote.to_sockaddr(name); }
  void for_control(std::size_t size) {
    header.msg_control = control.octets.data();
    header.msg_controllen = size;
  }
  Bytes octets;
  iovec part{};
  msghdr header{};
  sockaddr_storage name{};
  Control control;
};

bool wait_for(int fd, short events) {
  pollfd entry{fd, events, 0};
  return ::poll(&entry, 1, 5000) == 1;
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  REQUIRE(::getsockopt(fd, level, name, &value, &length) == 0);
  return value;
}

}  // namespace

TEST_CASE("a UDP socket tells its port, the destination of what came and the runs within it", "[io]") {
  for (const auto& local : {kLoopback4, kLoopback6}) {
    const auto receiver = io::open_udp(local, {}).value(), sender = io::open_udp(local, {}).value();
    CHECK(receiver.local.address == local.address);
    CHECK(receiver.local.port != 0);
    if (!sender.segmentation || !receiver.receive_offload) {
      WARN("skipped: this kernel has no UDP_SEGMENT or UDP_GRO");
      return;
    }
    Message out{3000};
    out.to(receiver.local);
    io::build_control(out.header, out.control.octets.data(), local.address, 1000);
    REQUIRE(::sendmsg(sender.fd.get(), &out.header, 0) == 3000);
    REQUIRE(wait_for(receiver.fd.get(), POLLIN));
    Message in{65536};
    in.for_control(io::kReceiveControlBytes);
    REQUIRE(::recvmsg(receiver.fd.get(), &in.header, 0) == 3000);
    const auto control = io::parse_control(in.header);
    CHECK(control.destination == local.address);
    CHECK(control.segment_bytes == 1000);
    CHECK(Endpoint::from_sockaddr(in.name) == sender.local);
  }
}

TEST_CASE("the source address of what is sent can be chosen", "[io]") {
  const auto receiver = io::open_udp(kLoopback4, {}).value();
  const auto sender = io::open_udp(*Endpoint::parse("0.0.0.0:0"), {}).value();
  Message out{10};
  out.to(receiver.local);
  io::build_control(out.header, out.control.octets.data(), *IpAddress::parse("127.9.8.7"), 0);
  REQUIRE(::sendmsg(sender.fd.get(), &out.header, 0) == 10);
  REQUIRE(wait_for(receiver.fd.get(), POLLIN));
  Message in{100};
  REQUIRE(::recvmsg(receiver.fd.get(), &in.header, 0) == 10);
  CHECK(Endpoint::from_sockaddr(in.name).to_string() == "127.9.8.7:" + std::to_string(sender.local.port));
}

TEST_CASE("nothing to say gives no control data, and none in gives none out", "[io]") {
  Message message{1};
  io::build_control(message.header, message.control.octets.data(), IpAddress::any(IpFamily::v6), 0);
  CHECK(message.header.msg_control == nullptr);
  CHECK(message.header.msg_controllen == 0);
  const auto control = io::parse_control(message.header);
  CHECK(control.destination.empty());
  CHECK(control.segment_bytes == 0);
}

TEST_CASE("what is sent must not be fragmented on the way, unless it has to leave", "[io][rfc1191]") {
  const auto v4 = io::open_udp(kLoopback4, {}).value(), v6 = io::open_udp(kLoopback6, {}).value();
  CHECK(option(v4.fd.get(), IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DO);
  CHECK(option(v6.fd.get(), IPPROTO_IPV6, IPV6_MTU_DISCOVER) == IPV6_PMTUDISC_DO);
  Message out{100};
  out.to(v4.local);
  REQUIRE(io::send_fragmented(v4.fd.get(), IpFamily::v4, out.header));
  CHECK(option(v4.fd.get(), IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DO);
  CHECK(wait_for(v4.fd.get(), POLLIN));
}

TEST_CASE("an ICMP error names the remote that it is about, and is over when read", "[io]") {
  for (const auto& local : {kLoopback4, kLoopback6}) {
    const auto sender = io::open_udp(local, {}).value();
    const auto closed = io::open_udp(local, {}).value().local;
    Message out{10};
    out.to(closed);
    REQUIRE(::sendmsg(sender.fd.get(), &out.header, 0) == 10);
    REQUIRE(wait_for(sender.fd.get(), POLLERR));
    const auto error = io::next_socket_error(sender.fd.get());
    REQUIRE(error);
    CHECK(error->error == ECONNREFUSED);
    CHECK(error->remote == closed);
    CHECK_FALSE(io::next_socket_error(sender.fd.get()));
    io::clear_socket_error(sender.fd.get());
    CHECK(option(sender.fd.get(), SOL_SOCKET, SO_ERROR) == 0);
  }
}

TEST_CASE("two sockets share a port only if one founds the group and the other joins it", "[io]") {
  io::UdpOptions found, join;
  found.sharing = io::PortSharing::found;
  join.sharing = io::PortSharing::join;
  const auto first = io::open_udp(kLoopback4, found).value();
  CHECK(io::open_udp(first.local, join));
  for (const auto& options : {io::UdpOptions{}, found}) {
    const auto refused = io::open_udp(first.local, options);
    REQUIRE_FALSE(refused);
    CHECK(refused.error() == std::errc::address_in_use);
  }
  const auto alone = io::open_udp(kLoopback4, {}).value();
  CHECK_FALSE(io::open_udp(alone.local, join));
}

TEST_CASE("the families do not get in each other's way on one port", "[io]") {
  const auto v4 = io::open_udp(*Endpoint::parse("0.0.0.0:0"), {}).value();
  CHECK(io::open_udp({IpAddress::any(IpFamily::v6), v4.local.port}, {}));
}

TEST_CASE("the source address for a remote is the one that routing picks", "[io]") {
  CHECK(io::source_address_for(*Endpoint::parse("127.0.0.1:500"), 0).value().to_string() == "127.0.0.1");
  CHECK(io::source_address_for(*Endpoint::parse("[::1]:500"), 0).value().to_string() == "::1");
}
