// Several workers: every packet comes out right and in order, wherever it went in.
#include <catch2/catch.hpp>

#include "common/path/control.h"
#include "tests/unit/dataplane/fake_wire.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::testing;
using namespace switchback::transports;

namespace {

AddressPair path_by(TransportId transport, std::uint16_t port = 4000) {
  return {{*IpAddress::parse("192.0.2.1"), port}, {*IpAddress::parse("198.51.100.1"), 4500}, transport};
}
AddressPair turned(const AddressPair& path) { return {path.remote, path.local, path.transport}; }

/// A session with one Child SA, on the same worker at both ends.
struct Tunnel {
  unsigned worker;
  std::uint32_t generation = 0;  // of its Child SA

  [[nodiscard]] SessionTag tag() const { return SessionTag{100 + std::uint64_t{worker}}; }
  [[nodiscard]] std::string net() const { return "10.9." + std::to_string(worker) + "."; }
  [[nodiscard]] StaticChild keys() const {
    StaticChild keys;
    keys.spi_in = 0x12000 + generation * 240 + worker;
    keys.spi_out = 0x24000 + generation * 240 + worker;
    keys.key_in = static_cast<std::uint8_t>(10 + worker);
    keys.key_out = static_cast<std::uint8_t>(50 + worker);
    keys.local = {net() + "1/32"};
    keys.remote = {net() + "2/32"};
    return keys;
  }
  [[nodiscard]] ChildSa client(const AddressPair& path) const { return tagged(keys().make(path)); }
  [[nodiscard]] ChildSa headend(const AddressPair& path) const { return tagged(keys().mirrored().make(path)); }
  [[nodiscard]] Bytes packet(std::uint32_t number, bool back = false, std::size_t octets = 100) const {
    PacketSpec spec;
    spec.source = net() + (back ? "2" : "1");
    spec.destination = net() + (back ? "1" : "2");
    spec.payload = counting(octets, static_cast<std::uint8_t>(number));
    store_be(spec.payload.data(), number);
    return make_udp(spec);
  }

 private:
  [[nodiscard]] ChildSa tagged(ChildSa child) const {
    child.session = tag();
    return child;
  }
};

[[nodiscard]] std::uint32_t number_of(const Bytes& packet) { return load_be<std::uint32_t>(packet.data() + 28); }

struct Two {
  explicit Two(unsigned workers = 2, std::vector<std::string> names = {"udp", "tls", "tcp"})
      : client{with(names, false, workers)}, headend{with(names, true, workers)} {
    for (unsigned i = 0; i < workers; ++i) {
      tunnels.push_back({i});
      install(tunnels.back());
    }
    client.plane->start();
    headend.plane->start();
  }
  EndOptions with(const std::vector<std::string>& names, bool is_headend, unsigned workers) const {
    EndOptions options;
    options.transports = names;
    options.registry = &wire.registry;
    options.headend = is_headend;
    options.workers = workers;
    return options;
  }
  void install(const Tunnel& tunnel) const {
    client.plane->install(tunnel.client(udp));
    headend.plane->install(tunnel.headend(turned(udp)));
  }
  void use(const Tunnel& tunnel, const AddressPair& path) const {
    client.plane->use_paths(tunnel.tag(), path);
    headend.plane->use_paths(tunnel.tag(), turned(path));
    client.settle();
    headend.settle();
  }

  FakeWire wire;
  const AddressPair udp = path_by(kUdpTransport), tls = path_by(kTlsTransport), tcp = path_by(kTcpTransport);
  End client, headend;
  std::vector<Tunnel> tunnels;
};

}  // namespace

TEST_CASE("packets of every worker's session go both ways by every transport from every queue", "[dataplane][cores]") {
  for (const unsigned workers : {2U, 3U}) {
    Two two{workers};
    for (const auto& path : {two.udp, two.tls, two.tcp}) {
      for (const auto& tunnel : two.tunnels) {
        two.use(tunnel, path);
        for (std::size_t queue = 0; queue < workers; ++queue) {
          const auto there = tunnel.packet(1), back = tunnel.packet(2, true);
          two.client.route(there, {}, queue);
          const auto came = two.headend.delivered();
          REQUIRE(came);
          CHECK(came->packet == there);
          CHECK(came->queue == tunnel.worker);  // so that the kernel gives the answers to that worker
          two.headend.route(back, {}, queue);
          const auto answered = two.client.delivered();
          REQUIRE(answered);
          CHECK(answered->packet == back);
          CHECK(answered->queue == tunnel.worker);
        }
      }
    }
    two.client.plane->stop();
    two.headend.plane->stop();
    const auto counters = two.client.plane->counters();
    const auto rounds = 3 * workers * workers;
    CHECK(counters.inner_sent == rounds);
    CHECK(counters.handed_inner == rounds - 3 * workers);
    // By the streams' two paths for all but the first worker's.
    CHECK(counters.handed_sealed == 2 * workers * (workers - 1));
    CHECK(counters.handed_arrived >= 2 * workers * (workers - 1));
    CHECK(counters.handover_full == 0);
    CHECK(counters.unknown_spi + counters.no_outbound + counters.no_path + counters.pool_empty == 0);
  }
}

TEST_CASE("with one worker nothing is handed over", "[dataplane][cores]") {
  Two two{1};
  two.client.route(two.tunnels[0].packet(1));
  REQUIRE(two.headend.delivered());
  two.client.plane->stop();
  const auto counters = two.client.plane->counters();
  CHECK(counters.handed_inner + counters.handed_arrived + counters.handed_sealed == 0);
  CHECK(two.client.plane->worker_counters().size() == 1);
}

TEST_CASE("the kernel gives ESP in UDP to the worker that has its SA", "[dataplane][cores][rfc3948]") {
  for (const auto* local : {"127.0.0.1:0", "[::1]:0"}) {
    EndOptions options;
    options.local = {*Endpoint::parse(local)};
    End client{options};
    options.headend = true;
    options.workers = 3;
    End headend{options};
    const AddressPair up{client.local[0], headend.local[0]};
    std::vector<Tunnel> tunnels{{0}, {1}, {2}};
    for (const auto& tunnel : tunnels) {
      client.plane->install(tunnel.client(up));
      headend.plane->install(tunnel.headend(turned(up)));
    }
    client.plane->start();
    headend.plane->start();
    headend.settle();
    for (std::uint32_t i = 0; i < 30; ++i) {
      client.route(tunnels[i % 3].packet(i));
      const auto came = headend.delivered();
      REQUIRE(came);
      CHECK(number_of(came->packet) == i);
      CHECK(came->queue == i % 3);
    }
    for (const auto& tunnel : tunnels) {
      headend.route(tunnel.packet(1, true), {}, tunnel.worker);
      REQUIRE(client.delivered());
    }
    headend.plane->stop();
    for (const auto& worker : headend.plane->worker_counters()) {
      CHECK(worker.inner_received == 10);
      CHECK(worker.inner_sent == 1);
      CHECK(worker.handed_arrived + worker.handed_inner + worker.handed_sealed == 0);
    }
  }
}

TEST_CASE("packets of one flow stay in order on their way through another worker", "[dataplane][cores]") {
  constexpr std::uint32_t kPackets = 3000;
  Two two;
  const auto& tunnel = two.tunnels[1];
  two.use(tunnel, two.tls);
  std::uint32_t next = 0;
  for (std::uint32_t sent = 0; sent < kPackets; ++sent) {
    two.client.route(tunnel.packet(sent), {}, 0);
    // No more on their way than the socket pairs and rings have room for.
    while (sent + 1 - next >= 100 || (sent + 1 == kPackets && next < kPackets)) {
      const auto came = two.headend.delivered();
      REQUIRE(came);
      REQUIRE(number_of(came->packet) == next);
      ++next;
    }
  }
  CHECK(next == kPackets);
  CHECK(two.client.plane->counters().handover_full == 0);
}

TEST_CASE("a full socket at the first worker leaves the others' TUN queues alone, and nothing is lost",
          "[dataplane][cores]") {
  Two two;
  const auto& tunnel = two.tunnels[1];
  two.use(tunnel, two.tls);
  auto& port = two.wire.client[kTlsTransport];
  port.room = 0;
  port.peer = nullptr;
  std::uint32_t sent = 0;
  // Until the queue has been full for as long as a worker could possibly need to empty it.
  for (int full = 0; full < 200;) {
    if (two.client.try_route(tunnel.packet(sent, false, 1300), 1)) {
      ++sent;
      full = 0;
    } else {
      (void)readable(-1, 1);
      ++full;
    }
    REQUIRE(sent < 100'000);
  }
  CHECK(port.sent().empty());
  // Meanwhile the first worker's own session goes on.
  two.client.route(two.tunnels[0].packet(7));
  REQUIRE(two.headend.delivered());
  port.room = 1'000'000;
  port.poke();
  REQUIRE(until([&] { return port.sent().size() == sent; }));
  two.client.plane->stop();
  const auto counters = two.client.plane->counters();
  CHECK(counters.handover_full == 0);
  CHECK(counters.pool_empty == 0);
  // In the order of their sequence numbers, without a gap.
  const auto frames = port.sent();
  for (std::uint32_t i = 0; i < frames.size(); ++i) {
    REQUIRE(load_be<std::uint32_t>(frames[i].octets.data() + 4) == i + 1);
  }
}

TEST_CASE("inner packets for a worker that is behind are dropped and counted, and harm nobody else",
          "[dataplane][cores]") {
  Two two;
  const auto& stuck = two.tunnels[1];
  two.use(stuck, two.tls);
  two.wire.client[kTlsTransport].room = 0;
  std::uint32_t sent = 0;
  while (two.client.plane->counters().handover_full == 0) {
    two.client.route(stuck.packet(sent, false, 1300), {}, 0);
    REQUIRE(++sent < 100'000);
  }
  for (std::uint32_t i = 0; i < 10; ++i) {
    two.client.route(two.tunnels[0].packet(i));
    const auto came = two.headend.delivered();
    REQUIRE(came);
    CHECK(number_of(came->packet) == i);
  }
}

TEST_CASE("a path that sessions of several workers share is closed with the last of them",
          "[dataplane][cores][paths]") {
  Two two;
  auto& port = two.wire.headend[kTlsTransport];
  const auto path = turned(two.tls);
  for (const auto& tunnel : two.tunnels) two.use(tunnel, two.tls);
  const auto spis = [&](std::size_t count) { return until([&] { return port.spis(path).size() == count; }); };
  REQUIRE(spis(2));
  auto newer = two.tunnels[1];
  newer.generation = 1;
  two.install(newer);
  REQUIRE(spis(3));
  two.headend.plane->remove(two.tunnels[1].headend(path).inbound.spi);
  REQUIRE(spis(2));
  two.headend.plane->remove_session(two.tunnels[1].tag());
  REQUIRE(spis(1));
  CHECK(port.spis(path)[0] == two.tunnels[0].headend(path).inbound.spi);
  CHECK(port.closed().empty());
  two.headend.plane->remove_session(two.tunnels[0].tag());
  REQUIRE(until([&] { return port.closed() == std::vector{path}; }));
}

TEST_CASE("the first worker's session leaves a path to another's, which closes it", "[dataplane][cores][paths]") {
  Two two;
  auto& port = two.wire.headend[kTcpTransport];
  const auto path = turned(two.tcp);
  for (const auto& tunnel : two.tunnels) two.use(tunnel, two.tcp);
  two.headend.plane->remove_session(two.tunnels[0].tag());
  two.headend.settle();
  CHECK(port.closed().empty());
  two.headend.plane->use_paths(two.tunnels[1].tag(), turned(two.udp));
  two.headend.plane->remove_path(two.tunnels[1].tag(), path);
  REQUIRE(until([&] { return port.closed() == std::vector{path}; }));
}

TEST_CASE("a connection that is gone is forgotten by every worker and may come again", "[dataplane][cores][paths]") {
  Two two;
  const auto& tunnel = two.tunnels[1];
  two.use(tunnel, two.tls);
  auto& port = two.wire.headend[kTlsTransport];
  REQUIRE(until([&] { return !port.spis(turned(two.tls)).empty(); }));
  PathReport gone;
  gone.kind = PathReport::Kind::closed;
  gone.path = turned(two.tls);
  port.report(gone);
  const auto told = two.headend.event<PathClosed>();
  REQUIRE(told);
  CHECK(told->path == turned(two.tls));
  two.headend.settle();
  two.headend.route(tunnel.packet(1, true), {}, 1);
  REQUIRE(until([&] { return two.headend.plane->counters().no_path == 1; }));
  // The control thread lets go, the peer comes back from the same port.
  two.headend.plane->remove_path(tunnel.tag(), turned(two.tls));
  two.use(tunnel, two.tls);
  two.headend.route(tunnel.packet(2, true), {}, 1);
  const auto came = two.client.delivered();
  REQUIRE(came);
  CHECK(number_of(came->packet) == 2);
}

TEST_CASE("a transport that fails at the first worker fails for all", "[dataplane][cores][paths]") {
  Two two;
  const auto& tunnel = two.tunnels[1];
  two.use(tunnel, two.tls);
  two.wire.headend[kTlsTransport].broken = true;
  two.wire.headend[kTlsTransport].poke();
  const auto failed = two.headend.event<DataPlaneFailed>();
  REQUIRE(failed);
  CHECK(failed->transport == kTlsTransport);
  const auto closed = two.headend.event<PathClosed>();
  REQUIRE(closed);
  CHECK(closed->path == turned(two.tls));
  two.headend.settle();
  two.headend.route(tunnel.packet(1, true), {}, 1);
  REQUIRE(until([&] { return two.headend.plane->counters().no_path >= 1; }));
  two.use(tunnel, two.udp);
  two.headend.route(tunnel.packet(2, true), {}, 0);
  REQUIRE(two.client.delivered());
}

TEST_CASE("after a rekey the other workers hand over to the new Child SA", "[dataplane][cores]") {
  Two two;
  auto tunnel = two.tunnels[1];
  const auto before = tunnel;
  tunnel.generation = 1;
  const auto old_in = before.client(two.udp).inbound.spi;
  auto client = tunnel.client(two.udp), headend = tunnel.headend(turned(two.udp));
  client.replaces = old_in;
  headend.replaces = before.headend(turned(two.udp)).inbound.spi;
  headend.activation = Activation::on_command;
  const auto headend_in = headend.inbound.spi;
  two.headend.plane->install(std::move(headend));
  const auto counters = two.client.plane->install(std::move(client));
  two.headend.settle();
  two.client.settle();
  two.client.route(tunnel.packet(1), {}, 0);
  REQUIRE(two.headend.delivered());
  CHECK(counters.outbound->packets == 1);
  const auto first = two.headend.event<FirstInbound>();
  REQUIRE(first);
  two.headend.plane->switch_outbound(headend_in);
  two.headend.plane->remove(before.headend(turned(two.udp)).inbound.spi);
  two.client.plane->remove(old_in);
  two.headend.settle();
  two.headend.route(tunnel.packet(2, true), {}, 0);
  REQUIRE(two.client.delivered());
  CHECK(counters.inbound->packets == 1);
  two.client.plane->remove_session(tunnel.tag());
  two.client.settle();
  two.client.route(tunnel.packet(3), {}, 0);
  REQUIRE(until([&] { return two.client.plane->counters().no_outbound == 1; }));
}

TEST_CASE("control messages of every worker's session go by the first worker's transports and come back as they are",
          "[dataplane][cores][paths]") {
  Two two;
  const auto& tunnel = two.tunnels[1];
  two.use(tunnel, two.tls);
  Bytes body;
  path::build_control(path::Probe{77, 0, 0, {}}, body);
  two.client.plane->send_control(tunnel.tag(), two.tls, body, true);
  const auto received = two.headend.event<ControlReceived>();
  REQUIRE(received);
  CHECK(received->session == tunnel.tag());
  CHECK(received->path == turned(two.tls));
  CHECK(received->body == body);
  const auto frames = two.wire.client[kTlsTransport].sent();
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].kind == packet::PacketKind::esp);
  CHECK(frames[0].outer == packet::OuterSize::probe);
}

TEST_CASE("an SPI of nobody is refused once, by the worker that it would be of", "[dataplane][cores]") {
  Two two;
  two.wire.headend[kTcpTransport].arrive({packet::PacketKind::esp, packet::OuterSize::fits, turned(two.tcp), [] {
                                            Bytes esp(80, 1);
                                            store_be(esp.data(), std::uint32_t{0x77777});  // odd
                                            return esp;
                                          }()});
  const auto unknown = two.headend.event<UnknownSpi>();
  REQUIRE(unknown);
  CHECK(unknown->spi == Spi{0x77777});
  CHECK(unknown->path == turned(two.tcp));
  two.headend.plane->stop();
  CHECK(two.headend.plane->worker_counters()[0].unknown_spi == 0);
  CHECK(two.headend.plane->worker_counters()[1].unknown_spi == 1);
}

TEST_CASE("a data plane has one to sixteen workers", "[dataplane][cores]") {
  for (const std::size_t count : {0U, 17U}) {
    DataPlaneConfig config;
    for (std::size_t i = 0; i < count; ++i) config.tun.emplace_back(UniqueFd{}, true);
    const auto refused = DataPlane::create(std::move(config));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.find("1 to 16 workers") != std::string::npos);
  }
}
