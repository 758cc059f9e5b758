#include "transports/tls/driver.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "common/base/unique_fd.h"
#include "common/crypto/pki.h"
#include "common/packet/pool.h"
#include "transports/stream/framing.h"
#include "transports/tcp/connection.h"
#include "transports/tls/context.h"

using namespace switchback;
using namespace switchback::transports;
using packet::Packet;
using packet::PacketKind;

namespace {

const Instant kStart{std::chrono::seconds{100}};

/// The headend's chain and key, made once.
std::shared_ptr<TlsConfig> credentials(Decoy decoy = {}) {
  static const auto issued = [] {
    const auto now = wall_now();
    const auto authority = crypto::CertificateAuthority::create("Test CA", now).value();
    return authority.issue_headend({{"vpn.example.org"}, {}}, now).value();
  }();
  auto made = std::make_shared<TlsConfig>();
  made->certificate_chain = issued.certificate.to_pem();
  made->private_key = issued.key.to_pem().value();
  made->decoy = std::move(decoy);
  return made;
}

struct Side {
  explicit Side(bool headend, const char* address, std::shared_ptr<const TlsConfig> tls) {
    TransportConfig config;
    config.name = "tls";
    config.headend = headend;
    config.local = {*Endpoint::parse(address)};
    config.tls = std::move(tls);
    transport = transports::tls::open(config, pool).value();
  }
  Packet packet(PacketKind kind, const AddressPair& path, std::size_t size, std::uint8_t fill) {
    auto made = pool.allocate(packet::kSendHeadroom);
    for (auto& octet : made.append(size)) octet = fill;
    made.kind = kind;
    made.path = path;
    return made;
  }
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
  packet::PacketPool pool{128};
  std::unique_ptr<Transport> transport;
  std::vector<Packet> packets;
  std::vector<PathReport> reports;
  Instant now = kStart;
};

template <class Until>
bool run(Side& a, Side& b, const Until& until) {
  for (int idle = 0; idle < 500; ++idle) {
    if (until()) return true;
    if (a.turn() + b.turn(10) != 0) idle = 0;
  }
  return false;
}

/// A visitor with OpenSSL's own client, stepped beside the headend.
struct Visitor {
  Visitor(Side& headend, int most_version, bool alpn = true)
      : side{headend},
        fd{tcp::start_connect({}, headend.transport->local_endpoints()[0], {}).value()},
        context{SSL_CTX_new(TLS_client_method())} {
    SSL_CTX_set_max_proto_version(context.get(), most_version);
    ssl.reset(SSL_new(context.get()));
    const std::array<unsigned char, 12> offered{2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    if (alpn) SSL_set_alpn_protos(ssl.get(), offered.data(), offered.size());
    SSL_set_fd(ssl.get(), fd.get());
    SSL_set_connect_state(ssl.get());
    handshake = step([&] { return SSL_do_handshake(ssl.get()); }) == 1;
  }
  /// Repeats a call of OpenSSL until it is through or nothing happens any more.
  template <class Call>
  int step(const Call& call) {
    for (int i = 0; i < 300; ++i) {
      const auto result = call();
      if (result > 0) return result;
      const auto error = SSL_get_error(ssl.get(), result);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return result;
      side.turn(10);
    }
    return -1;
  }
  void say(std::string_view text) {
    REQUIRE(step([&] { return SSL_write(ssl.get(), text.data(), static_cast<int>(text.size())); }) > 0);
  }
  /// Until `wanted` is in it, or the end.
  std::string hear(std::string_view wanted) {
    std::string all;
    std::array<char, 4096> some{};
    while (all.find(wanted) == std::string::npos) {
      const auto got = step([&] { return SSL_read(ssl.get(), some.data(), static_cast<int>(some.size())); });
      if (got <= 0) break;
      all.append(some.data(), static_cast<std::size_t>(got));
    }
    return all;
  }
  Side& side;
  UniqueFd fd;
  transports::tls::SslCtxPtr context;
  transports::tls::SslPtr ssl;
  bool handshake = false;
};

}  // namespace

TEST_CASE("frames of all sizes travel both ways inside TLS 1.3, over IPv4 and IPv6", "[tls][rfc9329][rfc8446]") {
  for (const auto* address : {"127.0.0.1:0", "[::1]:0"}) {
    Side client{false, address, nullptr};
    Side headend{true, address, credentials()};
    const auto remote = headend.transport->local_endpoints()[0];
    client.transport->open_path({7, remote.address, remote}, kStart);
    REQUIRE(run(client, headend, [&] { return !client.reports.empty(); }));
    INFO(client.reports[0].detail);
    REQUIRE(client.reports[0].kind == PathReport::Kind::opened);
    const auto path = client.reports[0].path;
    CHECK(path.transport == kTlsTransport);
    AddressPair back{path.remote, path.local};

    const std::vector<std::size_t> sizes{34, 60, 1400, 9000, 16'000, 17'000, 40'000, 65'000, 1400, 34};
    for (auto* from : {&client, &headend}) {
      auto& to = from == &client ? headend : client;
      std::vector<Packet> batch;
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        batch.push_back(from->packet(i % 3 == 0 ? PacketKind::ike : PacketKind::esp, from == &client ? path : back,
                                     sizes[i], static_cast<std::uint8_t>(i + 1)));
      }
      const auto calls = from->transport->counters().send_calls;
      REQUIRE(from->transport->send(batch, kStart).value() == sizes.size());
      CHECK(from->transport->counters().send_calls == calls + 1);
      CHECK(from->transport->counters().send_dropped == 0);
      REQUIRE(run(client, headend, [&] { return to.packets.size() == sizes.size(); }));
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        const auto& packet = to.packets[i];
        CHECK(packet.kind == (i % 3 == 0 ? PacketKind::ike : PacketKind::esp));
        CHECK(packet.size() == sizes[i]);
        CHECK(packet.data().front() == i + 1);
        CHECK(packet.data().back() == i + 1);
      }
      to.packets.clear();
    }
    // Closing says so, in TLS and in TCP.
    client.transport->close_path(path, kStart);
    REQUIRE(run(client, headend, [&] { return headend.reports.size() >= 2; }));
    CHECK(headend.reports[0].signal == path::Signal::fin);
    CHECK(headend.reports[1].kind == PathReport::Kind::closed);
  }
}

TEST_CASE("a stream larger than any buffer arrives whole as long as it is read", "[tls]") {
  Side client{false, "127.0.0.1:0", nullptr};
  Side headend{true, "127.0.0.1:0", credentials()};
  const auto remote = headend.transport->local_endpoints()[0];
  client.transport->open_path({7, remote.address, remote}, kStart);
  REQUIRE(run(client, headend, [&] { return !client.reports.empty(); }));
  const auto path = client.reports[0].path;
  std::size_t received = 0;
  bool right = true;
  for (std::size_t round = 0; round < 200; ++round) {
    std::vector<Packet> batch;
    for (std::size_t i = 0; i < 20; ++i) {
      batch.push_back(client.packet(PacketKind::esp, path, 1400, static_cast<std::uint8_t>(i + 1)));
    }
    REQUIRE(client.transport->send(batch, kStart).value() == 20);
    headend.turn(5);
    for (const auto& packet : headend.packets) {
      right = right && packet.size() == 1400 && packet.data().front() == packet.data().back();
    }
    received += headend.packets.size();
    headend.packets.clear();
  }
  const auto wanted = 4000 - client.transport->counters().send_dropped;
  run(client, headend, [&] {
    received += headend.packets.size();
    headend.packets.clear();
    return received == wanted;
  });
  CHECK(received == wanted);
  CHECK(right);
  CHECK(headend.transport->counters().receive_malformed == 0);
}

TEST_CASE("a visitor sees a web page, with TLS 1.2 and 1.3, and http/1.1 is what they agree on", "[tls]") {
  Side headend{true, "127.0.0.1:0", credentials()};
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Visitor visitor{headend, version};
    REQUIRE(visitor.handshake);
    CHECK(SSL_version(visitor.ssl.get()) == version);
    const unsigned char* chosen = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(visitor.ssl.get(), &chosen, &size);
    CHECK(std::string(reinterpret_cast<const char*>(chosen), size) == "http/1.1");
    visitor.say("GET / HTTP/1.1\r\nHost: vpn.example.org\r\n\r\n");
    const auto page = visitor.hear("</html>");
    CHECK(page.substr(0, 15) == "HTTP/1.1 200 OK");
    CHECK(page.find("Welcome") != std::string::npos);
    // The same connection again, octet by octet, and with the first letters of our own prefix.
    for (const char c : std::string_view{"IKE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"})
      visitor.say({&c, 1});
    CHECK(visitor.hear("</html>").substr(0, 24) == "HTTP/1.1 405 Not Allowed");
    CHECK(visitor.hear("never").empty());  // closed
  }
  Visitor silent{headend, TLS1_3_VERSION, false};
  REQUIRE(silent.handshake);
  headend.turn(100);
  headend.transport->handle_deadline(kStart + std::chrono::seconds{11});
  silent.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  CHECK(silent.hear("</html>").substr(0, 24) == "HTTP/1.1 400 Bad Request");
  CHECK(headend.reports.empty());
}

TEST_CASE("our prefix is recognised octet by octet after any TLS client's handshake", "[tls][rfc9329]") {
  Side headend{true, "127.0.0.1:0", credentials()};
  Visitor peer{headend, TLS1_3_VERSION};
  REQUIRE(peer.handshake);
  Bytes octets{stream::kPrefix.begin(), stream::kPrefix.end()};
  stream::append_frame(stream::Content::ike, Bytes(60, 5), octets);
  for (const auto octet : octets) {
    peer.say(as_text({&octet, 1}));
    headend.turn(1000);
  }
  for (int i = 0; i < 100 && headend.packets.empty(); ++i) headend.turn(10);
  REQUIRE(headend.packets.size() == 1);
  CHECK(headend.packets[0].size() == 60);
}

TEST_CASE("visitors reach the web server behind, both ways, until it closes", "[tls]") {
  const UniqueFd listener = tcp::open_listener(*Endpoint::parse("127.0.0.1:0"), {}).value();
  Decoy decoy;
  decoy.upstream = tcp::local_of(listener.get());
  Side headend{true, "127.0.0.1:0", credentials(decoy)};
  Visitor visitor{headend, TLS1_3_VERSION};
  REQUIRE(visitor.handshake);
  visitor.say("GET /private HTTP/1.1\r\nHost: a\r\n\r\n");
  UniqueFd server;
  std::string request;
  for (int i = 0; i < 300 && request.size() < 35; ++i) {
    headend.turn(10);
    if (!server) server = UniqueFd{::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK)};
    std::array<char, 100> some{};
    const auto got = ::recv(server.get(), some.data(), some.size(), 0);
    if (got > 0) request.append(some.data(), static_cast<std::size_t>(got));
  }
  CHECK(request == "GET /private HTTP/1.1\r\nHost: a\r\n\r\n");
  // More than the relay holds at a time, then the end.
  std::string answer(300'000, 'x');
  answer += "THE END";
  std::size_t sent = 0;
  std::string heard;
  std::array<char, 4096> some{};
  for (int i = 0; i < 20'000 && heard.size() < answer.size(); ++i) {
    if (sent < answer.size()) {
      const auto got = ::send(server.get(), answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL);
      if (got > 0) sent += static_cast<std::size_t>(got);
      if (sent == answer.size()) server = UniqueFd{};
    }
    headend.turn(1);
    const auto got = SSL_read(visitor.ssl.get(), some.data(), static_cast<int>(some.size()));
    if (got > 0) heard.append(some.data(), static_cast<std::size_t>(got));
  }
  CHECK(heard == answer);
  CHECK(visitor.hear("never").empty());
  CHECK(SSL_get_shutdown(visitor.ssl.get()) == SSL_RECEIVED_SHUTDOWN);  // in order, with close_notify
}

TEST_CASE("a visitor who stops within a record costs no time until more comes", "[tls][flood]") {
  const UniqueFd listener = tcp::open_listener(*Endpoint::parse("127.0.0.1:0"), {}).value();
  Decoy behind;
  behind.upstream = tcp::local_of(listener.get());
  for (const auto& decoy : {Decoy{}, behind}) {
    Side headend{true, "127.0.0.1:0", credentials(decoy)};
    Visitor visitor{headend, TLS1_3_VERSION};
    REQUIRE(visitor.handshake);
    visitor.say("GET / HTTP/1.1\r\n");
    const auto rest = [&] {  // until nothing happens any more
      int turns = 0;
      while (turns < 200 && headend.turn(20) != 0) ++turns;
      return turns;
    };
    CHECK(rest() < 200);
    constexpr std::array<std::uint8_t, 9> kPartOfRecord{23, 3, 3, 1, 0, 1, 2, 3, 4};
    REQUIRE(::send(visitor.fd.get(), kPartOfRecord.data(), kPartOfRecord.size(), MSG_NOSIGNAL) == 9);
    CHECK(rest() < 200);
  }
}

TEST_CASE("a peer that changes keys again and again for nothing is cut off, one that does so with its data is not",
          "[tls][flood][rfc8446]") {
  const auto before = std::signal(SIGPIPE, SIG_IGN);  // the visitor's OpenSSL raises it
  for (const bool flood : {false, true}) {
    Side headend{true, "127.0.0.1:0", credentials()};
    Visitor visitor{headend, TLS1_3_VERSION};
    REQUIRE(visitor.handshake);
    visitor.say("GET / HTTP/1.1\r\n");
    for (int i = 0; i < (flood ? 500 : 20); ++i) {
      if (SSL_key_update(visitor.ssl.get(), SSL_KEY_UPDATE_NOT_REQUESTED) != 1) break;
      if (visitor.step([&] { return SSL_do_handshake(visitor.ssl.get()); }) != 1) break;
      headend.turn();
    }
    constexpr std::string_view kRest = "Host: a\r\n\r\n";
    (void)visitor.step([&] { return SSL_write(visitor.ssl.get(), kRest.data(), static_cast<int>(kRest.size())); });
    CHECK(visitor.hear("</html>").empty() == flood);
  }
  static_cast<void>(std::signal(SIGPIPE, before));
}

TEST_CASE("our client refuses a server that speaks TLS 1.2 only", "[tls]") {
  const auto config = credentials();
  auto context = transports::tls::server_context(*config).value();
  SSL_CTX_set_max_proto_version(context.get(), TLS1_2_VERSION);
  const UniqueFd listener = tcp::open_listener(*Endpoint::parse("127.0.0.1:0"), {}).value();
  const auto to = tcp::local_of(listener.get());
  Side client{false, "127.0.0.1:0", nullptr};
  client.transport->open_path({5, to.address, to}, kStart);
  UniqueFd fd;
  transports::tls::SslPtr ssl;
  for (int i = 0; i < 300 && client.reports.empty(); ++i) {
    client.turn(10);
    if (!fd) fd = UniqueFd{::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK)};
    if (fd && !ssl) {
      ssl.reset(SSL_new(context.get()));
      SSL_set_fd(ssl.get(), fd.get());
      SSL_set_accept_state(ssl.get());
    }
    if (ssl) SSL_do_handshake(ssl.get());
  }
  REQUIRE(client.reports.size() == 1);
  CHECK(client.reports[0].kind == PathReport::Kind::failed);
  CHECK(client.reports[0].request == 5);
  INFO(client.reports[0].detail);
  CHECK(client.reports[0].detail.find("TLS") != std::string::npos);
}

TEST_CASE("rubbish instead of a handshake ends the connection, silence after ten seconds", "[tls]") {
  Side headend{true, "127.0.0.1:0", credentials()};
  for (const bool silent : {false, true}) {
    const UniqueFd fd = tcp::start_connect({}, headend.transport->local_endpoints()[0], {}).value();
    pollfd entry{fd.get(), POLLOUT, 0};
    REQUIRE(::poll(&entry, 1, 5000) == 1);
    if (!silent) REQUIRE(::send(fd.get(), "\x01\x02\x03\x04 rubbish", 12, MSG_NOSIGNAL) == 12);
    bool over = false;
    for (int i = 0; i < 300 && !over; ++i) {
      headend.turn(10);
      if (silent && i == 20) headend.transport->handle_deadline(kStart + std::chrono::seconds{10});
      std::array<std::uint8_t, 100> some{};
      const auto got = ::recv(fd.get(), some.data(), some.size(), 0);
      over = got == 0 || (got < 0 && errno != EAGAIN);
      if (silent && i < 20) CHECK_FALSE(over);
    }
    CHECK(over);
  }
  CHECK(headend.reports.empty());
}

TEST_CASE("a flood of handshakes is taken no faster than a packet thread can bear, and nobody is refused for it",
          "[tls][flood]") {
  Side headend{true, "127.0.0.1:0", credentials()};
  constexpr std::size_t kVisitors = 200;
  std::vector<UniqueFd> fds;
  for (std::size_t i = 0; i < kVisitors; ++i) {
    fds.push_back(tcp::start_connect({}, headend.transport->local_endpoints()[0], {}).value());
    pollfd entry{fds.back().get(), POLLOUT, 0};
    REQUIRE(::poll(&entry, 1, 5000) == 1);
    REQUIRE(::send(fds.back().get(), "\x01\x02\x03\x04 rubbish", 12, MSG_NOSIGNAL) == 12);
  }
  // Who was taken gets an alert.
  const auto taken = [&] {
    for (int idle = 0; idle < 5;) idle = headend.turn(10) == 0 ? idle + 1 : 0;
    std::size_t count = 0;
    for (const auto& fd : fds) {
      pollfd entry{fd.get(), POLLIN, 0};
      count += ::poll(&entry, 1, 0) == 1 ? 1U : 0U;
    }
    return count;
  };
  const auto at_once = taken();
  CHECK(at_once >= 64);
  CHECK(at_once < 70);
  for (int i = 1; i <= 10; ++i) {
    headend.now = kStart + std::chrono::milliseconds{200 * i};
    headend.transport->handle_deadline(headend.now);
    (void)taken();
  }
  CHECK(taken() == kVisitors);
}

TEST_CASE("a headend without certificate, with a wrong key or without its page does not start", "[tls]") {
  packet::PacketPool pool{4};
  TransportConfig config;
  config.name = "tls";
  config.headend = true;
  config.local = {*Endpoint::parse("127.0.0.1:0")};
  CHECK_FALSE(transports::tls::open(config, pool));
  auto broken = credentials();
  broken->private_key = Secret{as_bytes("nothing")};
  config.tls = broken;
  CHECK(transports::tls::open(config, pool).error().message.find("key") != std::string::npos);
  auto empty = credentials();
  empty->certificate_chain.clear();
  config.tls = empty;
  CHECK(transports::tls::open(config, pool).error().message.find("certificate") != std::string::npos);
  Decoy decoy;
  decoy.page_file = "/nonexistent/page.html";
  config.tls = credentials(decoy);
  CHECK(transports::tls::open(config, pool).error().message.find("page") != std::string::npos);
}
