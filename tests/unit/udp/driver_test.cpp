#include "transports/udp/driver.h"

#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <numeric>
#include <thread>

#include "common/base/unique_fd.h"
#include "common/packet/pool.h"
#include "transports/registry.h"
#include "transports/udp/framing.h"

using namespace switchback;
using namespace switchback::transports;
using packet::Packet;
using packet::PacketKind;

namespace {

const Instant kNow{std::chrono::seconds{1}};

bool readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 5000) == 1;
}

struct Side {
  explicit Side(bool headend, std::vector<Endpoint> local, bool offload = true, std::uint16_t ike_port = 500) {
    TransportConfig config;
    config.headend = headend;
    config.local = std::move(local);
    config.offload = offload;
    config.ike_port = ike_port;
    transport = builtin_transports().open(config, pool).value();
  }
  Packet packet(PacketKind kind, const AddressPair& path, std::size_t size, std::uint8_t fill) {
    auto made = pool.allocate(packet::kSendHeadroom);
    for (auto& octet : made.append(size)) octet = fill;
    made.kind = kind;
    made.path = path;
    return made;
  }
  /// Receives until `count` packets are there.
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
  packet::PacketPool pool{128};
  std::unique_ptr<Transport> transport;
};

struct Link {
  explicit Link(bool offload = true, const char* address = "127.0.0.1:0")
      : client{false, {*Endpoint::parse(address)}, offload}, headend{true, {*Endpoint::parse(address)}, offload} {
    path = {client.transport->local_endpoints()[0], headend.transport->local_endpoints()[0]};
  }
  Side client, headend;
  AddressPair path;
};

/// Raises the loopback of this thread's network namespace.
bool raise_loopback(int mtu) {
  const UniqueFd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ifreq request{};
  std::string{"lo"}.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_mtu = mtu;
  if (::ioctl(fd.get(), SIOCSIFMTU, &request) != 0) return false;
  request.ifr_flags = IFF_UP;
  return ::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
}

std::vector<std::size_t> sizes_of(const std::vector<Packet>& packets) {
  std::vector<std::size_t> sizes;
  for (const auto& packet : packets) sizes.push_back(packet.size());
  return sizes;
}

}  // namespace

TEST_CASE("ESP packets of all sizes arrive in order with their path, with offloads and without", "[udp][rfc3948]") {
  for (const auto* address : {"127.0.0.1:0", "[::1]:0"}) {
    for (const bool offload : {true, false}) {
      Link link{offload, address};
      // Runs, a shorter end of a run, a longer packet after it, lone ones, more than one message can carry.
      std::vector<std::size_t> sizes(100, 1400);
      sizes.insert(sizes.end(), {700, 1400, 1400, 60, 60, 61, 40, 3000, 3000, 2999, 9000, 100});
      std::vector<Packet> batch;
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        batch.push_back(link.client.packet(PacketKind::esp, link.path, sizes[i], static_cast<std::uint8_t>(i + 1)));
      }
      REQUIRE(link.client.transport->send(batch, kNow).value() == sizes.size());
      CHECK_FALSE(batch.front());
      const auto received = link.headend.receive(sizes.size(), 7);
      CHECK(sizes_of(received) == sizes);
      for (std::size_t i = 0; i < received.size(); ++i) {
        CHECK(received[i].kind == PacketKind::esp);
        CHECK(received[i].path == AddressPair{link.path.remote, link.path.local});
        CHECK(received[i].data().front() == i + 1);
        CHECK(received[i].data().back() == i + 1);
      }
      const auto& counters = link.client.transport->counters();
      CHECK(counters.sent_packets == sizes.size());
      CHECK(counters.sent_octets == std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}));
      CHECK(counters.send_dropped == 0);
      if (offload) CHECK(counters.send_calls < 15);
      if (!offload) CHECK(counters.send_calls == sizes.size());
    }
  }
}

TEST_CASE("IKE gets its marker on the NAT-T port and none on the IKE port, and ESP never goes there",
          "[udp][rfc3948][rfc7296]") {
  Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
  const auto port = headend.transport->local_endpoints()[0].port;
  Side marked{false, {*Endpoint::parse("127.0.0.1:0")}};
  // The same port, taken for the IKE port by this client: what it sends has no marker.
  Side bare{false, {*Endpoint::parse("127.0.0.1:0")}, true, port};
  const auto to = Endpoint{*IpAddress::parse("127.0.0.1"), port};

  std::vector<Packet> batch;
  batch.push_back(marked.packet(PacketKind::ike, {marked.transport->local_endpoints()[0], to}, 40, 9));
  batch.push_back(marked.packet(PacketKind::keepalive, {marked.transport->local_endpoints()[0], to}, 1, 0xFF));
  REQUIRE(marked.transport->send(batch, kNow).value() == 2);
  auto received = headend.receive(2);
  REQUIRE(received.size() == 2);
  CHECK(received[0].kind == PacketKind::ike);
  CHECK(received[0].size() == 40);
  CHECK(received[1].kind == PacketKind::keepalive);

  std::vector<Packet> more;
  more.push_back(bare.packet(PacketKind::esp, {bare.transport->local_endpoints()[0], to}, 100, 5));
  more.push_back(bare.packet(PacketKind::ike, {bare.transport->local_endpoints()[0], to}, 40, 9));
  REQUIRE(bare.transport->send(more, kNow).value() == 2);
  CHECK(bare.transport->counters().send_dropped == 1);
  received = headend.receive(1);
  REQUIRE(received.size() == 1);
  CHECK(received[0].kind == PacketKind::esp);  // no marker: 40 octets 9 look like ESP here
  CHECK(received[0].size() == 40);
}

TEST_CASE("one driver serves several local sockets and answers from the right one", "[udp]") {
  const auto base = "127.46." + std::to_string(::getpid() % 250) + ".";
  Side headend{true, {*Endpoint::parse(base + "1:0"), *Endpoint::parse(base + "2:0"), *Endpoint::parse("[::1]:0")}};
  Side client{false, {*Endpoint::parse("0.0.0.0:0"), *Endpoint::parse("[::]:0")}};
  const auto listening = headend.transport->local_endpoints();
  const auto mine = client.transport->local_endpoints();
  for (const auto& there : listening) {
    const auto& local = there.address.is_v4() ? mine[0] : mine[1];
    std::vector<Packet> question;
    question.push_back(client.packet(PacketKind::esp, {local, there}, 64, 1));
    REQUIRE(client.transport->send(question, kNow).value() == 1);
    auto received = headend.receive(1);
    REQUIRE(received.size() == 1);
    CHECK(received[0].path.local == there);
    std::vector<Packet> answer;
    answer.push_back(headend.packet(PacketKind::esp, received[0].path, 64, 2));
    REQUIRE(headend.transport->send(answer, kNow).value() == 1);
    received = client.receive(1);
    REQUIRE(received.size() == 1);
    CHECK(received[0].path.remote == there);
    // The wildcard socket tells which of the host's addresses was meant.
    CHECK_FALSE(received[0].path.local.address.is_unspecified());
  }
}

TEST_CASE("a path that no socket is for is counted and holds nothing up", "[udp]") {
  Link link;
  auto v6 = link.path;
  v6.remote.address = *IpAddress::parse("::1");
  std::vector<Packet> batch;
  batch.push_back(link.client.packet(PacketKind::esp, v6, 100, 1));
  batch.push_back(link.client.packet(PacketKind::esp, link.path, 100, 2));
  CHECK(link.client.transport->send(batch, kNow).value() == 2);
  CHECK(link.client.transport->counters().send_dropped == 1);
  CHECK(link.headend.receive(1).size() == 1);
}

TEST_CASE("a port without a listener is reported and harms no one else", "[udp][rfc1122]") {
  Link link;
  Endpoint closed;
  {
    Side gone{true, {*Endpoint::parse("127.0.0.1:0")}};
    closed = gone.transport->local_endpoints()[0];
  }
  std::vector<Packet> lost;
  lost.push_back(link.client.packet(PacketKind::esp, {link.path.local, closed}, 100, 1));
  CHECK(link.client.transport->send(lost, kNow).value() == 1);
  REQUIRE(readable(link.client.transport->wait_fd()));
  std::vector<Packet> none(4);
  CHECK(link.client.transport->receive(none, kNow).value() == 0);
  const auto report = link.client.transport->poll_report();
  REQUIRE(report);
  CHECK(report->kind == PathReport::Kind::unreachable);
  CHECK(report->path.remote == closed);
  // A run right after the next error: nothing of it is lost.
  lost.push_back(link.client.packet(PacketKind::esp, {link.path.local, closed}, 100, 1));
  lost.erase(lost.begin());
  CHECK(link.client.transport->send(lost, kNow).value() == 1);
  std::vector<Packet> batch;
  for (int i = 0; i < 10; ++i) batch.push_back(link.client.packet(PacketKind::esp, link.path, 500, 3));
  CHECK(link.client.transport->send(batch, kNow).value() == 10);
  CHECK(link.headend.receive(10).size() == 10);
  CHECK(link.client.transport->counters().send_dropped == 0);
}

TEST_CASE("rubbish is counted and handed to no one", "[udp]") {
  Link link;
  std::vector<Packet> batch;
  batch.push_back(link.client.packet(PacketKind::esp, link.path, 20, 1));
  batch.push_back(link.client.packet(PacketKind::esp, link.path, 20, 0));
  batch.push_back(link.client.packet(PacketKind::keepalive, link.path, 1, 0x01));
  batch.push_back(link.client.packet(PacketKind::esp, link.path, 40, 1));
  CHECK(link.client.transport->send(batch, kNow).value() == 4);
  const auto received = link.headend.receive(1);
  REQUIRE(received.size() == 1);
  CHECK(received[0].size() == 40);
  CHECK(link.headend.transport->counters().receive_malformed == 3);
}

TEST_CASE("a flood of small datagrams holds little memory", "[udp]") {
  Link link{false};
  std::vector<Packet> held;
  for (int round = 0; round < 10; ++round) {
    std::vector<Packet> batch;
    for (int i = 0; i < 64; ++i) batch.push_back(link.client.packet(PacketKind::esp, link.path, 64, 1));
    CHECK(link.client.transport->send(batch, kNow).value() == 64);
    for (auto& packet : link.headend.receive(64)) held.push_back(std::move(packet));
  }
  CHECK(held.size() == 640);
  // 640 datagrams in slabs of 33, beside the slabs kept for large ones.
  CHECK(link.headend.pool.free_slabs() > 128 - 34 - 30);
  held.clear();
}

TEST_CASE("new local sockets replace the old ones, or the old ones stay", "[udp]") {
  Link link;
  const auto before = link.client.transport->local_endpoints();
  const std::vector<Endpoint> foreign{*Endpoint::parse("192.0.2.77:0")};
  const auto refused = link.client.transport->rebind(foreign);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("192.0.2.77") != std::string::npos);
  CHECK(link.client.transport->local_endpoints() == before);
  const std::vector<Endpoint> fresh{*Endpoint::parse("127.0.0.1:0")};
  const auto fd = link.client.transport->wait_fd();
  REQUIRE(link.client.transport->rebind(fresh));
  CHECK(link.client.transport->wait_fd() == fd);
  const auto after = link.client.transport->local_endpoints();
  CHECK(after != before);
  std::vector<Packet> batch;
  // The path still names the port that is gone: what was on its way when the sockets changed is not lost.
  batch.push_back(link.client.packet(PacketKind::esp, {before[0], link.path.remote}, 64, 1));
  CHECK(link.client.transport->send(batch, kNow).value() == 1);
  const auto received = link.headend.receive(1);
  REQUIRE(received.size() == 1);
  CHECK(received[0].path.remote == after[0]);
  std::vector<Packet> back;
  back.push_back(link.headend.packet(PacketKind::esp, received[0].path, 64, 1));
  CHECK(link.headend.transport->send(back, kNow).value() == 1);
  CHECK(link.client.receive(1).size() == 1);
}

TEST_CASE("an unknown transport names those that exist, and a taken port says what to do", "[udp]") {
  packet::PacketPool pool{64};
  TransportConfig config;
  config.name = "smoke";
  const auto unknown = builtin_transports().open(config, pool);
  REQUIRE_FALSE(unknown);
  std::string message = "there is no transport named \"smoke\"; this build has ";
  const auto names = builtin_transports().names();
  REQUIRE(names.size() >= 2);
  CHECK(names[0] == "udp");
  CHECK(names[1] == "esp");
  for (const auto name : names) message.append(name == names[0] ? "" : ", ").append(name);
  CHECK(unknown.error().message == message);
  Side holder{true, {*Endpoint::parse("127.0.0.1:0")}};
  config.name = "udp";
  config.local = holder.transport->local_endpoints();
  const auto taken = builtin_transports().open(config, pool);
  REQUIRE_FALSE(taken);
  CHECK(taken.error().message.find("ss -ulpn") != std::string::npos);
}

TEST_CASE("packets beyond the path's MTU still leave, and the MTU is reported", "[udp][rfc1191][privileged]") {
  bool allowed = false;
  std::thread{[&] {
    allowed = ::unshare(CLONE_NEWNET) == 0 && raise_loopback(1400);
    if (!allowed) return;
    for (const auto* address : {"127.0.0.1:0", "[::1]:0"}) {
      Link link{true, address};
      std::vector<Packet> batch;
      for (int i = 0; i < 20; ++i) batch.push_back(link.client.packet(PacketKind::esp, link.path, 1440, 5));
      for (int i = 0; i < 20; ++i) batch.push_back(link.client.packet(PacketKind::esp, link.path, 1300, 6));
      CHECK(link.client.transport->send(batch, kNow).value() == 40);
      CHECK(link.headend.receive(40).size() == 40);
      std::vector<Packet> none(4);
      CHECK(link.client.transport->receive(none, kNow).value() == 0);
      const auto report = link.client.transport->poll_report();
      REQUIRE(report);
      CHECK(report->kind == PathReport::Kind::mtu);
      CHECK(report->mtu == 1400);
      CHECK(report->path.remote == link.path.remote);
      // Runs that fit go on as runs.
      const auto before = link.client.transport->counters().send_calls;
      batch.clear();
      for (int i = 0; i < 20; ++i) batch.push_back(link.client.packet(PacketKind::esp, link.path, 1300, 7));
      CHECK(link.client.transport->send(batch, kNow).value() == 20);
      CHECK(link.client.transport->counters().send_calls == before + 1);
    }
  }}.join();
  if (!allowed) WARN("skipped: no privilege for a network namespace");
}

TEST_CASE("a source address that is gone costs its packets and no others", "[udp]") {
  Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
  Side client{false, {*Endpoint::parse("0.0.0.0:0")}};
  const auto to = headend.transport->local_endpoints()[0];
  const auto port = client.transport->local_endpoints()[0].port;
  std::vector<Packet> batch;
  for (int i = 0; i < 5; ++i) {
    batch.push_back(client.packet(PacketKind::esp, {{*IpAddress::parse("192.0.2.77"), port}, to}, 100, 1));
  }
  for (int i = 0; i < 5; ++i) {
    batch.push_back(client.packet(PacketKind::esp, {{*IpAddress::parse("127.0.0.1"), port}, to}, 100, 2));
  }
  CHECK(client.transport->send(batch, kNow).value() == 10);
  CHECK(client.transport->counters().send_dropped == 5);
  CHECK(headend.receive(5).size() == 5);
  CHECK(client.transport->poll_report());
}

TEST_CASE("a probe of the path's MTU leaves whole or not at all, and the others as ever",
          "[udp][rfc1191][privileged]") {
  bool allowed = false;
  std::thread{[&] {
    allowed = ::unshare(CLONE_NEWNET) == 0 && raise_loopback(1400);
    if (!allowed) return;
    for (const auto* address : {"127.0.0.1:0", "[::1]:0"}) {
      Link link{true, address};
      std::vector<Packet> batch;
      for (const auto size : std::initializer_list<std::size_t>{1300, 1301, 1301, 1450, 1300, 1450, 1450}) {
        batch.push_back(link.client.packet(PacketKind::esp, link.path, size, 5));
      }
      batch[2].outer = batch[3].outer = packet::OuterSize::probe;
      batch.push_back(link.client.packet(PacketKind::ike, link.path, 1450, 5));
      batch.back().outer = packet::OuterSize::probe;
      CHECK(link.client.transport->send(batch, kNow).value() == 8);
      CHECK(link.client.transport->counters().send_dropped == 2);
      const auto received = link.headend.receive(6);
      CHECK(sizes_of(received) == std::vector<std::size_t>{1300, 1301, 1301, 1300, 1450, 1450});
      std::vector<Packet> none(4);
      CHECK(link.headend.transport->receive(none, kNow).value() == 0);
    }
  }}.join();
  if (!allowed) WARN("skipped: no privilege for a network namespace");
}

TEST_CASE("a UDP path is open at once by the socket of its family, and fails clearly without one", "[udp]") {
  Side client{false, {*Endpoint::parse("0.0.0.0:0")}};
  const auto port = client.transport->local_endpoints()[0].port;
  PathRequest request;
  request.id = 7;
  request.local = *IpAddress::parse("127.0.0.5");
  request.remote = *Endpoint::parse("127.0.0.1:4500");
  client.transport->open_path(request, kNow);
  request.id = 8;
  request.local = *IpAddress::parse("::1");
  request.remote = *Endpoint::parse("[::1]:4500");
  client.transport->open_path(request, kNow);
  auto report = client.transport->poll_report();
  REQUIRE(report);
  CHECK(report->kind == PathReport::Kind::opened);
  CHECK(report->request == 7);
  CHECK(report->path ==
        AddressPair{{*IpAddress::parse("127.0.0.5"), port}, *Endpoint::parse("127.0.0.1:4500"), kUdpTransport});
  report = client.transport->poll_report();
  REQUIRE(report);
  CHECK(report->kind == PathReport::Kind::failed);
  CHECK(report->request == 8);
  CHECK(report->detail == "there is no UDP socket for IPv6");
  CHECK_FALSE(client.transport->poll_report());
}

TEST_CASE("a packet with a hop limit of its own leaves in the flow and says what routers will quote",
          "[udp][privileged]") {
  for (const auto* address : {"127.0.0.1:0", "[::1]:0"}) {
    CAPTURE(address);
    Link link{true, address};
    REQUIRE(link.client.transport->limited_kind(link.path) == LimitedKind::esp);
    auto packet = link.client.packet(PacketKind::esp, link.path, 60, 0x42);
    const auto sent = link.client.transport->send_limited(std::move(packet), 7, kNow);
    if (!sent && ::geteuid() != 0) {
      WARN("raw sockets need privileges");
      return;
    }
    REQUIRE(sent);
    CHECK(sent->destination == link.path.remote.address);
    CHECK(sent->protocol == 17);
    CHECK((sent->identification != 0) == link.path.remote.address.is_v4());
    CHECK(load_be<std::uint16_t>(sent->front.data()) == link.path.local.port);
    CHECK(load_be<std::uint16_t>(sent->front.data() + 2) == link.path.remote.port);
    CHECK(load_be<std::uint16_t>(sent->front.data() + 4) == 68);
    CHECK(sent->front[8] == 0x42);
    // No router is between, so it arrives, from the flow's own port: an ESP packet as any.
    const auto arrived = link.headend.receive(1);
    REQUIRE(arrived.size() == 1);
    CHECK(arrived[0].size() == 60);
    CHECK(arrived[0].path.remote == link.path.local);
    CHECK(link.client.transport->counters().sent_packets == 0);
  }
}

namespace {

/// What came by one message each, of `count` packets sent at once.
std::vector<packet::Arrival> arrivals_of(Link& link, std::size_t count) {
  std::vector<Packet> batch;
  for (std::size_t i = 0; i < count; ++i) batch.push_back(link.client.packet(PacketKind::esp, link.path, 1200, 1));
  REQUIRE(link.client.transport->send(batch, kNow).value() == count);
  std::vector<packet::Arrival> arrivals;
  for (const auto& packet : link.headend.receive(count)) {
    CHECK(packet.size() == 1200);
    arrivals.push_back(packet.arrival);
  }
  REQUIRE(arrivals.size() == count);
  return arrivals;
}

OffloadStatus receive_status(const Transport& transport) {
  for (auto& one : transport.offloads()) {
    if (one.offload == "receive") return one;
  }
  return {};
}

}  // namespace

TEST_CASE("the receive offload of an interface whose joined packets fail goes off, on, and off for long",
          "[udp][offload]") {
  Link link;
  auto& transport = *link.headend.transport;
  const auto joined = arrivals_of(link, 20);
  CHECK(joined.front().interface != 0);
  CHECK(joined.front().joined != 0);
  CHECK(std::all_of(joined.begin(), joined.end(), [&](const auto& one) { return one == joined.front(); }));
  CHECK(arrivals_of(link, 20).front().joined != joined.front().joined);  // another message
  CHECK(arrivals_of(link, 1).front().joined == 0);
  CHECK(receive_status(transport).state == "in use");
  CHECK(receive_status(transport).where == "lo");

  const auto interface = joined.front().interface;
  const auto later = kNow + std::chrono::seconds{1};
  transport.handle_evidence({interface, true, 1, 10, 50}, kNow);
  CHECK_FALSE(transport.poll_offload_change());
  transport.handle_evidence({interface, true, 1, 1, 0}, later);
  REQUIRE(transport.poll_offload_change());
  CHECK(arrivals_of(link, 20).back().joined == 0);
  CHECK(receive_status(transport).state == "off on trial");

  transport.handle_evidence({interface, false, 1, 400, 0}, later);
  CHECK(arrivals_of(link, 20).back().joined != 0);
  CHECK(receive_status(transport).state == "in use on trial");

  transport.handle_evidence({interface, true, 1, 10, 50}, later);
  CHECK(arrivals_of(link, 20).back().joined == 0);
  const auto status = receive_status(transport);
  CHECK(status.state == "quarantined");
  CHECK(status.reason != "");
  CHECK(status.since == later);
  REQUIRE(transport.next_deadline());
  CHECK(status.until == *transport.next_deadline());
  // New sockets do not forget it.
  REQUIRE(transport.rebind(std::vector{*Endpoint::parse("127.0.0.1:0")}));
  link.path.remote = transport.local_endpoints()[0];
  (void)arrivals_of(link, 20);
  CHECK(arrivals_of(link, 20).back().joined == 0);

  transport.handle_deadline(*transport.next_deadline());
  CHECK(arrivals_of(link, 20).back().joined != 0);
  CHECK(receive_status(transport).state == "in use");
  std::size_t changes = 0;
  while (transport.poll_offload_change()) ++changes;
  CHECK(changes == 3);
}

TEST_CASE("the status tells the offloads that are not wanted", "[udp][offload]") {
  Link link{false};
  const auto all = link.headend.transport->offloads();
  REQUIRE(all.size() == 2);
  for (const auto& one : all) {
    CHECK(one.state == "off");
    CHECK(one.reason == "not wanted");
  }
  CHECK(arrivals_of(link, 3).front().interface == 0);
}
