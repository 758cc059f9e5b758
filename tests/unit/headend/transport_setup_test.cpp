#include "headend/transport_setup.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>

#include "common/base/unique_fd.h"
#include "headend/files.h"
#include "tests/unit/headend/temporary_directory.h"

using namespace switchback;
using namespace switchback::headend;

namespace {

const std::vector<IpAddress> kBoth{*IpAddress::parse("0.0.0.0"), *IpAddress::parse("::")};
const std::vector<IpAddress> kLoopback{*IpAddress::parse("127.0.0.1")};

Config sample(const test::TemporaryDirectory& directory) {
  Config config;
  config.layout = {directory.path()};
  config.transports.tls_certificate_file = directory.path() + "/web.crt";
  config.transports.tls_private_key_file = directory.path() + "/web.key";
  REQUIRE(write_new_file(config.transports.tls_certificate_file, as_bytes(std::string_view{"chain"}), 0600));
  REQUIRE(write_new_file(config.transports.tls_private_key_file, as_bytes(std::string_view{"key"}), 0600));
  return config;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("each transport listens on every address, at its own ports", "[headend][transports]") {
  const test::TemporaryDirectory directory;
  auto config = sample(directory);
  config.transports.ctcp_ports = {10000, 80};
  config.transports.ctcp_modes = {"classic"};
  const auto made = make_transports(config, kBoth).value();
  REQUIRE(made.size() == 5);
  const auto locals = [&](std::size_t i) {
    std::string text = made[i].name + ":";
    for (const auto& local : made[i].local) text += " " + local.to_string();
    return text;
  };
  CHECK(locals(0) == "udp: 0.0.0.0:500 0.0.0.0:4500 [::]:500 [::]:4500");
  CHECK(locals(1) == "esp: 0.0.0.0:0 [::]:0");
  CHECK(locals(2) == "ctcp: 0.0.0.0:10000 0.0.0.0:80 [::]:10000 [::]:80");
  CHECK(locals(3) == "tls: 0.0.0.0:443 [::]:443");
  CHECK(locals(4) == "tcp: 0.0.0.0:4500 [::]:4500");
  CHECK(made[2].ctcp_classic);
  CHECK_FALSE(made[2].ctcp_resilient);
  REQUIRE(made[3].tls);
  CHECK(made[3].tls->certificate_chain == "chain");
  CHECK(as_text(made[3].tls->private_key.view()) == "key");
  for (const auto& transport : made) {
    CHECK(transport.headend);
    CHECK(transport.max_connections >= config.max_sessions);
  }
}

TEST_CASE("what is off is not opened, and its files are not read", "[headend][transports]") {
  const test::TemporaryDirectory directory;
  Config config;
  config.layout = {directory.path()};
  config.transports.enabled = {"tcp", "udp"};
  config.transports.tls_certificate_file = "/nonexistent";
  const auto made = make_transports(config, kLoopback).value();
  REQUIRE(made.size() == 2);
  CHECK(made[0].name == "tcp");
  CHECK(made[1].name == "udp");
}

TEST_CASE("files of tls that are not there are named", "[headend][transports]") {
  const test::TemporaryDirectory directory;
  auto config = sample(directory);
  SECTION("certificate") {
    config.transports.tls_certificate_file = directory.path() + "/none.crt";
    CHECK(has(make_transports(config, kLoopback).error().message, "/none.crt"));
  }
  SECTION("page") {
    config.transports.tls_page_file = directory.path() + "/none.html";
    CHECK(has(make_transports(config, kLoopback).error().message, "/none.html"));
  }
}

TEST_CASE("a TCP port that another program has is told with the key that moves it", "[headend][transports]") {
  const UniqueFd other{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(name);
  REQUIRE(::bind(other.get(), reinterpret_cast<const sockaddr*>(&name), length) == 0);
  REQUIRE(::listen(other.get(), 1) == 0);
  REQUIRE(::getsockname(other.get(), reinterpret_cast<sockaddr*>(&name), &length) == 0);
  const auto port = ntohs(name.sin_port);

  const test::TemporaryDirectory directory;
  auto config = sample(directory);
  const auto error = [&](const char* transport) {
    config.transports.enabled = {transport};
    const auto checked = check_transports(config, make_transports(config, kLoopback).value());
    return checked ? std::string{"free"} : checked.error().message;
  };
  config.transports.tcp_port = config.transports.tls_port = port;
  config.transports.ctcp_ports = {port};
  const auto tls = error("tls");
  CHECK(has(tls, config.layout.config() + ": transports.tls_port: cannot listen on TCP 127.0.0.1:" +
                     std::to_string(port) + " for tls: another program has the port"));
  CHECK(has(tls, "remove \"tls\" from transports.enabled"));
  CHECK(has(error("tcp"), "transports.tcp_port: "));
  CHECK(has(error("ctcp"), "transports.ctcp_ports: "));
}

TEST_CASE("clients are offered what is on, in the headend's order", "[headend][transports]") {
  Config config;
  config.nat_t_port = 4501;
  config.transports.enabled = {"tls", "udp", "esp", "ctcp"};
  config.transports.ctcp_ports = {10000, 80};
  config.transports.ctcp_modes = {"resilient"};
  const auto offer = path::parse_offer(path::build_offer(make_offer(config))).value();
  using path::TransportKind;
  CHECK(offer.kinds() == std::vector{TransportKind::tls, TransportKind::udp, TransportKind::esp, TransportKind::ctcp});
  REQUIRE(offer.transports.size() == 5);
  CHECK(offer.find(TransportKind::tls)->port == 443);
  CHECK(offer.find(TransportKind::udp)->port == 4501);
  CHECK(offer.find(TransportKind::esp)->port == 0);
  CHECK(offer.find(TransportKind::ctcp)->resilient);
  CHECK_FALSE(offer.find(TransportKind::ctcp)->classic);
  CHECK(offer.find(TransportKind::tcp) == nullptr);
  CHECK(offer.control_version == path::kControlVersion);
}
