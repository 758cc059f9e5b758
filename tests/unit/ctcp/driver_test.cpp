#include "transports/ctcp/driver.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <exception>
#include <numeric>
#include <string>
#include <thread>

#include "common/base/unique_fd.h"
#include "common/io/neighbours.h"
#include "common/io/packet_socket.h"
#include "common/packet/pool.h"
#include "transports/ctcp/connection_table.h"
#include "transports/ctcp/segment.h"
#include "transports/registry.h"
#include "transports/stream/framing.h"

using namespace switchback;
using namespace switchback::transports;
using packet::Packet;
using packet::PacketKind;

namespace {

constexpr std::uint16_t kPort = 10000;
constexpr std::size_t kEspBytes = 1000;

IpAddress addr(std::string_view text) { return *IpAddress::parse(text); }
Instant now() { return std::chrono::steady_clock::now(); }

/// Two network namespaces joined by a veth pair; this thread is in the first.
class Lab {
 public:
  Lab() {
    first_ = UniqueFd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    if (::unshare(CLONE_NEWNET) != 0) return;
    headend_ = UniqueFd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    if (::unshare(CLONE_NEWNET) != 0) return;
    client_ = UniqueFd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    const auto headend = "/proc/self/fd/" + std::to_string(headend_.get());
    const auto run = [&](const std::string& command) { return std::system(command.c_str()) == 0; };
    const std::string there = "nsenter --net=" + std::string{"/proc/"} + std::to_string(::getpid()) + "/fd/" +
                              std::to_string(headend_.get()) + " ";
    ok = run("ip link set lo up && ip link add v0 type veth peer name v1") &&
         run("ip link set v1 netns /proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(headend_.get())) &&
         run("ip addr add 10.9.0.1/24 dev v0 && ip addr add fd09::1/64 dev v0 nodad && ip link set v0 up") &&
         run(there + "ip addr add 10.9.0.2/24 dev v1") && run(there + "ip addr add fd09::2/64 dev v1 nodad") &&
         run(there + "ip link set lo up") && run(there + "ip link set v1 up");
  }
  template <class Action>
  auto at_headend(const Action& action) {
    REQUIRE(::setns(headend_.get(), CLONE_NEWNET) == 0);
    auto result = action();
    REQUIRE(::setns(client_.get(), CLONE_NEWNET) == 0);
    return result;
  }
  bool ok = false;

 private:
  UniqueFd first_, headend_, client_;
};

/// Runs `test` on a thread with a Lab of its own.
template <class Test>
void in_lab(const Test& test) {
  bool allowed = false;
  std::exception_ptr failure;
  std::thread{[&] {
    try {
      Lab lab;
      allowed = lab.ok;
      if (allowed) test(lab);
    } catch (...) {
      failure = std::current_exception();
    }
  }}.join();
  if (failure) std::rethrow_exception(failure);
  if (!allowed) WARN("skipped: no privilege for network namespaces");
}

struct Side {
  explicit Side(bool headend, TransportConfig config = {}) {
    config.name = "ctcp";
    config.headend = headend;
    for (const auto family : {IpFamily::v4, IpFamily::v6}) {
      config.local.push_back({IpAddress::any(family), headend ? kPort : std::uint16_t{0}});
    }
    transport = builtin_transports().open(config, pool).value();
  }
  Packet packet(const AddressPair& path, PacketKind kind, std::uint32_t number, std::size_t size = kEspBytes) {
    auto made = pool.allocate(packet::kSendHeadroom);
    const auto octets = made.append(size);
    for (std::size_t i = 0; i < size; ++i) octets[i] = static_cast<std::uint8_t>(number + i * 7);
    store_be(octets.data(), std::uint32_t{0x51000001});
    store_be(octets.data() + 4, number);
    made.kind = kind;
    made.path = path;
    return made;
  }
  void send(const AddressPair& path, PacketKind kind, std::uint32_t first, std::uint32_t count,
            std::size_t size = kEspBytes) {
    std::vector<Packet> batch;
    for (std::uint32_t i = 0; i < count; ++i) batch.push_back(packet(path, kind, first + i, size));
    REQUIRE(transport->send(batch, now()).value() == count);
  }
  /// One turn: what is there, and what is due.
  void turn() {
    std::vector<Packet> some(64);
    const auto got = transport->receive(some, now()).value();
    for (std::size_t i = 0; i < got; ++i) received.push_back(std::move(some[i]));
    if (const auto at = transport->next_deadline(); at && *at <= now()) transport->handle_deadline(now());
    transport->end_turn(now());
    while (auto report = transport->poll_report()) reports.push_back(*std::move(report));
  }
  const PathReport* report(PathReport::Kind kind) const {
    for (const auto& one : reports) {
      if (one.kind == kind) return &one;
    }
    return nullptr;
  }
  packet::PacketPool pool{2048};
  std::unique_ptr<Transport> transport;
  std::deque<Packet> received;
  std::vector<PathReport> reports;
};

/// Turns for all until `done`; false after five seconds.
template <class Done>
bool run_until(std::initializer_list<Side*> sides, const Done& done) {
  const auto end = now() + std::chrono::seconds{5};
  while (now() < end) {
    for (auto* side : sides) side->turn();
    if (done()) return true;
    std::this_thread::yield();
  }
  return false;
}

/// Each ESP packet is as Side::packet() made it. Returns their numbers, sorted.
std::vector<std::uint32_t> check_octets(const std::deque<Packet>& packets, PacketKind kind) {
  std::vector<std::uint32_t> numbers;
  for (const auto& packet : packets) {
    if (packet.kind != kind) continue;
    const auto octets = packet.data();
    const auto number = load_be<std::uint32_t>(octets.data() + 4);
    bool same = load_be<std::uint32_t>(octets.data()) == 0x51000001;
    for (std::size_t i = 8; i < octets.size(); ++i)
      same = same && octets[i] == static_cast<std::uint8_t>(number + i * 7);
    CHECK(same);
    numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::vector<std::uint32_t> range(std::uint32_t first, std::uint32_t count) {
  std::vector<std::uint32_t> all(count);
  std::iota(all.begin(), all.end(), first);
  return all;
}

/// Counts RSTs that come to or leave an interface of this namespace.
class ResetCounter {
 public:
  ResetCounter() : fd_{::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL))} {}
  std::size_t count() {
    std::array<std::uint8_t, 128> octets{};
    std::size_t resets = 0;
    for (;;) {
      const auto got = ::recv(fd_.get(), octets.data(), octets.size(), MSG_TRUNC);
      if (got <= 0) return resets;
      const bool v6 = octets[0] >> 4U == 6;
      const std::size_t ip = v6 ? 40 : 20;
      if (octets[v6 ? 6 : 9] == 6 && (octets[ip + 13] & 0x04U) != 0) ++resets;
    }
  }

 private:
  UniqueFd fd_;
};

}  // namespace

TEST_CASE("client and headend carry IKE and ESP both ways, in both modes and families", "[ctcp]") {
  in_lab([](Lab& lab) {
    for (const bool classic : {false, true}) {
      for (const std::string_view remote : {"10.9.0.2", "fd09::2"}) {
        CAPTURE(classic, remote);
        ResetCounter resets;
        Side client{false};
        auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
        client.transport->open_path({7, {}, {addr(remote), kPort}, classic}, now());
        REQUIRE(
            run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
        const auto path = client.report(PathReport::Kind::opened)->path;
        CHECK(client.report(PathReport::Kind::opened)->request == 7);
        CHECK(path.local.port != 0);
        CHECK_FALSE(path.local.address.is_unspecified());

        client.send(path, PacketKind::ike, 1, 1, 1200);
        REQUIRE(run_until({&client, headend.get()}, [&] { return headend->received.size() == 1; }));
        CHECK(headend->received[0].kind == PacketKind::ike);
        const auto back = headend->received[0].path;
        CHECK(back.local == path.remote);
        CHECK(back.remote == path.local);
        const std::array<Spi, 1> spi{Spi{0x51000001}};
        headend->transport->set_inbound_spis(back, spi);
        client.transport->set_inbound_spis(path, spi);
        headend->send(back, PacketKind::ike, 2, 1, 800);
        // With it comes the headend's window, of which the SYN-ACK could only tell 64 KiB.
        REQUIRE(run_until({&client, headend.get()}, [&] { return client.received.size() == 1; }));
        for (std::uint32_t batch = 0; batch < 20; ++batch) {
          client.send(path, PacketKind::esp, batch * 100, 100);
          headend->send(back, PacketKind::esp, 10000 + batch * 100, 100);
          const auto wanted = (batch + 1) * std::size_t{100} + 1;
          REQUIRE(run_until({&client, headend.get()},
                            [&] { return headend->received.size() >= wanted && client.received.size() >= wanted; }));
        }
        CHECK(check_octets(headend->received, PacketKind::esp) == range(0, 2000));
        CHECK(check_octets(client.received, PacketKind::esp) == range(10000, 2000));
        CHECK(check_octets(client.received, PacketKind::ike) == range(2, 1));
        CHECK(client.transport->counters().send_dropped == 0);
        // Super-segments: far fewer calls than packets.
        CHECK(client.transport->counters().send_calls < 700);
        CHECK(resets.count() == 0);
      }
    }
  });
}

TEST_CASE("an acknowledgement rides on what is sent in the same turn, and else leaves at its end", "[ctcp]") {
  in_lab([](Lab& lab) {
    Side client{false};
    auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
    client.transport->open_path({1, {}, {addr("10.9.0.2"), kPort}, false}, now());
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
    const auto path = client.report(PathReport::Kind::opened)->path;
    client.send(path, PacketKind::ike, 1, 1, 1200);
    REQUIRE(run_until({&client, headend.get()}, [&] { return headend->received.size() == 1; }));
    const auto back = headend->received[0].path;

    for (const bool answers : {true, false}) {
      CAPTURE(answers);
      const auto before = headend->transport->counters().sent_packets;
      client.send(path, PacketKind::esp, 100, 10);
      std::size_t got = 0;
      REQUIRE(run_until({}, [&] {
        std::vector<Packet> some(64);
        got += headend->transport->receive(some, now()).value();
        return got == 10;
      }));
      CHECK(headend->transport->counters().sent_packets == before);
      if (answers) headend->send(back, PacketKind::esp, 200, 1);
      headend->transport->end_turn(now());
      CHECK(headend->transport->counters().sent_packets == before + 1);
    }
  });
}

TEST_CASE("a kernel's TCP client speaks RFC 9329 with our headend, complete and unharmed", "[ctcp][rfc9329]") {
  in_lab([](Lab& lab) {
    ResetCounter resets;
    auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
    const UniqueFd kernel{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    sockaddr_storage name{};
    const auto bytes = Endpoint{addr("10.9.0.2"), kPort}.to_sockaddr(name);
    static_cast<void>(::connect(kernel.get(), reinterpret_cast<const sockaddr*>(&name), bytes));
    Bytes stream{stream::kPrefix.begin(), stream::kPrefix.end()};
    for (std::uint32_t i = 0; i < 3000; ++i) {
      Bytes esp(kEspBytes);
      for (std::size_t k = 0; k < esp.size(); ++k) esp[k] = static_cast<std::uint8_t>(i + k * 7);
      store_be(esp.data(), std::uint32_t{0x51000001});
      store_be(esp.data() + 4, i);
      stream::append_frame(stream::Content::esp, esp, stream);
    }
    std::size_t written = 0, answered = 0;
    stream::StreamParser parser{false};
    Bytes input(65536);
    REQUIRE(run_until({headend.get()}, [&] {
      const auto put = ::send(kernel.get(), stream.data() + written, stream.size() - written, MSG_NOSIGNAL);
      if (put > 0) written += static_cast<std::size_t>(put);
      if (!headend->received.empty() && answered == 0) {
        const std::array<Spi, 1> spi{Spi{0x51000001}};
        headend->transport->set_inbound_spis(headend->received[0].path, spi);
        headend->send(headend->received[0].path, PacketKind::esp, 0, 50);
        answered = 1;
      }
      const auto got = ::recv(kernel.get(), input.data(), input.size(), 0);
      if (got > 0) {
        parser.give(ByteView{input}.first(static_cast<std::size_t>(got)));
        while (const auto frame = parser.next().value()) ++answered;
      }
      return headend->received.size() >= 3000 && answered >= 51;
    }));
    CHECK(check_octets(headend->received, PacketKind::esp) == range(0, 3000));
    CHECK(resets.count() == 0);
  });
}

TEST_CASE("our client speaks RFC 9329 with a kernel's TCP listener, complete and unharmed", "[ctcp][rfc9329]") {
  in_lab([](Lab& lab) {
    ResetCounter resets;
    Side client{false};
    const auto listener = lab.at_headend([] {
      UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
      sockaddr_storage name{};
      const auto bytes = Endpoint{IpAddress::any(IpFamily::v4), kPort}.to_sockaddr(name);
      REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), bytes) == 0);
      REQUIRE(::listen(fd.get(), 4) == 0);
      return fd;
    });
    client.transport->open_path({1, {}, {addr("10.9.0.2"), kPort}, false}, now());
    REQUIRE(run_until({&client}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
    const auto path = client.report(PathReport::Kind::opened)->path;
    const UniqueFd kernel{::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
    REQUIRE(kernel);
    stream::StreamParser parser{true};
    Bytes input(65536);
    std::vector<std::uint32_t> numbers;
    std::uint32_t sent = 0;
    REQUIRE(run_until({&client}, [&] {
      // The kernel's window bounds what we may have outstanding: frames beyond it would be dropped, as intended.
      if (sent < 2000 && sent - numbers.size() < 20) {
        client.send(path, PacketKind::esp, sent, 10);
        sent += 10;
      }
      const auto got = ::recv(kernel.get(), input.data(), input.size(), 0);
      if (got > 0) {
        parser.give(ByteView{input}.first(static_cast<std::size_t>(got)));
        while (const auto frame = parser.next().value()) {
          CHECK(frame->payload.size() == kEspBytes);
          numbers.push_back(load_be<std::uint32_t>(frame->payload.data() + 4));
        }
      }
      return numbers.size() == 2000;
    }));
    CHECK(numbers == range(0, 2000));
    CHECK(client.transport->counters().send_dropped == 0);
    CHECK(resets.count() == 0);
  });
}

TEST_CASE("a port where nothing listens fails the request at once", "[ctcp]") {
  in_lab([](Lab&) {
    Side client{false};
    client.transport->open_path({3, {}, {addr("10.9.0.2"), 1}, false}, now());
    REQUIRE(run_until({&client}, [&] { return client.report(PathReport::Kind::failed) != nullptr; }));
    CHECK(client.report(PathReport::Kind::failed)->request == 3);
  });
}

TEST_CASE("a connection without a session is closed after its time, and an address gets no more than its share",
          "[ctcp]") {
  in_lab([](Lab& lab) {
    Side client{false};
    auto headend = lab.at_headend([] {
      TransportConfig config;
      config.max_connections_per_address = 2;
      config.unproven_lifetime = std::chrono::milliseconds{300};
      return std::make_unique<Side>(true, config);
    });
    for (std::uint64_t i = 0; i < 3; ++i) {
      client.transport->open_path({i, {}, {addr("10.9.0.2"), kPort}, false}, now());
    }
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.reports.size() == 3; }));
    for (const auto& report : std::vector<PathReport>{client.reports}) client.send(report.path, PacketKind::ike, 5, 1);
    REQUIRE(run_until({&client, headend.get()}, [&] {
      return headend->received.size() == 2 && headend->report(PathReport::Kind::closed) != nullptr;
    }));
    CHECK(run_until({&client, headend.get()}, [&] {
      return std::count_if(headend->reports.begin(), headend->reports.end(),
                           [](const auto& report) { return report.kind == PathReport::Kind::closed; }) == 2;
    }));
    CHECK(headend->received.size() == 2);
    // Their ends are told, which is a signal to the client and no more.
    CHECK(client.report(PathReport::Kind::closed) == nullptr);
  });
}

TEST_CASE("what passes the host on its way to others is none of the headend's business", "[ctcp]") {
  in_lab([](Lab& lab) {
    auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
    // The headend's host is the way to an address that is not its own, and to where nobody is.
    REQUIRE(std::system("ip route add 10.10.0.0/24 via 10.9.0.2 && ip -6 route add fd0a::/64 via fd09::2") == 0);
    Side client{false};
    for (const auto* to : {"10.10.0.1", "fd0a::1"}) {
      client.transport->open_path({7, {}, {addr(to), kPort}, false}, now());
    }
    for (const auto* to : {"10.9.0.2", "fd09::2"}) {
      client.transport->open_path({8, {}, {addr(to), kPort}, false}, now());
    }
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.reports.size() >= 2; }));
    for (const auto& report : client.reports) {
      CHECK(report.kind == PathReport::Kind::opened);
      CHECK(report.request == 8);
    }
    // An address that the host gets later is its own, too.
    lab.at_headend([] { return std::system("ip addr add 10.9.0.7/24 dev v1"); });
    client.reports.clear();
    client.transport->open_path({9, {}, {addr("10.9.0.7"), kPort}, false}, now());
    CHECK(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
  });
}

TEST_CASE("segments forged off the path end nothing", "[ctcp]") {
  in_lab([](Lab& lab) {
    Side client{false};
    auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
    client.transport->open_path({1, {}, {addr("10.9.0.2"), kPort}, false}, now());
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
    const auto path = client.report(PathReport::Kind::opened)->path;
    client.send(path, PacketKind::esp, 0, 1);
    REQUIRE(run_until({&client, headend.get()}, [&] { return headend->received.size() == 1; }));

    // With the right addresses and ports, and wrong numbers; another host's socket would need no more to send them.
    auto emitter = io::TcpEmitter::open({});
    auto hops = io::NextHops::open(0);
    REQUIRE(emitter);
    REQUIRE(hops);
    const Bytes payload(500, 0x55);
    const std::array<std::uint8_t, 5> kinds{ctcp::kRst, ctcp::kRst | ctcp::kAck, ctcp::kFin | ctcp::kAck, ctcp::kSyn,
                                            ctcp::kAck};
    for (std::uint32_t i = 0; i < 200; ++i) {
      ctcp::TcpHeader header;
      header.source_port = path.local.port;
      header.destination_port = kPort;
      header.sequence = i * 20000000U;
      header.acknowledgement = i * 31000000U;
      header.flags = kinds[i % kinds.size()];
      std::array<std::uint8_t, 60> octets{};
      io::TcpEmitter::Run run;
      run.source = path.local.address;
      run.destination = path.remote.address;
      run.header = ByteView{octets}.first(ctcp::write_header(header, octets));
      const iovec part{const_cast<std::uint8_t*>(payload.data()), payload.size()};
      if (header.flags == ctcp::kAck) {
        run.payloads = {&part, 1};
        run.segment_bytes = run.payload_bytes = payload.size();
      }
      REQUIRE(emitter->send(run, hops->find(path.remote.address, now()).value()) == io::TcpEmitter::Outcome::sent);
    }
    client.send(path, PacketKind::esp, 1, 50);
    CHECK(run_until({&client, headend.get()}, [&] { return headend->received.size() == 51; }));
    CHECK(check_octets(headend->received, PacketKind::esp) == range(0, 51));
    CHECK(headend->report(PathReport::Kind::closed) == nullptr);
    CHECK(client.report(PathReport::Kind::closed) == nullptr);
    CHECK(headend->report(PathReport::Kind::signal) == nullptr);
  });
}

TEST_CASE("a headend that restarted is found out, and its client's path is closed", "[ctcp]") {
  in_lab([](Lab& lab) {
    Side client{false};
    auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
    client.transport->open_path({1, {}, {addr("10.9.0.2"), kPort}, false}, now());
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
    const auto path = client.report(PathReport::Kind::opened)->path;
    client.send(path, PacketKind::esp, 0, 10);
    REQUIRE(run_until({&client, headend.get()}, [&] { return headend->received.size() == 10; }));
    // The new one has no keys of the old one's, and answers what it does not know with RST.
    lab.at_headend([&] {
      headend.reset();
      headend = std::make_unique<Side>(true);
      return 0;
    });
    std::uint32_t number = 10;
    auto next = now();
    CHECK(run_until({&client, headend.get()}, [&] {
      if (now() >= next && client.report(PathReport::Kind::closed) == nullptr) {
        client.send(path, PacketKind::esp, number++, 1);
        next = now() + std::chrono::milliseconds{50};
      }
      return client.report(PathReport::Kind::closed) != nullptr;
    }));
    CHECK(client.report(PathReport::Kind::signal) != nullptr);
    CHECK(headend->received.empty());
    // And a new connection is served.
    client.reports.clear();
    client.transport->open_path({2, {}, {addr("10.9.0.2"), kPort}, false}, now());
    CHECK(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
  });
}

TEST_CASE("strangers' connections make room for newer ones, and never for a session's", "[ctcp]") {
  in_lab([](Lab& lab) {
    Side client{false};
    auto headend = lab.at_headend([] {
      TransportConfig config;
      config.max_connections = 6;  // of which three may be without a session
      return std::make_unique<Side>(true, config);
    });
    std::vector<AddressPair> paths;
    const auto open = [&] {
      client.reports.clear();
      client.transport->open_path({1, {}, {addr("10.9.0.2"), kPort}, false}, now());
      REQUIRE(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
      paths.push_back(client.report(PathReport::Kind::opened)->path);
      const auto before = headend->received.size();
      client.send(paths.back(), PacketKind::esp, static_cast<std::uint32_t>(paths.size()), 1);
      run_until({&client, headend.get()}, [&] { return headend->received.size() > before; });
      return headend->received.size() > before;
    };
    const auto prove = [&] {
      const std::array<Spi, 1> spi{Spi{0x51000001}};
      headend->transport->set_inbound_spis(headend->received.back().path, spi);
    };
    const auto closed = [&] {
      return std::count_if(headend->reports.begin(), headend->reports.end(),
                           [](const auto& report) { return report.kind == PathReport::Kind::closed; });
    };
    REQUIRE(open());
    prove();
    for (int i = 0; i < 3; ++i) REQUIRE(open());
    CHECK(closed() == 0);
    for (int i = 0; i < 2; ++i) REQUIRE(open());
    CHECK(closed() == 2);
    client.send(paths[0], PacketKind::esp, 100, 1);
    client.send(paths[1], PacketKind::esp, 101, 1);  // the oldest without a session
    client.send(paths[5], PacketKind::esp, 102, 1);
    CHECK(run_until({&client, headend.get()}, [&] { return headend->received.size() == 8; }));
    CHECK(check_octets(headend->received, PacketKind::esp) == std::vector<std::uint32_t>{1, 2, 3, 4, 5, 6, 100, 102});
  });
}

TEST_CASE("over an interface that is not Ethernet segments go one by one", "[ctcp]") {
  in_lab([](Lab&) {
    for (const bool classic : {false, true}) {
      Side client{false};
      Side headend{true};
      client.transport->open_path({1, {}, {addr("127.0.0.1"), kPort}, classic}, now());
      REQUIRE(run_until({&client, &headend}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
      const auto path = client.report(PathReport::Kind::opened)->path;
      client.send(path, PacketKind::esp, 0, 1);
      REQUIRE(run_until({&client, &headend}, [&] { return headend.received.size() == 1; }));
      headend.send(headend.received[0].path, PacketKind::esp, 500, 1);
      REQUIRE(run_until({&client, &headend}, [&] { return client.received.size() == 1; }));
      for (std::uint32_t batch = 0; batch < 5; ++batch) {
        client.send(path, PacketKind::esp, 1 + batch * 100, 100);
        headend.send(headend.received[0].path, PacketKind::esp, 501 + batch * 100, 100);
        const auto wanted = (batch + 1) * std::size_t{100} + 1;
        REQUIRE(run_until({&client, &headend},
                          [&] { return headend.received.size() >= wanted && client.received.size() >= wanted; }));
      }
      CHECK(check_octets(headend.received, PacketKind::esp) == range(0, 501));
      CHECK(check_octets(client.received, PacketKind::esp) == range(500, 501));
      CHECK(client.transport->counters().send_calls >= 500);
    }
  });
}

TEST_CASE("a full socket holds up what is to be sent, and nothing is lost or sent twice", "[ctcp]") {
  in_lab([](Lab& lab) {
    TransportConfig config;
    config.socket_buffer = 1;  // the kernel makes it its minimum: less than a super-segment
    // A slow link, so that what was given to the kernel stays in the socket's account.
    if (std::system("tc qdisc add dev v0 root tbf rate 80mbit burst 16kb limit 1mb 2> /dev/null") != 0) {
      WARN("skipped: the kernel has no traffic shaping");
      return;
    }
    Side client{false, config};
    auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
    client.transport->open_path({1, {}, {addr("10.9.0.2"), kPort}, false}, now());
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
    const auto path = client.report(PathReport::Kind::opened)->path;
    client.send(path, PacketKind::esp, 0, 1);
    REQUIRE(run_until({&client, headend.get()}, [&] { return headend->received.size() == 1; }));
    headend->send(headend->received[0].path, PacketKind::esp, 0, 1);
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.received.size() == 1; }));
    std::uint32_t sent = 1;
    std::size_t refused = 0;
    CHECK(run_until({&client, headend.get()}, [&] {
      if (sent < 2001) {
        std::vector<Packet> batch;
        for (std::uint32_t i = 0; i < 50 && sent + i < 2001; ++i) {
          batch.push_back(client.packet(path, PacketKind::esp, sent + i));
        }
        const auto taken = client.transport->send(batch, now()).value();
        refused += batch.size() - taken;
        sent += static_cast<std::uint32_t>(taken);
      }
      return headend->received.size() >= 2001;
    }));
    CHECK(client.transport->counters().send_blocked > 0);
    CHECK(refused > 0);
    CHECK(check_octets(headend->received, PacketKind::esp) == range(0, 2001));
  });
}

TEST_CASE("IPv4 options are passed over, and a packet in fragments counts as malformed once", "[ctcp]") {
  in_lab([](Lab& lab) {
    auto tap = lab.at_headend([] {
      auto opened = io::TcpTap::open(IpFamily::v4, 1U << 20U).value();
      const std::array<std::uint16_t, 1> ports{kPort};
      REQUIRE(opened.set_ports(ports));
      return opened;
    });
    const UniqueFd raw{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
    REQUIRE(raw);
    const auto send = [&](std::size_t options, std::uint16_t fragment, std::size_t payload) {
      Bytes packet(20 + options + 20 + payload);
      packet[0] = static_cast<std::uint8_t>(0x40 | (5 + options / 4));
      store_be(packet.data() + 2, static_cast<std::uint16_t>(packet.size()));
      store_be(packet.data() + 6, fragment);
      packet[8] = 64;
      packet[9] = 6;
      std::copy_n(addr("10.9.0.1").bytes().data(), 4, packet.data() + 12);
      std::copy_n(addr("10.9.0.2").bytes().data(), 4, packet.data() + 16);
      std::fill_n(packet.begin() + 20, options, std::uint8_t{1});  // NOP
      auto* tcp = packet.data() + 20 + options;
      store_be(tcp, std::uint16_t{4321});
      store_be(tcp + 2, kPort);
      tcp[12] = 0x50;
      sockaddr_storage name{};
      const auto bytes = Endpoint{addr("10.9.0.2"), 0}.to_sockaddr(name);
      REQUIRE(::sendto(raw.get(), packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&name), bytes) >
              0);
    };
    Bytes buffer(io::TcpTap::kBufferBytes);
    const auto take = [&](io::ReceivedTcp& message) {
      const auto end = now() + std::chrono::seconds{2};
      auto outcome = io::TcpTap::Outcome::drained;
      while (outcome == io::TcpTap::Outcome::drained && now() < end) outcome = tap.receive(buffer, message);
      return outcome;
    };
    io::ReceivedTcp message;
    send(40, 0, 8);
    REQUIRE(take(message) == io::TcpTap::Outcome::segment);
    CHECK(message.bytes == 28);
    CHECK(load_be<std::uint16_t>(buffer.data() + message.offset) == 4321);
    send(0, 0x2000, 8);  // the first fragment …
    send(0, 0x0004, 8);  // … and another, of which nobody can tell the port
    send(0, 0, 0);
    CHECK(take(message) == io::TcpTap::Outcome::useless);
    CHECK(take(message) == io::TcpTap::Outcome::segment);
    CHECK(tap.receive(buffer, message) == io::TcpTap::Outcome::drained);
  });
}

TEST_CASE("traffic goes on when the next hop's link-layer address changes", "[ctcp]") {
  in_lab([](Lab& lab) {
    Side client{false};
    auto headend = lab.at_headend([] { return std::make_unique<Side>(true); });
    client.transport->open_path({1, {}, {addr("10.9.0.2"), kPort}, false}, now());
    REQUIRE(run_until({&client, headend.get()}, [&] { return client.report(PathReport::Kind::opened) != nullptr; }));
    const auto path = client.report(PathReport::Kind::opened)->path;
    client.send(path, PacketKind::esp, 0, 50);
    REQUIRE(run_until({&client, headend.get()}, [&] { return headend->received.size() == 50; }));
    // As a router does that takes over an address: it says so, and the kernel believes it.
    REQUIRE(lab.at_headend([] { return std::system("ip link set v1 address 02:00:00:00:00:99") == 0; }));
    REQUIRE(std::system("ip neigh replace 10.9.0.2 lladdr 02:00:00:00:00:99 dev v0 nud reachable") == 0);
    client.turn();
    client.send(path, PacketKind::esp, 50, 50);
    CHECK(run_until({&client, headend.get()}, [&] { return headend->received.size() == 100; }));
    CHECK(check_octets(headend->received, PacketKind::esp) == range(0, 100));
  });
}

TEST_CASE("deadlines come in order, however many connections there are", "[ctcp]") {
  constexpr std::size_t kConnections = 10000;
  ctcp::ConnectionTable table;
  std::vector<ctcp::Connection*> all;
  const Instant start{};
  for (std::size_t i = 0; i < kConnections; ++i) {
    auto made = std::make_unique<ctcp::Connection>();
    const auto low = static_cast<std::uint8_t>(i), high = static_cast<std::uint8_t>(i >> 8U);
    const std::array<std::uint8_t, 4> octets{10, 1, high, low};
    made->path = {{addr("10.9.0.2"), kPort}, {IpAddress::from_bytes(octets), 1000}, 0};
    all.push_back(&table.add(std::move(made)));
  }
  CHECK(table.size() == kConnections);
  std::vector<std::uint32_t> due;
  for (std::size_t i = 0; i < kConnections; ++i) {
    const auto at = static_cast<std::uint32_t>(i * 7919 % kConnections);
    table.schedule(*all[i], start + std::chrono::seconds{100});
    table.schedule(*all[i], start + std::chrono::milliseconds{at});
    table.schedule(*all[i], start + std::chrono::seconds{50});  // later: changes nothing
    if (i % 10 == 0) {
      table.remove(*all[i]);
    } else {
      due.push_back(at);
    }
  }
  std::sort(due.begin(), due.end());
  std::vector<std::uint32_t> popped;
  while (const auto at = table.next_deadline()) {
    CHECK(table.pop_due(*at - std::chrono::microseconds{1}) == nullptr);
    REQUIRE(table.pop_due(*at) != nullptr);
    popped.push_back(static_cast<std::uint32_t>((*at - start) / std::chrono::milliseconds{1}));
  }
  CHECK(popped == due);
  CHECK(table.size() == kConnections - kConnections / 10);
}
