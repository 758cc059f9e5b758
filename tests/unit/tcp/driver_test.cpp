#include "transports/tcp/driver.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "common/base/unique_fd.h"
#include "common/packet/pool.h"
#include "transports/stream/framing.h"
#include "transports/tcp/connection.h"

using namespace switchback;
using namespace switchback::transports;
using packet::Packet;
using packet::PacketKind;

namespace {

const Instant kStart{std::chrono::seconds{100}};

struct Side {
  explicit Side(bool headend, std::vector<Endpoint> local, const TransportConfig& base = {}) {
    TransportConfig config = base;
    config.name = "tcp";
    config.headend = headend;
    config.local = std::move(local);
    transport = tcp::open(config, pool).value();
  }
  Packet packet(PacketKind kind, const AddressPair& path, std::size_t size, std::uint8_t fill) {
    auto made = pool.allocate(packet::kSendHeadroom);
    for (auto& octet : made.append(size)) octet = fill;
    made.kind = kind;
    made.path = path;
    return made;
  }
  /// One turn of the worker's loop; waits for readiness up to `wait` ms.
  std::size_t turn(int wait = 0) {
    pollfd entry{transport->wait_fd(), POLLIN, 0};
    if (::poll(&entry, 1, wait) == 0) return 0;
    for (std::size_t got = 16; got == 16;) {
      std::vector<Packet> some(16);
      got = transport->receive(some, now).value();
      for (std::size_t i = 0; i < got; ++i) packets.push_back(std::move(some[i]));
    }
    while (auto report = transport->poll_report()) reports.push_back(*std::move(report));
    return 1;
  }
  /// The first of a kind; one of another kind if there is none.
  PathReport find(PathReport::Kind kind) const {
    for (const auto& report : reports) {
      if (report.kind == kind) return report;
    }
    PathReport none;
    none.kind = kind == PathReport::Kind::mtu ? PathReport::Kind::closed : PathReport::Kind::mtu;
    return none;
  }
  bool has(PathReport::Kind kind) const { return find(kind).kind == kind; }
  packet::PacketPool pool{64};
  std::unique_ptr<Transport> transport;
  std::vector<Packet> packets;
  std::vector<PathReport> reports;
  Instant now = kStart;
};

/// Turns of both until it is so, or nothing has happened for long.
template <class Until>
bool run(Side& a, Side& b, const Until& until) {
  for (int idle = 0; idle < 500 && !until();) idle = a.turn() + b.turn(10) == 0 ? idle + 1 : 0;
  return until();
}
template <class Until>
bool run(Side& a, const Until& until) {
  for (int idle = 0; idle < 500 && !until();) idle = a.turn(10) == 0 ? idle + 1 : 0;
  return until();
}

struct Link {
  explicit Link(const char* address = "127.0.0.1:0", const TransportConfig& base = {})
      : client{false, {*Endpoint::parse(address)}}, headend{true, {*Endpoint::parse(address)}, base} {
    remote = headend.transport->local_endpoints()[0];
    client.transport->open_path({7, remote.address, remote}, kStart);
    REQUIRE(run(client, headend, [&] { return !client.reports.empty(); }));
    REQUIRE(client.reports[0].kind == PathReport::Kind::opened);
    REQUIRE(client.reports[0].request == 7);
    path = client.reports[0].path;
    client.reports.clear();
  }
  /// So that the headend has a path to answer on.
  AddressPair introduce() {
    std::vector<Packet> batch;
    batch.push_back(client.packet(PacketKind::ike, path, 100, 1));
    REQUIRE(client.transport->send(batch, kStart).value() == 1);
    REQUIRE(run(client, headend, [&] { return !headend.packets.empty(); }));
    auto seen = headend.packets[0].path;
    headend.packets.clear();
    return seen;
  }
  Endpoint remote;
  Side client, headend;
  AddressPair path;
};

/// A peer made by hand.
struct Raw {
  explicit Raw(const Endpoint& to) : fd{tcp::start_connect({}, to, {}).value()} {
    pollfd entry{fd.get(), POLLOUT, 0};
    REQUIRE(::poll(&entry, 1, 5000) == 1);
  }
  void say(ByteView octets) const {
    REQUIRE(::send(fd.get(), octets.data(), octets.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(octets.size()));
  }
  /// What recv() says once it says something: 0 for FIN, -1 for RST.
  [[nodiscard]] ssize_t ending(Side& side) const {
    std::array<std::uint8_t, 512> octets{};
    ssize_t got = 1;
    bool over = false;
    run(side, [&] {
      if (over) return true;
      got = ::recv(fd.get(), octets.data(), octets.size(), MSG_DONTWAIT);
      over = got == 0 || (got < 0 && errno != EAGAIN);
      return over;
    });
    return got;
  }
  UniqueFd fd;
};

Bytes prefixed() { return {stream::kPrefix.begin(), stream::kPrefix.end()}; }

}  // namespace

TEST_CASE("frames of all sizes travel both ways over IPv4 and IPv6", "[tcp][rfc9329]") {
  for (const auto* address : {"127.0.0.1:0", "[::1]:0"}) {
    Link link{address};
    CHECK(link.path.transport == kTcpTransport);
    CHECK(link.path.local.port != 0);
    CHECK(link.path.remote == link.remote);
    const auto back = link.introduce();
    CHECK(back.local == link.path.remote);
    CHECK(back.remote == link.path.local);

    const std::vector<std::size_t> sizes{34, 35, 60, 1400, 1400, 1400, 100, 9000, 16'000, 40'000, 65'000, 1400, 34};
    for (auto* from : {&link.client, &link.headend}) {
      auto& to = from == &link.client ? link.headend : link.client;
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        std::vector<Packet> batch;
        const auto kind = i % 3 == 2 ? PacketKind::ike : PacketKind::esp;
        batch.push_back(
            from->packet(kind, from == &link.client ? link.path : back, sizes[i], static_cast<std::uint8_t>(i + 1)));
        REQUIRE(from->transport->send(batch, kStart).value() == 1);
        CHECK_FALSE(batch[0]);
        REQUIRE(run(*from, to, [&] { return to.packets.size() > i; }));
      }
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        const auto& packet = to.packets[i];
        CHECK(packet.kind == (i % 3 == 2 ? PacketKind::ike : PacketKind::esp));
        CHECK(packet.size() == sizes[i]);
        CHECK(packet.data().front() == i + 1);
        CHECK(packet.data().back() == i + 1);
        CHECK(packet.path.local == (from == &link.client ? back.local : link.path.local));
      }
      CHECK(from->transport->counters().send_dropped == 0);
      to.packets.clear();
    }
  }
}

TEST_CASE("a batch leaves with few calls, in order, for every connection of it", "[tcp]") {
  Link link;
  link.introduce();
  const auto calls = link.client.transport->counters().send_calls;
  std::vector<Packet> batch;
  for (std::size_t i = 0; i < 50; ++i) {
    batch.push_back(link.client.packet(PacketKind::esp, link.path, 1000, static_cast<std::uint8_t>(i + 1)));
  }
  REQUIRE(link.client.transport->send(batch, kStart).value() == 50);
  CHECK(link.client.transport->counters().send_calls == calls + 1);
  REQUIRE(run(link.client, link.headend, [&] { return link.headend.packets.size() == 50; }));
  for (std::size_t i = 0; i < 50; ++i) CHECK(link.headend.packets[i].data().front() == i + 1);
}

TEST_CASE("a refused connection fails with its reason", "[tcp]") {
  Side client{false, {*Endpoint::parse("127.0.0.1:0")}};
  const auto closed = [] {
    const UniqueFd fd = tcp::open_listener(*Endpoint::parse("127.0.0.1:0"), {}).value();
    return tcp::local_of(fd.get());
  }();
  client.transport->open_path({9, closed.address, closed}, kStart);
  REQUIRE(run(client, [&] { return !client.reports.empty(); }));
  CHECK(client.reports[0].kind == PathReport::Kind::failed);
  CHECK(client.reports[0].request == 9);
  CHECK(client.reports[0].detail.find("connection refused") != std::string::npos);

  // An address that is not this host's.
  client.transport->open_path({10, *IpAddress::parse("192.0.2.1"), closed}, kStart);
  REQUIRE(run(client, [&] { return client.reports.size() == 2; }));
  CHECK(client.reports[1].kind == PathReport::Kind::failed);
  CHECK(client.reports[1].request == 10);
}

TEST_CASE("a connection that does not come about is given up after ten seconds", "[tcp]") {
  // The headend is never turned, so its kernel accepts, but a full backlog does not.
  const UniqueFd full = tcp::open_listener(*Endpoint::parse("127.0.0.1:0"), {}).value();
  REQUIRE(::listen(full.get(), 0) == 0);
  const auto to = tcp::local_of(full.get());
  std::vector<UniqueFd> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(tcp::start_connect({}, to, {}).value());
  Side client{false, {*Endpoint::parse("127.0.0.1:0")}};
  client.transport->open_path({3, to.address, to}, kStart);
  client.turn();
  REQUIRE(client.transport->next_deadline());
  client.transport->handle_deadline(kStart + std::chrono::seconds{9});
  client.turn();
  CHECK(client.reports.empty());
  client.transport->handle_deadline(kStart + std::chrono::seconds{10});
  REQUIRE(run(client, [&] { return !client.reports.empty(); }));
  CHECK(client.reports[0].kind == PathReport::Kind::failed);
  CHECK(client.reports[0].detail.find("no answer") != std::string::npos);
}

TEST_CASE("a stream that arrives octet by octet is understood", "[tcp][rfc9329]") {
  Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
  const Raw peer{headend.transport->local_endpoints()[0]};
  auto octets = prefixed();
  stream::append_frame(stream::Content::ike, Bytes(28, 5), octets);
  octets.insert(octets.end(), {0, 3, 0xFF});  // a keepalive
  stream::append_frame(stream::Content::esp, Bytes(40, 6), octets);
  for (const auto octet : octets) {
    peer.say({&octet, 1});
    headend.turn(1000);
  }
  REQUIRE(run(headend, [&] { return headend.packets.size() == 2; }));
  CHECK(headend.packets[0].kind == PacketKind::ike);
  CHECK(headend.packets[0].size() == 28);
  CHECK(headend.packets[1].kind == PacketKind::esp);
  CHECK(headend.packets[1].size() == 40);
  CHECK(headend.transport->counters().receive_malformed == 0);
}

TEST_CASE("lengths that cannot be close the connection and are counted", "[tcp][rfc9329]") {
  for (const auto length : {std::uint8_t{0}, std::uint8_t{1}}) {
    Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
    const Raw peer{headend.transport->local_endpoints()[0]};
    auto octets = prefixed();
    octets.insert(octets.end(), {0, length, 1, 2, 3});
    peer.say(octets);
    CHECK(peer.ending(headend) <= 0);
    CHECK(headend.transport->counters().receive_malformed == 1);
    REQUIRE(headend.has(PathReport::Kind::closed));
    CHECK(headend.find(PathReport::Kind::closed).detail.find("framing") != std::string::npos);
  }
  // What is no IKE and no ESP within a good frame is only skipped.
  Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
  const Raw peer{headend.transport->local_endpoints()[0]};
  auto octets = prefixed();
  octets.insert(octets.end(), {0, 2, 0, 5, 1, 2, 3, 0, 8, 0, 0, 0, 0, 1, 1});
  stream::append_frame(stream::Content::esp, Bytes(40, 6), octets);
  peer.say(octets);
  REQUIRE(run(headend, [&] { return headend.packets.size() == 1; }));
  CHECK(headend.transport->counters().receive_malformed == 3);
}

TEST_CASE("who does not speak our protocol is closed without a word", "[tcp]") {
  Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
  const Raw peer{headend.transport->local_endpoints()[0]};
  peer.say(as_bytes("GET / HTTP/1.1\r\n\r\n"));
  CHECK(peer.ending(headend) <= 0);
  CHECK(headend.packets.empty());
  CHECK(headend.reports.empty());
}

TEST_CASE("a full connection drops ESP, keeps IKE and probes, and holds nobody up", "[tcp]") {
  Link link;
  link.introduce();
  std::size_t large = 0;
  const auto& counters = link.client.transport->counters();
  // Nobody reads at the other end.
  while (counters.send_dropped == 0) {
    std::vector<Packet> batch;
    for (int i = 0; i < 16; ++i) batch.push_back(link.client.packet(PacketKind::esp, link.path, 1400, 7));
    REQUIRE(link.client.transport->send(batch, kStart).value() == 16);
    large += 16;
    REQUIRE(large < 1'000'000);
  }
  const auto delivered = large - counters.send_dropped;
  const auto dropped = counters.send_dropped;
  // What the network never saw is told, so that it does not look like loss.
  std::size_t told = 0;
  const auto hear_of_drops = [&] {
    while (const auto drops = link.client.transport->poll_own_drops()) {
      CHECK(drops->path == link.path);
      told += drops->packets;
    }
  };
  hear_of_drops();
  CHECK(told == dropped);
  std::vector<Packet> batch;
  batch.push_back(link.client.packet(PacketKind::ike, link.path, 3000, 8));
  batch.push_back(link.client.packet(PacketKind::esp, link.path, 1400, 7));
  batch.push_back(link.client.packet(PacketKind::esp, link.path, 80, 9));
  REQUIRE(link.client.transport->send(batch, kStart).value() == 3);
  CHECK(counters.send_dropped == dropped + 1);
  CHECK(counters.send_blocked >= 1);
  // IKE too is bounded.
  for (int i = 0; i < 200; ++i) {
    std::vector<Packet> one;
    one.push_back(link.client.packet(PacketKind::ike, link.path, 3000, 8));
    REQUIRE(link.client.transport->send(one, kStart).value() == 1);
  }
  CHECK(counters.send_dropped > dropped + 100);
  hear_of_drops();
  CHECK(told == dropped + 1);  // IKE was never counted as data

  std::size_t esp = 0, ike = 0, small = 0;
  run(link.client, link.headend, [&] {
    for (const auto& packet : link.headend.packets) {
      if (packet.kind == PacketKind::ike) ++ike;
      if (packet.kind == PacketKind::esp) ++(packet.size() == 80 ? small : esp);
    }
    link.headend.packets.clear();
    return esp == delivered && small == 1 && ike == 201 - (counters.send_dropped - dropped - 1);
  });
  CHECK(esp == delivered);
  CHECK(small == 1);
  CHECK(ike >= 30);
  CHECK(ike == 201 - (counters.send_dropped - dropped - 1));
}

TEST_CASE("a connection without a session ends after its time, one with a session lives", "[tcp]") {
  TransportConfig base;
  base.unproven_lifetime = std::chrono::seconds{30};
  Link link{"127.0.0.1:0", base};
  const auto back = link.introduce();
  link.headend.transport->handle_deadline(kStart + std::chrono::seconds{29});
  const std::array spis{Spi{0x1234}};
  link.headend.transport->set_inbound_spis(back, spis);
  link.headend.transport->handle_deadline(kStart + std::chrono::seconds{3600});
  link.headend.turn();
  CHECK(link.headend.reports.empty());
  // The session is over: the time begins again.
  link.headend.transport->set_inbound_spis(back, {});
  link.headend.transport->handle_deadline(kStart + std::chrono::seconds{3629});
  link.headend.turn();
  CHECK(link.headend.reports.empty());
  link.headend.transport->handle_deadline(kStart + std::chrono::seconds{3630});
  REQUIRE(run(link.client, link.headend, [&] { return link.client.has(PathReport::Kind::closed); }));
  REQUIRE(link.headend.has(PathReport::Kind::closed));
  CHECK(link.client.find(PathReport::Kind::signal).signal == path::Signal::fin);
}

TEST_CASE("a connection that says nothing is closed after ten seconds", "[tcp]") {
  Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
  const Raw peer{headend.transport->local_endpoints()[0]};
  peer.say(as_bytes("IKE"));
  headend.turn(5000);
  headend.turn();
  headend.transport->handle_deadline(kStart + std::chrono::seconds{9});
  std::array<std::uint8_t, 8> octets{};
  CHECK(::recv(peer.fd.get(), octets.data(), octets.size(), MSG_DONTWAIT) == -1);
  CHECK(errno == EAGAIN);
  headend.transport->handle_deadline(kStart + std::chrono::seconds{10});
  CHECK(peer.ending(headend) <= 0);
}

TEST_CASE("connections are limited for each address and in all", "[tcp]") {
  {
    TransportConfig base;
    base.max_connections_per_address = 2;
    Side headend{true, {*Endpoint::parse("127.0.0.1:0")}, base};
    const auto to = headend.transport->local_endpoints()[0];
    auto first = std::make_unique<Raw>(to);
    const Raw second{to};
    headend.turn(5000);
    headend.turn();
    const Raw third{to};
    CHECK(third.ending(headend) == -1);  // reset
    std::array<std::uint8_t, 8> octets{};
    CHECK(::recv(second.fd.get(), octets.data(), octets.size(), MSG_DONTWAIT) == -1);
    CHECK(errno == EAGAIN);
    // A place that becomes free is given again.
    first.reset();
    headend.turn(5000);
    const Raw fourth{to};
    auto frame = prefixed();
    stream::append_frame(stream::Content::esp, Bytes(40, 6), frame);
    fourth.say(frame);
    CHECK(run(headend, [&] { return headend.packets.size() == 1; }));
  }
  {
    TransportConfig base;
    base.max_connections = 1;
    Link link{"127.0.0.1:0", base};
    const std::array<Spi, 1> spis{Spi{0x01020304}};
    link.headend.transport->set_inbound_spis(link.introduce(), spis);
    const Raw second{link.remote};
    CHECK(second.ending(link.headend) == -1);  // all places are sessions'
    link.introduce();
  }
  CHECK(tcp::holder_of(*IpAddress::parse("2001:db8::1")) == tcp::holder_of(*IpAddress::parse("2001:db8::ffff:1")));
  CHECK(tcp::holder_of(*IpAddress::parse("2001:db8::1")) != tcp::holder_of(*IpAddress::parse("2001:db8:0:1::1")));
  CHECK(tcp::holder_of(*IpAddress::parse("192.0.2.1")) != tcp::holder_of(*IpAddress::parse("192.0.2.2")));
}

TEST_CASE("strangers' connections make room for newer ones, and never for a session's", "[tcp][flood]") {
  TransportConfig base;
  base.max_connections = 8;
  Link link{"127.0.0.1:0", base};
  const auto seen = link.introduce();
  const std::array<Spi, 1> spis{Spi{0x01020304}};
  link.headend.transport->set_inbound_spis(seen, spis);
  // More than there are places for, each at another stage.
  std::vector<std::unique_ptr<Raw>> strangers;
  for (int i = 0; i < 20; ++i) {
    strangers.push_back(std::make_unique<Raw>(link.remote));
    if (i % 2 == 0) strangers.back()->say(prefixed());
    while (link.headend.turn(20) != 0) {
    }
  }
  CHECK(strangers.front()->ending(link.headend) == -1);  // reset
  const Raw honest{link.remote};
  auto frame = prefixed();
  stream::append_frame(stream::Content::esp, Bytes(40, 6), frame);
  honest.say(frame);
  CHECK(run(link.headend, [&] { return link.headend.packets.size() == 1; }));
  // The session's is still there.
  link.headend.packets.clear();
  std::vector<Packet> batch;
  batch.push_back(link.client.packet(PacketKind::ike, link.path, 100, 1));
  REQUIRE(link.client.transport->send(batch, kStart).value() == 1);
  CHECK(run(link.client, link.headend, [&] { return !link.headend.packets.empty(); }));
}

TEST_CASE("FIN and RST are told apart, and told", "[tcp]") {
  for (const bool reset : {false, true}) {
    Side client{false, {*Endpoint::parse("127.0.0.1:0")}};
    const UniqueFd listener = tcp::open_listener(*Endpoint::parse("127.0.0.1:0"), {}).value();
    const auto to = tcp::local_of(listener.get());
    client.transport->open_path({1, to.address, to}, kStart);
    REQUIRE(run(client, [&] { return !client.reports.empty(); }));
    {
      UniqueFd peer{::accept(listener.get(), nullptr, nullptr)};
      const ::linger at_once{reset ? 1 : 0, 0};
      ::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      std::array<std::uint8_t, 6> octets{};
      REQUIRE(::recv(peer.get(), octets.data(), octets.size(), MSG_WAITALL) == 6);
      CHECK(same_bytes(octets, stream::kPrefix));
    }
    REQUIRE(run(client, [&] { return client.reports.size() == 3; }));
    CHECK(client.reports[1].kind == PathReport::Kind::signal);
    CHECK(client.reports[1].signal == (reset ? path::Signal::reset : path::Signal::fin));
    CHECK(client.reports[2].kind == PathReport::Kind::closed);
    CHECK(client.reports[2].detail.find(reset ? "reset" : "closed by the peer") != std::string::npos);
    // Nothing is left of the path.
    std::vector<Packet> batch;
    batch.push_back(client.packet(PacketKind::ike, client.reports[0].path, 100, 1));
    REQUIRE(client.transport->send(batch, kStart).value() == 1);
    CHECK(client.transport->counters().send_dropped == 1);
  }
}

TEST_CASE("what was sent before a path is closed still arrives, and then the end", "[tcp]") {
  Link link;
  link.introduce();
  std::vector<Packet> batch;
  batch.push_back(link.client.packet(PacketKind::ike, link.path, 3000, 8));
  REQUIRE(link.client.transport->send(batch, kStart).value() == 1);
  link.client.transport->close_path(link.path, kStart);
  REQUIRE(run(link.client, link.headend, [&] { return link.headend.has(PathReport::Kind::closed); }));
  REQUIRE(link.headend.packets.size() == 1);
  CHECK(link.headend.packets[0].size() == 3000);
  CHECK(link.headend.find(PathReport::Kind::signal).signal == path::Signal::fin);
  CHECK(link.client.reports.empty());  // the own closing is not reported
}

TEST_CASE("a connection that never runs dry does not keep others from being heard", "[tcp][flood]") {
  Side headend{true, {*Endpoint::parse("127.0.0.1:0")}};
  const auto to = headend.transport->local_endpoints()[0];
  const Raw flood{to};
  auto frames = prefixed();
  for (int i = 0; i < 5000; ++i) stream::append_frame(stream::Content::esp, Bytes(40, 6), frames);
  ByteView left{frames};
  const auto pour = [&] {
    for (;;) {
      const auto sent = ::send(flood.fd.get(), left.data(), left.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0) return;
      left = left.subspan(static_cast<std::size_t>(sent));
      if (left.empty()) left = ByteView{frames}.subspan(stream::kPrefix.size());
    }
  };
  const auto receive = [&] {
    std::vector<Packet> some(16);
    const auto got = headend.transport->receive(some, kStart).value();
    return std::any_of(some.begin(), some.begin() + static_cast<std::ptrdiff_t>(got),
                       [](const Packet& packet) { return packet.data()[0] == 9; });
  };
  pour();
  pollfd entry{headend.transport->wait_fd(), POLLIN, 0};
  REQUIRE(::poll(&entry, 1, 5000) == 1);
  for (int i = 0; i < 50; ++i) (void)receive();
  const Raw other{to};
  auto frame = prefixed();
  stream::append_frame(stream::Content::esp, Bytes(40, 9), frame);
  other.say(frame);
  bool heard = false;
  for (int i = 0; i < 5000 && !heard; ++i) {
    pour();
    heard = receive();
  }
  CHECK(heard);
}
