#include <catch2/catch.hpp>

#include "common/path/control.h"
#include "tests/unit/dataplane/fake_wire.h"
#include "tests/unit/packet/builders.h"

using namespace switchback;
using namespace switchback::testing;
using namespace switchback::transports;

namespace {

constexpr SessionTag kSession{7};

/// A path of the client; the headend's is the same turned round.
AddressPair path_by(TransportId transport, std::uint16_t port = 4000) {
  return {{*IpAddress::parse("192.0.2.1"), port}, {*IpAddress::parse("198.51.100.1"), 4500}, transport};
}
AddressPair turned(const AddressPair& path) { return {path.remote, path.local, path.transport}; }

Bytes ping(std::uint8_t mark = 0, bool back = false) {
  PacketSpec spec;
  spec.source = back ? "10.9.0.2" : "10.9.0.1";
  spec.destination = back ? "10.9.0.1" : "10.9.0.2";
  spec.payload = counting(100, mark);
  return make_udp(spec);
}

Bytes probe(std::uint64_t id) {
  Bytes body;
  path::build_control(path::Probe{id, 0, 0, {}}, body);
  return body;
}

struct Two {
  explicit Two(std::vector<std::string> names = {"udp", "tls", "tcp"})
      : client{with(names, false)}, headend{with(names, true)} {
    install();
    client.plane->start();
    headend.plane->start();
  }
  EndOptions with(const std::vector<std::string>& names, bool is_headend) const {
    EndOptions options;
    options.transports = names;
    options.registry = &wire.registry;
    options.headend = is_headend;
    return options;
  }
  void install() const {
    client.plane->install(StaticChild{}.make(udp));
    headend.plane->install(StaticChild{}.mirrored().make(turned(udp)));
  }

  FakeWire wire;
  const AddressPair udp = path_by(kUdpTransport), tls = path_by(kTlsTransport), tcp = path_by(kTcpTransport);
  End client, headend;
};

/// How many events of the type come before the control thread's queue is empty. Pre: the data plane is stopped.
template <class Event>
std::size_t count_of(End& end) {
  std::vector<DataPlaneEvent> events;
  end.plane->drain_events(events);
  std::size_t count = 0;
  for (const auto& event : events) count += std::holds_alternative<Event>(event) ? 1U : 0U;
  return count;
}

}  // namespace

TEST_CASE("what a transport drops for having no room was never sent on the path", "[dataplane][paths]") {
  Two two;
  const auto by_tls = two.client.plane->add_path(kSession, two.tls);
  two.client.plane->use_paths(kSession, two.tls);
  two.client.settle();
  two.wire.client[kTlsTransport].leaks = 2;
  for (std::uint8_t i = 1; i <= 5; ++i) two.client.route(ping(i));
  for (int delivered = 0; delivered < 3; ++delivered) REQUIRE(two.headend.delivered());
  two.client.plane->stop();
  CHECK(by_tls->sent_packets == 3);
  CHECK(by_tls->sent_data == 5);  // what the user wanted to send: a path that takes nothing is not an idle one
}

TEST_CASE("each path of a session counts what goes over it", "[dataplane][paths]") {
  Two two;
  const auto by_udp = two.client.plane->add_path(kSession, two.udp);
  const auto by_tls = two.client.plane->add_path(kSession, two.tls);
  const auto in_udp = two.headend.plane->add_path(kSession, turned(two.udp));
  const auto in_tls = two.headend.plane->add_path(kSession, turned(two.tls));
  CHECK(two.client.plane->add_path(kSession, two.tls) == by_tls);
  two.headend.settle();
  two.client.route(ping(1));
  REQUIRE(two.headend.delivered());
  two.client.plane->use_paths(kSession, two.tls);
  for (std::uint8_t i = 2; i < 5; ++i) {
    two.client.route(ping(i));
    REQUIRE(two.headend.delivered());
  }
  two.client.plane->send_control(kSession, two.udp, probe(1));
  REQUIRE(two.headend.event<ControlReceived>());
  two.client.plane->stop();
  two.headend.plane->stop();
  CHECK(by_udp->sent_data == 1);
  CHECK(by_udp->sent_packets == 2);
  CHECK(by_tls->sent_data == 3);
  CHECK(by_tls->sent_packets == 3);
  CHECK(in_udp->received_packets == 2);
  CHECK(in_udp->received_octets == ping().size());
  CHECK(in_udp->last_in != 0);
  CHECK(in_tls->received_packets == 3);
  CHECK(in_tls->received_octets == 3 * ping().size());
  CHECK(in_tls->sent_packets == 0);
  CHECK(count_of<PeerMoved>(two.headend) == 0);
}

TEST_CASE("a packet with a hop limit of its own is a sealed dummy that nothing counts", "[dataplane][paths]") {
  Two two;
  const auto by_udp = two.client.plane->add_path(kSession, two.udp);
  auto& port = two.wire.client[kUdpTransport];
  two.client.plane->send_limited(kSession, two.udp, probe(1), 3, 77);
  auto said = two.client.event<LimitedSent>();
  REQUIRE(said);
  CHECK_FALSE(said->possible);  // the transport cannot
  CHECK_FALSE(said->packet);
  port.limited = LimitedKind::esp;
  two.client.plane->send_limited(kSession, two.udp, probe(1), 3, 78);
  said = two.client.event<LimitedSent>();
  REQUIRE(said);
  CHECK(said->possible);
  CHECK(said->token == 78);
  CHECK(said->hop_limit == 3);
  CHECK(said->path == two.udp);
  REQUIRE(said->packet);
  CHECK(said->packet->destination == two.udp.remote.address);
  port.limited = LimitedKind::bare_segment;
  two.client.plane->send_limited(kSession, two.udp, probe(1), 4, 79);
  REQUIRE(two.client.event<LimitedSent>());
  const auto sent = port.sent();
  REQUIRE(sent.size() == 2);
  CHECK(sent[0].kind == packet::PacketKind::esp);
  CHECK(sent[0].octets.size() > probe(1).size());
  CHECK(sent[0].hop_limit == 3);
  CHECK(sent[1].octets.empty());
  CHECK(sent[1].hop_limit == 4);
  // As it is, it opens at the other end, should it get there.
  two.wire.headend[kUdpTransport].arrive(
      {packet::PacketKind::esp, packet::OuterSize::fits, turned(two.udp), sent[0].octets, 0});
  CHECK(two.headend.event<ControlReceived>());
  two.client.plane->stop();
  CHECK(by_udp->sent_packets == 0);
  CHECK(by_udp->sent_data == 0);
}

TEST_CASE("a twin gets the very same ESP packets, and the peer's TUN each once", "[dataplane][paths]") {
  Two two;
  const auto by_tcp = two.client.plane->add_path(kSession, two.tcp);
  two.client.plane->use_paths(kSession, two.udp, two.tcp);
  two.headend.plane->use_paths(kSession, turned(two.udp), turned(two.tcp));
  const auto in_udp = two.headend.plane->add_path(kSession, turned(two.udp));
  const auto in_tcp = two.headend.plane->add_path(kSession, turned(two.tcp));
  two.headend.settle();
  for (std::uint8_t i = 0; i < 10; ++i) {
    two.client.route(ping(i));
    const auto got = two.headend.delivered();
    REQUIRE(got);
    CHECK(got->packet == ping(i));
  }
  REQUIRE(until([&] { return in_udp->received_packets == 10 && in_tcp->received_packets == 10; }));
  two.client.plane->stop();
  two.headend.plane->stop();
  const auto first = two.wire.client[kUdpTransport].sent(), second = two.wire.client[kTcpTransport].sent();
  REQUIRE(first.size() == 10);
  REQUIRE(second.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(first[i].octets == second[i].octets);
    CHECK(second[i].path == two.tcp);
    CHECK(second[i].kind == packet::PacketKind::esp);
  }
  CHECK(two.client.plane->counters().twins_sent == 10);
  CHECK(by_tcp->sent_data == 10);
  CHECK(two.headend.plane->counters().tun_written_packets == 10);
}

TEST_CASE("IPv6 that a narrow path does not take whole is left to the transport to cut, on twins too",
          "[dataplane][paths][rfc8200]") {
  Two two;
  two.client.plane->use_paths(kSession, two.udp, two.tls);
  two.client.plane->set_inner_mtu(kSession, 1218);
  PacketSpec spec;
  spec.source = "fd09::1";
  spec.destination = "fd09::2";
  for (const auto octets : std::initializer_list<std::size_t>{1218, 1219, 1280}) {
    spec.payload = counting(octets - 48);
    two.client.route(make_udp(spec));
    REQUIRE(two.headend.delivered());
  }
  two.client.plane->stop();
  for (const auto id : {kUdpTransport, kTlsTransport}) {
    const auto sent = two.wire.client[id].sent();
    REQUIRE(sent.size() == 3);
    CHECK(sent[0].outer == packet::OuterSize::fits);
    CHECK(sent[1].outer == packet::OuterSize::cut);
    CHECK(sent[2].outer == packet::OuterSize::cut);
  }
}

TEST_CASE("a twin that is full or broken loses its copies, and the data goes on", "[dataplane][paths]") {
  Two two;
  two.client.plane->use_paths(kSession, two.udp, two.tcp);
  auto& port = two.wire.client[kTcpTransport];
  port.room = 0;
  SECTION("full") {}
  SECTION("broken") { port.broken = true; }
  for (std::uint8_t i = 0; i < 5; ++i) {
    two.client.route(ping(i));
    REQUIRE(two.headend.delivered());
  }
  two.client.plane->stop();
  CHECK(port.sent().empty());
  CHECK(two.client.plane->counters().twins_sent == 0);
}

TEST_CASE("control messages pass both ways on a path that carries no data", "[dataplane][paths]") {
  Two two;
  const auto in_tls = two.headend.plane->add_path(kSession, turned(two.tls));
  two.headend.settle();
  for (std::uint64_t i = 1; i < 4; ++i) {
    two.client.plane->send_control(kSession, two.tls, probe(i), i == 3);
    const auto there = two.headend.event<ControlReceived>();
    REQUIRE(there);
    CHECK(there->session == kSession);
    CHECK(there->path == turned(two.tls));
    CHECK(there->body == probe(i));
    CHECK(there->received_packets == i);
    CHECK(there->at > Instant{});
    two.headend.plane->send_control(kSession, there->path, probe(100 + i));
    const auto back = two.client.event<ControlReceived>();
    REQUIRE(back);
    CHECK(back->path == two.tls);
    CHECK(back->body == probe(100 + i));
    CHECK(back->received_packets == 0);  // the client never added it
  }
  two.client.plane->stop();
  two.headend.plane->stop();
  const auto sent = two.wire.client[kTlsTransport].sent();
  REQUIRE(sent.size() == 3);
  CHECK(sent[1].outer == packet::OuterSize::fits);
  CHECK(sent[2].outer == packet::OuterSize::probe);
  CHECK(two.wire.client[kUdpTransport].sent().empty());
  CHECK(two.headend.plane->counters().tun_written_packets == 0);
  CHECK(count_of<PeerMoved>(two.headend) == 0);
  CHECK(count_of<PeerMoved>(two.client) == 0);  // a control message alone is no move
}

TEST_CASE("data by an unknown path is told once a second, by a known one never", "[dataplane][paths]") {
  Two two;
  const bool known = GENERATE(false, true);
  if (known) (void)two.headend.plane->add_path(kSession, turned(two.tcp));
  two.headend.settle();
  two.client.plane->use_paths(kSession, two.tcp);
  for (std::uint8_t i = 0; i < 5; ++i) {
    two.client.route(ping(i));
    REQUIRE(two.headend.delivered());
  }
  two.headend.plane->stop();
  CHECK(count_of<PeerMoved>(two.headend) == (known ? 0 : 1));
}

TEST_CASE("control messages that the control thread does not fetch are bounded and counted", "[dataplane][paths]") {
  Two two;
  for (std::uint64_t i = 0; i < 3 * kControlBurst; ++i) two.client.plane->send_control(kSession, two.udp, probe(i));
  REQUIRE(until([&] { return two.headend.plane->counters().esp_dummy == 3 * kControlBurst; }));
  CHECK(two.headend.plane->counters().control_dropped == 2 * kControlBurst);
  std::vector<DataPlaneEvent> events;
  two.headend.plane->drain_events(events);
  // Fetched, they make room for as many more.
  for (std::uint64_t i = 0; i < kControlBurst; ++i) two.client.plane->send_control(kSession, two.udp, probe(i));
  REQUIRE(until([&] { return two.headend.plane->counters().esp_dummy == 4 * kControlBurst; }));
  CHECK(two.headend.plane->counters().control_dropped == 2 * kControlBurst);
  two.headend.plane->stop();
  CHECK(count_of<ControlReceived>(two.headend) == kControlBurst);
}

TEST_CASE("NAT keepalives go out only while UDP is in use", "[dataplane][paths][rfc3948]") {
  Two two;
  auto idle = StaticChild{}.make(two.udp);
  idle.nat_keepalive = std::chrono::milliseconds{1};
  const bool by_udp = GENERATE(true, false);
  if (!by_udp) two.client.plane->use_paths(kSession, two.tls);
  two.client.plane->install(std::move(idle));
  const auto keepalives = [&](TransportId id) {
    std::size_t count = 0;
    for (const auto& frame : two.wire.client[id].sent()) count += frame.kind == packet::PacketKind::keepalive ? 1U : 0U;
    return count;
  };
  if (by_udp) {
    CHECK(until([&] { return keepalives(kUdpTransport) != 0; }));
  } else {
    // A second session's keepalive shows that deadlines were looked at.
    StaticChild second;
    second.spi_in = 0x7001;
    second.spi_out = 0x8001;
    second.remote = {"10.77.0.0/16"};
    auto marker = second.make(two.udp);
    marker.session = SessionTag{8};
    marker.nat_keepalive = std::chrono::milliseconds{1};
    two.client.plane->install(std::move(marker));
    REQUIRE(until([&] { return keepalives(kUdpTransport) != 0; }));
    CHECK(keepalives(kTlsTransport) == 0);
  }
}

TEST_CASE("transports hear of a session's SPIs on each of its paths, and of its end", "[dataplane][paths]") {
  Two two;
  auto& tls = two.wire.client[kTlsTransport];
  (void)two.client.plane->add_path(kSession, two.tls);
  REQUIRE(until([&] { return tls.spis(two.tls) == std::vector{Spi{0x1001}}; }));
  StaticChild next;
  next.spi_in = 0x1002;
  next.spi_out = 0x2002;
  two.client.plane->install(next.make(two.udp));
  REQUIRE(until([&] { return tls.spis(two.tls) == std::vector{Spi{0x1001}, Spi{0x1002}}; }));
  two.client.plane->remove(Spi{0x1001});
  REQUIRE(until([&] { return tls.spis(two.tls) == std::vector{Spi{0x1002}}; }));
  SECTION("a path taken away is closed") {
    two.client.plane->remove_path(kSession, two.tls);
    REQUIRE(until([&] { return !tls.closed().empty(); }));
    CHECK(two.wire.client[kUdpTransport].closed().empty());
  }
  SECTION("so are all when the session goes, after what was sent on them") {
    two.client.plane->send_ike(two.tls, counting(40));
    two.client.plane->remove_session(kSession);
    REQUIRE(until([&] { return !tls.closed().empty() && !two.wire.client[kUdpTransport].closed().empty(); }));
    CHECK(tls.sent().size() == 1);
  }
  CHECK(tls.closed() == std::vector{two.tls});
  CHECK(tls.spis(two.tls).empty());
}

TEST_CASE("opening a path ends in one answer, with the transport's number", "[dataplane][paths]") {
  Two two;
  const auto local = two.tcp.local.address;
  two.client.plane->open_path(kTcpTransport, {5, local, two.tcp.remote, false});
  const auto opened = two.client.event<PathOpened>();
  REQUIRE(opened);
  CHECK(opened->request == 5);
  CHECK(opened->path == AddressPair{{local, 4321}, two.tcp.remote, kTcpTransport});
  two.client.plane->open_path(kTlsTransport, {6, local, {two.tcp.remote.address, 0}, false});
  const auto failed = two.client.event<PathFailed>();
  REQUIRE(failed);
  CHECK(failed->request == 6);
  CHECK(failed->transport == kTlsTransport);
  CHECK(failed->detail == "port 0 is nobody's");
  two.client.plane->open_path(kCtcpTransport, {7, local, two.tcp.remote, false});
  const auto missing = two.client.event<PathFailed>();
  REQUIRE(missing);
  CHECK(missing->request == 7);
  CHECK(missing->transport == kCtcpTransport);
  CHECK(missing->detail == "this end does not run the transport ctcp");
  CHECK(two.client.plane->has(kTcpTransport));
  CHECK_FALSE(two.client.plane->has(kCtcpTransport));
  CHECK(two.client.plane->local_endpoints(kCtcpTransport).empty());
}

TEST_CASE("what is sent to a transport that is not there is dropped and counted", "[dataplane][paths]") {
  Two two;
  two.client.plane->send_ike(path_by(kCtcpTransport), counting(40));
  two.client.plane->send_control(kSession, path_by(kCtcpTransport), probe(1));
  two.client.plane->send_ike(path_by(200), counting(40));
  two.client.plane->close_path(path_by(kCtcpTransport));
  two.client.plane->use_paths(kSession, path_by(kCtcpTransport));
  two.client.route(ping());
  REQUIRE(until([&] { return two.client.plane->counters().no_path == 5; }));
  two.client.plane->use_paths(kSession, two.udp);
  two.client.route(ping(9));
  CHECK(two.headend.delivered());
}

TEST_CASE("a transport that fails for good is told with its paths, and the others go on", "[dataplane][paths]") {
  Two two;
  (void)two.client.plane->add_path(kSession, two.tls);
  two.client.settle();  // before it breaks, not in the same moment
  two.wire.client[kTlsTransport].broken = true;
  two.wire.client[kTlsTransport].poke();
  const auto broken = two.client.event<DataPlaneFailed>();
  REQUIRE(broken);
  CHECK(broken->transport == kTlsTransport);
  const auto closed = two.client.event<PathClosed>();
  REQUIRE(closed);
  CHECK(closed->path == two.tls);
  two.client.plane->open_path(kTlsTransport, {8, two.tls.local.address, two.tls.remote, false});
  const auto failed = two.client.event<PathFailed>();
  REQUIRE(failed);
  CHECK(failed->detail == "the transport tls has failed at this end");
  two.client.route(ping());
  CHECK(two.headend.delivered());
}

TEST_CASE("paths that close and signals in their headers are told with their transport", "[dataplane][paths]") {
  Two two;
  auto& port = two.wire.client[kTcpTransport];
  PathReport signal;
  signal.kind = PathReport::Kind::signal;
  signal.path = {two.tcp.local, two.tcp.remote};
  signal.signal = path::Signal::duplicate_acks;
  signal.count = 2;
  std::uint32_t counted = 0;
  for (int i = 0; i < 3; ++i) port.report(signal);
  while (counted < 6) {
    const auto told = two.client.event<PathSignal>();
    REQUIRE(told);
    CHECK(told->path == two.tcp);
    CHECK(told->signal == path::Signal::duplicate_acks);
    counted += told->count;
  }
  CHECK(counted == 6);
  PathReport closed;
  closed.kind = PathReport::Kind::closed;
  closed.path = {two.tcp.local, two.tcp.remote};
  closed.detail = "reset by peer";
  for (int i = 0; i < 50; ++i) port.report(closed);
  for (int i = 0; i < 50; ++i) {
    const auto told = two.client.event<PathClosed>();
    REQUIRE(told);
    CHECK(told->path == two.tcp);
    CHECK(told->detail == "reset by peer");
  }
}

TEST_CASE("a connection that takes a closed one's addresses and ports is not the old session's", "[dataplane][paths]") {
  Two two;
  auto& tls = two.wire.client[kTlsTransport];
  two.client.plane->use_paths(kSession, two.tls);
  two.client.route(ping());
  REQUIRE(two.headend.delivered());
  REQUIRE(until([&] { return tls.sent().size() == 1; }));
  PathReport closed;
  closed.kind = PathReport::Kind::closed;
  closed.path = {two.tls.local, two.tls.remote};
  tls.report(closed);
  REQUIRE(two.client.event<PathClosed>());
  // From now on a stranger has it, until the control thread has heard of it and longer.
  two.client.route(ping(9));
  REQUIRE(until([&] { return two.client.plane->counters().no_path == 1; }));
  CHECK(tls.sent().size() == 1);
  StaticChild stranger;
  stranger.spi_in = 0x7001;
  stranger.spi_out = 0x8001;
  stranger.remote = {"10.77.0.0/16"};
  auto theirs = stranger.make(two.tls);
  theirs.session = SessionTag{8};
  two.client.plane->install(std::move(theirs));
  REQUIRE(until([&] { return tls.spis(two.tls) == std::vector{Spi{0x7001}}; }));
  SECTION("it lets go of it") { two.client.plane->remove_path(kSession, two.tls); }
  SECTION("it ends") { two.client.plane->remove_session(kSession); }
  two.client.settle();
  CHECK(tls.closed().empty());
  CHECK(tls.spis(two.tls) == std::vector{Spi{0x7001}});
  two.client.plane->remove_session(SessionTag{8});
  REQUIRE(until([&] { return tls.closed() == std::vector{two.tls}; }));
}

TEST_CASE("a connection with two sessions hears of the SPIs of both, and stays while one is left",
          "[dataplane][paths]") {
  Two two;
  auto& tls = two.wire.client[kTlsTransport];
  (void)two.client.plane->add_path(kSession, two.tls);
  StaticChild next;
  next.spi_in = 0x7001;
  next.spi_out = 0x8001;
  next.remote = {"10.77.0.0/16"};
  auto anew = next.make(two.tls);
  anew.session = SessionTag{8};
  two.client.plane->install(std::move(anew));
  REQUIRE(until([&] { return tls.spis(two.tls).size() == 2; }));
  two.client.plane->remove_session(kSession);
  REQUIRE(until([&] { return tls.spis(two.tls) == std::vector{Spi{0x7001}}; }));
  two.client.settle();
  CHECK(tls.closed().empty());
  two.client.plane->remove_session(SessionTag{8});
  REQUIRE(until([&] { return !tls.closed().empty(); }));
  CHECK(tls.spis(two.tls).empty());
}

TEST_CASE("a transport's own deadline wakes the packet thread, which otherwise sleeps", "[dataplane][paths]") {
  Two two;
  auto& port = two.wire.client[kTcpTransport];
  REQUIRE(until([&] { return two.client.plane->counters().loop_turns != 0; }));
  port.set_deadline(monotonic_now() + std::chrono::milliseconds{30});
  REQUIRE(until([&] { return port.deadlines_met == 1; }));
  two.client.plane->stop();
  CHECK(two.client.plane->counters().loop_turns < 20);
}

TEST_CASE("of too many paths the oldest that carries nothing gives way", "[dataplane][paths]") {
  Two two;
  two.client.plane->use_paths(kSession, two.udp, two.tcp);
  for (std::uint16_t i = 0; i < kMaxPaths; ++i) {
    (void)two.client.plane->add_path(kSession, path_by(kTlsTransport, static_cast<std::uint16_t>(5000 + i)));
  }
  auto& tls = two.wire.client[kTlsTransport];
  REQUIRE(until([&] { return tls.closed().size() == 2; }));
  CHECK(tls.closed() == std::vector{path_by(kTlsTransport, 5000), path_by(kTlsTransport, 5001)});
  two.client.route(ping());
  REQUIRE(two.headend.delivered());
  CHECK(until([&] { return two.client.plane->counters().twins_sent == 1; }));
}

TEST_CASE("a full transport holds up its own packets and the TUN, but not what waits for another",
          "[dataplane][paths]") {
  Two two;
  StaticChild second;
  second.spi_in = 0x7001;
  second.spi_out = 0x8001;
  second.local = {"10.9.0.1/32"};
  second.remote = {"10.77.0.1/32"};
  auto child = second.make(two.tls);
  child.session = SessionTag{8};
  two.client.plane->install(std::move(child));
  two.wire.client[kUdpTransport].room = 0;
  two.client.route(ping());
  REQUIRE(until([&] { return two.client.plane->counters().inner_sent == 1; }));
  two.client.plane->send_ike(two.tls, counting(50));
  REQUIRE(until([&] { return two.wire.client[kTlsTransport].sent().size() == 1; }));
  two.wire.client[kUdpTransport].room = 10;
  two.wire.client[kUdpTransport].poke();
  CHECK(two.headend.delivered());
}
