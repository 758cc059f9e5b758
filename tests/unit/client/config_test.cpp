#include "client/config.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "client/transport_setup.h"
#include "common/path/offer.h"
#include "tests/unit/client/temporary_directory.h"

namespace switchback::client {
namespace {

using path::TransportKind;

/// A profile in a file, as `connect` wants it.
struct Given {
  explicit Given(std::string_view more = "") {
    options.profile = (directory.path / "alice.toml").string();
    std::ofstream file{options.profile};
    file << "version = 1\n[headend]\naddresses = [\"vpn.example.org\", \"192.0.2.1\"]\nidentity = \"vpn.example.org\"\n"
            "[authentication]\nmethod = \"psk\"\nidentity = \"alice\"\npsk = \"correct horse battery staple\"\n"
         << more;
    file.close();
    REQUIRE(::chmod(options.profile.c_str(), 0600) == 0);
  }
  [[nodiscard]] Config config() const {
    auto made = make_config(options);
    if (!made) FAIL(made.error().message);
    return std::move(*made);
  }
  [[nodiscard]] std::string error() const {
    const auto made = make_config(options);
    REQUIRE_FALSE(made.has_value());
    return made.error().message;
  }
  TemporaryDirectory directory;
  ConnectOptions options;
};

/// A registry in which some transports cannot be opened.
Result<std::unique_ptr<transports::Transport>, UserError> refuses(const transports::TransportConfig& config,
                                                                  packet::PacketPool& /*pool*/) {
  return fail_user(config.name + " is not permitted here");
}
Result<std::unique_ptr<transports::Transport>, UserError> opens(const transports::TransportConfig& /*config*/,
                                                                packet::PacketPool& /*pool*/) {
  return std::unique_ptr<transports::Transport>{};
}

std::vector<std::string> names(const TransportSetup& setup) {
  std::vector<std::string> all;
  for (const auto& one : setup.wanted) all.push_back(one.name);
  return all;
}

constexpr std::array kBoth{IpFamily::v4, IpFamily::v6};

}  // namespace

TEST_CASE("the order is the profile's, unless the command line has one; each transport once", "[config]") {
  CHECK(Given{}.config().order == std::vector<TransportKind>{TransportKind::udp, TransportKind::esp,
                                                             TransportKind::ctcp, TransportKind::tls,
                                                             TransportKind::tcp});
  Given given{"[transports]\norder = [\"tls\", \"udp\"]\nctcp_mode = \"classic\"\n"};
  CHECK(given.config().order == std::vector<TransportKind>{TransportKind::tls, TransportKind::udp});
  CHECK(given.config().ctcp_classic);
  given.options.order = {"tcp", "esp", "tcp"};
  given.options.ctcp_mode = "resilient";
  CHECK(given.config().order == std::vector<TransportKind>{TransportKind::tcp, TransportKind::esp});
  CHECK_FALSE(given.config().ctcp_classic);
  CHECK_FALSE(given.config().forced);
}

TEST_CASE("a forced transport is the only one, whatever the order", "[config]") {
  Given given{"[transports]\norder = [\"udp\"]\n"};
  given.options.transport = "tls";
  const auto config = given.config();
  CHECK(config.forced == TransportKind::tls);
  CHECK(config.order == std::vector<TransportKind>{TransportKind::tls});
}

TEST_CASE("unknown transports and modes are refused with those that exist", "[config]") {
  Given given;
  given.options.transport = "quic";
  CHECK(given.error().find("--transport: there is no transport \"quic\": use auto, udp, esp") != std::string::npos);
  given.options.transport = "auto";
  given.options.order = {"udp", "dtls"};
  CHECK(given.error().find("--order: there is no transport \"dtls\"") != std::string::npos);
  given.options.order.clear();
  given.options.ctcp_mode = "modern";
  CHECK(given.error().find("--ctcp-mode: \"modern\"") != std::string::npos);
}

TEST_CASE("only UDP floats to another port, and only native ESP does without a forged NAT", "[config][rfc7296]") {
  const auto config = Given{}.config();
  const auto udp = make_session_config(config, {}, TransportKind::udp);
  CHECK(udp->nat_t_port == 4500);
  CHECK(udp->force_udp_encapsulation);
  CHECK(udp->wait_before_auth);
  REQUIRE(udp->auth_notifies.size() == 1);
  CHECK(udp->auth_notifies.front().type == path::kInBandNotify);
  CHECK(make_session_config(config, {}, TransportKind::tls)->nat_t_port == 0);
  const auto esp = make_session_config(config, {}, TransportKind::esp);
  CHECK(esp->nat_t_port == 0);
  CHECK_FALSE(esp->force_udp_encapsulation);
}

TEST_CASE("every wanted transport is set up, and UDP beside ESP for its IKE", "[config]") {
  Given given;
  auto setup = make_transports(given.config(), kBoth, 7);
  CHECK(names(setup) == std::vector<std::string>{"udp", "esp", "ctcp", "tls", "tcp"});
  for (const auto& one : setup.wanted) {
    CHECK(one.mark == 7);
    CHECK(one.local.size() == 2);
  }
  REQUIRE(setup.wanted[3].tls);
  CHECK(setup.wanted[3].tls->server_name == "vpn.example.org");  // the first that is a name
  given.options.transport = "esp";
  given.options.local = "192.0.2.7";
  setup = make_transports(given.config(), kBoth, 0);
  CHECK(names(setup) == std::vector<std::string>{"esp", "udp"});
  CHECK(setup.wanted.front().local == std::vector<Endpoint>{{*IpAddress::parse("192.0.2.7"), 0}});
}

TEST_CASE("what cannot be opened is left out with its reason, and is an error only when forced", "[config]") {
  transports::TransportRegistry registry;
  for (const auto* name : {"udp", "tcp"}) registry.add(name, &opens);
  for (const auto* name : {"esp", "ctcp"}) registry.add(name, &refuses);  // and tls is not known at all
  Given given;
  auto config = given.config();
  const auto kept = keep_openable(make_transports(config, kBoth, 0), config, registry);
  REQUIRE(kept);
  CHECK(names(*kept) == std::vector<std::string>{"udp", "tcp"});
  REQUIRE(kept->left_out.size() == 3);
  CHECK(kept->left_out[0].transport == TransportKind::esp);
  CHECK(kept->left_out[0].why == "esp is not permitted here");
  given.options.transport = "ctcp";
  config = given.config();
  const auto forced = keep_openable(make_transports(config, kBoth, 0), config, registry);
  REQUIRE_FALSE(forced);
  CHECK(forced.error().message.find("ctcp is not permitted here") != std::string::npos);
}

TEST_CASE("ESP goes without UDP, and nothing at all is an error that names everything", "[config]") {
  transports::TransportRegistry registry;
  registry.add("udp", &refuses);
  registry.add("esp", &opens);
  Given given;
  given.options.order = {"udp", "esp"};
  const auto config = given.config();
  const auto kept = keep_openable(make_transports(config, kBoth, 0), config, registry);
  REQUIRE_FALSE(kept);
  CHECK(kept.error().message.find("udp: udp is not permitted here") != std::string::npos);
  CHECK(kept.error().message.find("esp: there is no UDP for its IKE") != std::string::npos);
}

TEST_CASE("answers of all transports that may be used are let in, each port once", "[config][routes]") {
  Given given;
  const auto headend = *IpAddress::parse("192.0.2.1");
  const std::array headends{headend, IpAddress{}};
  TransportPorts ports;
  ports.ctcp = {443, 10000};
  CHECK(outer_flows(given.config(), ports, headends) == std::vector<OuterFlow>{{headend, 17, 4500},
                                                                               {headend, 17, 500},
                                                                               {headend, 50, 0},
                                                                               {headend, 6, 443},
                                                                               {headend, 6, 4500},
                                                                               {headend, 6, 10000}});
  given.options.transport = "tls";
  CHECK(outer_flows(given.config(), ports, headends) == std::vector<OuterFlow>{{headend, 6, 443}});
}

}  // namespace switchback::client
