#include "transports/esp/driver.h"

#include <arpa/inet.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <fstream>
#include <iterator>
#include <numeric>
#include <sstream>
#include <thread>

#include "common/base/unique_fd.h"
#include "common/io/netlink.h"
#include "common/packet/pool.h"
#include "transports/registry.h"

using namespace switchback;
using namespace switchback::transports;
using packet::Packet;
using packet::PacketKind;

namespace {

const Instant kNow{std::chrono::seconds{1}};

IpAddress addr(std::string_view text) { return *IpAddress::parse(text); }

/// Two addresses of each family that the loopback of in_own_namespace() has.
struct Ends {
  IpAddress here, there;
};
const std::array<Ends, 2> kFamilies{Ends{addr("127.0.0.1"), addr("127.0.0.2")}, Ends{addr("fd00::1"), addr("fd00::2")}};

/// The kernel adds an IPv6 address's local route from a work queue; packets sent before are lost. True once it is
/// there.
bool wait_for_local_route(const IpAddress& address) {
  std::string name;
  for (const auto octet : address.bytes()) {
    name += "0123456789abcdef"[octet >> 4U];
    name += "0123456789abcdef"[octet & 15U];
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{5};
  while (std::chrono::steady_clock::now() < deadline) {
    std::ifstream routes{"/proc/thread-self/net/ipv6_route"};
    for (std::string line; std::getline(routes, line);) {
      // RTF_LOCAL is the highest bit of the flags, which come before the interface's name.
      std::istringstream fields{line};
      std::vector<std::string> field{std::istream_iterator<std::string>{fields}, {}};
      if (field.size() == 10 && field[0] == name && field[8].front() == '8') return true;
    }
    std::this_thread::yield();
  }
  return false;
}

bool raise_loopback(int mtu) {
  const UniqueFd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ifreq request{};
  std::string{"lo"}.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_mtu = mtu;
  if (::ioctl(fd.get(), SIOCSIFMTU, &request) != 0) return false;
  request.ifr_flags = IFF_UP;
  if (::ioctl(fd.get(), SIOCSIFFLAGS, &request) != 0) return false;
  auto netlink = io::Netlink::open();
  return netlink && netlink->add_address(::if_nametoindex("lo"), IpPrefix::host(kFamilies[1].here)) &&
         netlink->add_address(::if_nametoindex("lo"), IpPrefix::host(kFamilies[1].there)) &&
         wait_for_local_route(kFamilies[1].here) && wait_for_local_route(kFamilies[1].there);
}

/// Runs `test` on a thread in a network namespace of its own, where no one else's ESP is.
template <class Test>
void in_own_namespace(int mtu, const Test& test) {
  bool allowed = false;
  std::thread{[&] {
    allowed = ::unshare(CLONE_NEWNET) == 0 && raise_loopback(mtu);
    if (allowed) test();
  }}.join();
  if (!allowed) WARN("skipped: no privilege for a network namespace");
}

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 5000) == 1;
}

struct Side {
  explicit Side(bool headend, const std::vector<IpAddress>& local) {
    TransportConfig config;
    config.name = "esp";
    config.headend = headend;
    for (const auto& address : local) config.local.push_back({address, 4500});
    transport = builtin_transports().open(config, pool).value();
  }
  Packet packet(const AddressPair& path, std::size_t size, std::uint8_t fill, PacketKind kind = PacketKind::esp) {
    auto made = pool.allocate(packet::kSendHeadroom);
    for (auto& octet : made.append(size)) octet = fill;
    made.kind = kind;
    made.path = path;
    return made;
  }
  std::size_t send(Packet packet) {
    std::vector<Packet> batch;
    batch.push_back(std::move(packet));
    return transport->send(batch, kNow).value();
  }
  std::vector<Packet> receive(std::size_t count, std::size_t at_once = 16) {
    std::vector<Packet> all;
    while (all.size() < count) {
      std::vector<Packet> some(at_once);
      const auto got = transport->receive(some, kNow).value();
      for (std::size_t i = 0; i < got; ++i) all.push_back(std::move(some[i]));
      if (got == 0 && !readable(transport->wait_fd())) break;
    }
    return all;
  }
  /// What is there now, without waiting.
  std::size_t drain() {
    std::vector<Packet> some(64);
    return transport->receive(some, kNow).value();
  }
  const TransportCounters& counters() const { return transport->counters(); }
  packet::PacketPool pool{128};
  std::unique_ptr<Transport> transport;
};

AddressPair path_of(const IpAddress& local, const IpAddress& remote) {
  return {{local, 0}, {remote, 0}, kEspTransport};
}

/// Sees what comes by the loopback, before fragments are put together.
class Tap {
 public:
  explicit Tap(std::uint16_t ethertype)
      : fd_{::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ethertype))} {}
  /// The next IP packet; empty if there is none.
  Bytes next() {
    Bytes octets(65536);
    const auto got = ::recv(fd_.get(), octets.data(), octets.size(), 0);
    octets.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return octets;
  }

 private:
  UniqueFd fd_;
};

/// An ICMP error about an ESP packet of `path`, as a router would send it.
void send_icmp_error(const AddressPair& path, std::uint8_t type, std::uint8_t code, std::uint32_t mtu) {
  const bool v4 = path.local.address.is_v4();
  Bytes message(8, 0);
  message[0] = type;
  message[1] = code;
  if (v4) {
    message[6] = static_cast<std::uint8_t>(mtu >> 8U);
    message[7] = static_cast<std::uint8_t>(mtu);
  } else {
    store_be<std::uint32_t>(&message[4], mtu);
  }
  Bytes inner(v4 ? 20 : 40, 0);
  inner[0] = v4 ? 0x45 : 0x60;
  inner[v4 ? 9 : 6] = IPPROTO_ESP;
  const auto source = path.local.address.bytes(), destination = path.remote.address.bytes();
  std::copy(source.begin(), source.end(), inner.begin() + (v4 ? 12 : 8));
  std::copy(destination.begin(), destination.end(), inner.begin() + (v4 ? 16 : 24));
  if (v4) inner[3] = 100;
  message.insert(message.end(), inner.begin(), inner.end());
  message.insert(message.end(), 64, 1);
  if (v4) {  // the kernel has the checksum done for ICMPv6 only
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < message.size(); i += 2) sum += load_be<std::uint16_t>(&message[i]);
    while (sum > 0xFFFF) sum = (sum & 0xFFFFU) + (sum >> 16U);
    store_be<std::uint16_t>(&message[2], static_cast<std::uint16_t>(~sum));
  }
  const UniqueFd fd{::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC,
                             v4 ? static_cast<int>(IPPROTO_ICMP) : static_cast<int>(IPPROTO_ICMPV6))};
  sockaddr_storage to{};
  const auto length = Endpoint{path.local.address, 0}.to_sockaddr(to);
  REQUIRE(::sendto(fd.get(), message.data(), message.size(), 0, reinterpret_cast<sockaddr*>(&to), length) ==
          static_cast<ssize_t>(message.size()));
}

}  // namespace

TEST_CASE("ESP of all sizes arrives in order, without IP header, with its path",
          "[esp_transport][rfc4303][privileged]") {
  in_own_namespace(65536, [] {
    for (const auto& [here, there] : kFamilies) {
      Side client{false, {here}}, headend{true, {there}};
      std::vector<std::size_t> sizes(100, 1400);
      sizes.insert(sizes.end(), {700, 34, 1400, 60, 61, 2112, 2113, 9000, 60000, 100});
      std::vector<Packet> batch;
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        batch.push_back(client.packet(path_of(here, there), sizes[i], static_cast<std::uint8_t>(i + 1)));
      }
      REQUIRE(client.transport->send(batch, kNow).value() == sizes.size());
      CHECK_FALSE(batch.front());
      const auto received = headend.receive(sizes.size(), 7);
      REQUIRE(received.size() == sizes.size());
      for (std::size_t i = 0; i < received.size(); ++i) {
        CHECK(received[i].size() == sizes[i]);
        CHECK(received[i].kind == PacketKind::esp);
        CHECK(received[i].path == path_of(there, here));
        CHECK(received[i].data().front() == i + 1);
        CHECK(received[i].data().back() == i + 1);
      }
      const auto octets = std::accumulate(sizes.begin(), sizes.end(), std::size_t{0});
      CHECK(client.counters().sent_packets == sizes.size());
      CHECK(client.counters().sent_octets == octets);
      CHECK(client.counters().send_dropped == 0);
      CHECK(headend.counters().received_octets == octets);
      // No kernel answer of "protocol unreachable" while the socket is there.
      CHECK(client.drain() == 0);
      CHECK_FALSE(client.transport->poll_report());
    }
  });
}

TEST_CASE("ESP leaves from its path's local address and arrives once", "[esp_transport][privileged]") {
  in_own_namespace(65536, [] {
    // A wildcard socket serves the other addresses of its family too, and no second copy arrives by theirs.
    Side headend{true, {addr("127.0.0.2"), addr("0.0.0.0"), addr("127.0.0.2"), addr("fd00::1"), addr("fd00::2")}};
    CHECK(headend.transport->local_endpoints() ==
          std::vector<Endpoint>{{addr("0.0.0.0"), 0}, {addr("fd00::1"), 0}, {addr("fd00::2"), 0}});
    Side client{false, {addr("127.0.0.9"), addr("::1")}};
    for (const auto* from : {"127.0.0.5", "127.0.0.6"}) {
      CHECK(headend.send(headend.packet(path_of(addr(from), addr("127.0.0.9")), 64, 1)) == 1);
      const auto received = client.receive(1);
      REQUIRE(received.size() == 1);
      CHECK(received[0].path == path_of(addr("127.0.0.9"), addr(from)));
      CHECK(client.drain() == 0);
    }
    for (const auto* from : {"fd00::1", "fd00::2"}) {
      CHECK(headend.send(headend.packet(path_of(addr(from), addr("::1")), 64, 1)) == 1);
      const auto received = client.receive(1);
      REQUIRE(received.size() == 1);
      CHECK(received[0].path == path_of(addr("::1"), addr(from)));
    }
    headend.drain();
    const auto before = headend.counters().received_packets;
    CHECK(client.send(client.packet(path_of(addr("127.0.0.9"), addr("127.0.0.2")), 64, 1)) == 1);
    const auto received = headend.receive(1);
    REQUIRE(received.size() == 1);
    CHECK(received[0].path == path_of(addr("127.0.0.2"), addr("127.0.0.9")));
    CHECK(headend.drain() == 0);
    CHECK(headend.counters().received_packets == before + 1);
  });
}

TEST_CASE("a header with IPv4 options is stripped whole", "[esp_transport][rfc791][privileged]") {
  in_own_namespace(65536, [] {
    Side headend{true, {addr("127.0.0.2")}};
    const UniqueFd raw{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ESP)};
    const std::array<std::uint8_t, 8> options{1, 1, 1, 1, 1, 1, 1, 0};
    REQUIRE(::setsockopt(raw.get(), IPPROTO_IP, IP_OPTIONS, options.data(), options.size()) == 0);
    sockaddr_storage to{};
    const auto length = Endpoint{addr("127.0.0.2"), 0}.to_sockaddr(to);
    const Bytes esp(100, 7);
    REQUIRE(::sendto(raw.get(), esp.data(), esp.size(), 0, reinterpret_cast<sockaddr*>(&to), length) == 100);
    const auto received = headend.receive(1);
    REQUIRE(received.size() == 1);
    CHECK(received[0].size() == 100);
    CHECK(received[0].data().front() == 7);
  });
}

TEST_CASE("what is too short for ESP is counted and handed to no one, whoever sends it",
          "[esp_transport][privileged]") {
  in_own_namespace(65536, [] {
    for (const auto& [here, there] : kFamilies) {
      Side client{false, {here}}, headend{true, {there}};
      for (const auto size : std::initializer_list<std::size_t>{1, 4, 33})
        CHECK(client.send(client.packet(path_of(here, there), size, 1)) == 1);
      CHECK(client.send(client.packet(path_of(here, there), 34, 1)) == 1);
      const auto received = headend.receive(1);
      REQUIRE(received.size() == 1);
      CHECK(received[0].size() == 34);
      CHECK(headend.counters().receive_malformed == 3);
    }
  });
}

TEST_CASE("a flood of rubbish ends a call of receive() and starves no one", "[esp_transport][privileged]") {
  in_own_namespace(65536, [] {
    const auto [here, there] = kFamilies[0];
    Side client{false, {here}}, headend{true, {there}};
    for (int i = 0; i < 1000; ++i) CHECK(client.send(client.packet(path_of(here, there), 8, 1)) == 1);
    CHECK(headend.drain() == 0);
    const auto looked_at = headend.counters().receive_malformed;
    CHECK(looked_at > 0);
    CHECK(looked_at < 600);
    CHECK(client.send(client.packet(path_of(here, there), 64, 1)) == 1);
    CHECK(headend.receive(1).size() == 1);
    CHECK(headend.counters().receive_malformed == 1000);
  });
}

TEST_CASE("IKE, keepalives and paths of an absent family or address are dropped and counted",
          "[esp_transport][privileged]") {
  in_own_namespace(65536, [] {
    const auto [here, there] = kFamilies[0];
    Side headend{true, {here}}, peer{true, {there}};
    const auto path = path_of(here, there);
    std::vector<Packet> batch;
    batch.push_back(headend.packet(path, 40, 1, PacketKind::ike));
    batch.push_back(headend.packet(path, 1, 0xFF, PacketKind::keepalive));
    batch.push_back(headend.packet(path_of(kFamilies[1].here, kFamilies[1].there), 64, 1));
    batch.push_back(
        headend.packet(path_of(addr("127.0.0.77"), there), 64, 1));  // never from another address than meant
    batch.push_back(headend.packet(path, 64, 2));
    CHECK(headend.transport->send(batch, kNow).value() == 5);
    CHECK(headend.counters().send_dropped == 4);
    const auto received = peer.receive(1);
    REQUIRE(received.size() == 1);
    CHECK(received[0].data().front() == 2);
    CHECK(peer.drain() == 0);
  });
}

TEST_CASE("ESP beyond the MTU is cut, but a probe is dropped", "[esp_transport][rfc1191][privileged]") {
  in_own_namespace(1400, [] {
    for (const auto& [here, there] : kFamilies) {
      Side client{false, {here}}, headend{true, {there}};
      std::vector<Packet> batch;
      for (const auto size : std::initializer_list<std::size_t>{1300, 2000, 2001, 1301, 1302}) {
        batch.push_back(client.packet(path_of(here, there), size, 5));
      }
      batch[2].outer = batch[3].outer = packet::OuterSize::probe;
      CHECK(client.transport->send(batch, kNow).value() == 5);
      CHECK(client.counters().send_dropped == 1);
      const auto received = headend.receive(4);
      REQUIRE(received.size() == 4);
      CHECK(received[0].size() == 1300);
      CHECK(received[1].size() == 2000);
      CHECK(received[2].size() == 1301);
      CHECK(received[3].size() == 1302);
      const auto report = client.transport->poll_report();
      REQUIRE(report);
      CHECK(report->kind == PathReport::Kind::mtu);
      CHECK(report->mtu == 1400);
      CHECK(report->path.remote == Endpoint{there, 0});
    }
  });
}

TEST_CASE("ICMP says what a path takes; a probe asks the network beyond what the kernel believes",
          "[esp_transport][rfc1191][rfc8201][privileged]") {
  in_own_namespace(1500, [] {
    for (const auto& [here, there] : kFamilies) {
      Side client{false, {here}}, headend{true, {there}};
      const auto path = path_of(here, there);
      CHECK(client.send(client.packet(path, 1400, 1)) == 1);
      if (here.is_v4()) {
        send_icmp_error(path, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, 1300);
      } else {
        send_icmp_error(path, ICMP6_PACKET_TOO_BIG, 0, 1300);
      }
      REQUIRE(readable(client.transport->wait_fd()));
      CHECK(client.drain() == 0);
      const auto report = client.transport->poll_report();
      REQUIRE(report);
      CHECK(report->kind == PathReport::Kind::mtu);
      CHECK(report->mtu == 1300);
      CHECK(report->path.remote == Endpoint{there, 0});
      Tap tap{here.is_v4() ? std::uint16_t{ETH_P_IP} : std::uint16_t{ETH_P_IPV6}};
      auto probe = client.packet(path, 1400, 2);
      probe.outer = packet::OuterSize::probe;
      CHECK(client.send(std::move(probe)) == 1);
      CHECK(client.counters().send_dropped == 0);
      const auto whole = tap.next();
      REQUIRE(whole.size() == 1400 + (here.is_v4() ? 20 : 40));
      if (here.is_v4()) CHECK((whole[6] & 0x40) != 0);  // Don't Fragment
      CHECK(tap.next().empty());
      // What is no probe goes by what the kernel learnt, cut.
      CHECK(client.send(client.packet(path, 1400, 3)) == 1);
      CHECK(tap.next().size() <= 1300);
      CHECK_FALSE(tap.next().empty());
      CHECK(headend.receive(3).size() == 3);
      CHECK(client.counters().send_dropped == 0);
    }
  });
}

TEST_CASE("a host without ESP is reported, and the next packets leave all the same",
          "[esp_transport][rfc792][privileged]") {
  in_own_namespace(1500, [] {
    for (const auto& [here, there] : kFamilies) {
      Side client{false, {here}}, headend{true, {there}};
      const auto path = path_of(here, there);
      if (here.is_v4()) {
        send_icmp_error(path, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
      } else {
        send_icmp_error(path, ICMP6_PARAM_PROB, ICMP6_PARAMPROB_NEXTHEADER, 0);
      }
      REQUIRE(readable(client.transport->wait_fd()));
      // The error is pending when the next packets are sent.
      std::vector<Packet> batch;
      for (int i = 0; i < 3; ++i) batch.push_back(client.packet(path, 100, 1));
      CHECK(client.transport->send(batch, kNow).value() == 3);
      CHECK(client.counters().send_dropped == 0);
      CHECK(headend.receive(3).size() == 3);
      CHECK(client.drain() == 0);
      const auto report = client.transport->poll_report();
      REQUIRE(report);
      CHECK(report->kind == PathReport::Kind::unreachable);
      CHECK(report->path.remote == Endpoint{there, 0});
    }
  });
}

TEST_CASE("an ESP path is open at once where there is a socket of its family, and fails clearly where not",
          "[esp_transport][privileged]") {
  in_own_namespace(1500, [] {
    Side client{false, {addr("0.0.0.0")}};
    PathRequest request;
    request.id = 7;
    request.local = addr("127.0.0.5");
    request.remote = {addr("127.0.0.2"), 4500};
    client.transport->open_path(request, kNow);
    request.id = 8;
    request.local = addr("fd00::1");
    request.remote = {addr("fd00::2"), 0};
    client.transport->open_path(request, kNow);
    auto report = client.transport->poll_report();
    REQUIRE(report);
    CHECK(report->kind == PathReport::Kind::opened);
    CHECK(report->request == 7);
    CHECK(report->path == path_of(addr("127.0.0.5"), addr("127.0.0.2")));
    report = client.transport->poll_report();
    REQUIRE(report);
    CHECK(report->kind == PathReport::Kind::failed);
    CHECK(report->request == 8);
    CHECK(report->detail == "there is no ESP socket for IPv6");
    CHECK_FALSE(client.transport->poll_report());
  });
}

TEST_CASE("new local addresses replace the old ones, or the old ones stay", "[esp_transport][privileged]") {
  in_own_namespace(1500, [] {
    const auto [here, there] = kFamilies[0];
    Side client{false, {here}}, headend{true, {there}};
    const auto fd = client.transport->wait_fd();
    const auto refused = client.transport->rebind(std::vector<Endpoint>{{addr("192.0.2.77"), 0}});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("192.0.2.77") != std::string::npos);
    CHECK(client.transport->local_endpoints() == std::vector<Endpoint>{{here, 0}});
    REQUIRE(client.transport->rebind(std::vector<Endpoint>{{addr("127.0.0.8"), 0}}));
    CHECK(client.transport->wait_fd() == fd);
    // The path still names the address that is gone.
    CHECK(client.send(client.packet(path_of(here, there), 64, 1)) == 1);
    const auto received = headend.receive(1);
    REQUIRE(received.size() == 1);
    CHECK(received[0].path.remote.address == addr("127.0.0.8"));
    CHECK(headend.send(headend.packet(received[0].path, 64, 2)) == 1);
    CHECK(client.receive(1).size() == 1);
  });
}

TEST_CASE("without the privilege for raw sockets the error says what it takes", "[esp_transport]") {
  std::string message;
  std::thread{[&] {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0) return;  // of this thread only
    packet::PacketPool pool{64};
    TransportConfig config;
    config.name = "esp";
    config.local = {{addr("127.0.0.1"), 0}};
    const auto opened = builtin_transports().open(config, pool);
    if (!opened) message = opened.error().message;
  }}.join();
  CHECK(message.find("127.0.0.1") != std::string::npos);
  CHECK(message.find("CAP_NET_RAW") != std::string::npos);
}
