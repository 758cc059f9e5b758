#include "headend/config.h"

#include <catch2/catch.hpp>

#include "tests/unit/headend/temporary_directory.h"

using namespace switchback;
using namespace switchback::headend;

namespace {

Result<Config, UserError> parse(const std::string& text) { return parse_config(text, "headend.toml", {"/etc/vpn"}); }

/// The error of a file whose line 8 is the one given.
std::string error_of(const std::string& line, const std::string& section = "[network]") {
  const auto parsed = parse("version = 1\n[headend]\nidentity = \"vpn.example.org\"\naddresses = [\"192.0.2.1\"]\n" +
                            (section == "[headend]" ? std::string{"\n\n\n"} : "\n" + section + "\n\n") + line +
                            (section == "[network]" ? "\n" : "\n[network]\n") + "pool = \"10.0.0.0/24\"\n");
  return parsed ? "accepted" : parsed.error().message;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("what init renders is accepted and means what was chosen", "[headend][config]") {
  ConfigChoices choices;
  choices.identity = "vpn.example.org";
  choices.addresses = {"192.0.2.1", "2001:db8::1", "vpn.example.org"};
  choices.pool = IpPrefix::parse("10.99.0.0/16");
  choices.pool6 = IpPrefix::parse("fd12:3456:789a::/64");
  choices.dns = {*IpAddress::parse("192.0.2.53")};
  choices.routes = {*IpPrefix::parse("192.168.0.0/16")};
  const auto config = parse(render_config(choices));
  REQUIRE(config);
  CHECK(config->identity == "vpn.example.org");
  CHECK(config->addresses == choices.addresses);
  CHECK(config->pool == choices.pool);
  CHECK(config->pool6 == choices.pool6);
  CHECK(config->dns == choices.dns);
  CHECK(config->routes == choices.routes);
  CHECK(config->ca_key_file == "/etc/vpn/pki/ca.key");
  CHECK(config->control_socket == "/run/switchback/headend-swb-head0.sock");
  CHECK(config->nat);
  CHECK_FALSE(config->ike_proposals.empty());
}

TEST_CASE("every default that the template shows in a comment is accepted when uncommented", "[headend][config]") {
  ConfigChoices choices;
  choices.identity = "192.0.2.1";
  choices.addresses = {"192.0.2.1"};
  choices.pool = IpPrefix::parse("10.99.0.0/16");
  const auto defaults = parse(render_config(choices));
  REQUIRE(defaults);
  auto text = render_config(choices);
  for (std::size_t at = 0; (at = text.find("\n# ", at)) != std::string::npos; ++at) {
    // A commented key: a word, then " = ".
    const auto line = text.substr(at + 3, text.find('\n', at + 1) - at - 3);
    const auto equals = line.find(" = ");
    if (equals != std::string::npos && line.substr(0, equals).find(' ') == std::string::npos) text.erase(at + 1, 2);
  }
  const auto spelled_out = parse(text);
  if (!spelled_out) FAIL(spelled_out.error().message);
  CHECK(spelled_out->ike_proposals == defaults->ike_proposals);
  CHECK(spelled_out->listen == defaults->listen);
  CHECK(spelled_out->max_sessions == defaults->max_sessions);
  CHECK(spelled_out->max_half_open == defaults->max_half_open);
  CHECK(spelled_out->max_half_open_per_address == defaults->max_half_open_per_address);
  CHECK(spelled_out->max_connections_per_address == defaults->max_connections_per_address);
  CHECK(spelled_out->cookie_threshold == defaults->cookie_threshold);
  CHECK(spelled_out->new_sessions_per_second == Approx(defaults->new_sessions_per_second));
  CHECK(spelled_out->liveness == defaults->liveness);
  CHECK(spelled_out->ike_rekey == defaults->ike_rekey);
  CHECK(spelled_out->child_rekey == defaults->child_rekey);
  CHECK(spelled_out->mtu == defaults->mtu);
  CHECK(spelled_out->transports.enabled == defaults->transports.enabled);
  CHECK(spelled_out->transports.ctcp_ports == defaults->transports.ctcp_ports);
  CHECK(spelled_out->transports.ctcp_modes == defaults->transports.ctcp_modes);
  CHECK(spelled_out->transports.tcp_port == defaults->transports.tcp_port);
  CHECK(spelled_out->transports.tls_port == defaults->transports.tls_port);
  CHECK(spelled_out->transports.tls_private_key_file == defaults->transports.tls_private_key_file);
  CHECK(spelled_out->private_key_file == defaults->private_key_file);
  CHECK(spelled_out->control_socket == defaults->control_socket);
}

TEST_CASE("workers default to all processors but one, and to at most four", "[headend][config][cores]") {
  const std::vector<unsigned> expected{1, 1, 1, 2, 3, 4, 4};
  for (unsigned processors = 0; processors < expected.size(); ++processors) {
    CHECK(default_workers(processors) == expected[processors]);
  }
  CHECK(default_workers(128) == 4);
  CHECK(default_workers() >= 1);
}

TEST_CASE("errors name file, line, key and remedy", "[headend][config]") {
  CHECK(has(error_of("workers = 0"), "network.workers: "));
  CHECK(has(error_of("workers = 17"), "from 1 to 16"));
  const auto mtu = error_of("mtu = 100");
  CHECK(has(mtu, "headend.toml:8: network.mtu: "));
  CHECK(has(mtu, "from 1280 to 9000"));
  CHECK(has(error_of("mtu = \"1400\""), "headend.toml:8: network.mtu: must be a whole number"));
  CHECK(has(error_of("nat = 1"), "network.nat: must be true or false"));
  CHECK(has(error_of("dns = [\"dns.example.org\"]"), "network.dns: \"dns.example.org\" is not an IP address"));
  CHECK(has(error_of("dns = \"192.0.2.53\""), "network.dns: must be a list"));
  CHECK(has(error_of("routes = [\"10.0.0.0/33\"]"), "network.routes: \"10.0.0.0/33\" is not a prefix"));
  CHECK(has(error_of("pool6 = \"10.0.0.0/8\""), "network.pool6: \"10.0.0.0/8\" is not an IPv6 prefix"));
  CHECK(has(error_of("pool6 = \"fd00::/127\""), "network.pool6: must have a length from /8 to /126"));
  CHECK(has(error_of("tun = \"a name that is too long\""), "network.tun: must be an interface name"));
  CHECK(has(error_of("forwarding = false"), "network.nat: needs forwarding = true"));
  CHECK(has(error_of("search_domains = [\"-x\"]"), "network.search_domains: \"-x\" is not a domain name"));
  CHECK(has(error_of("ike = [\"aes128gcm16-prfsha999-x25519\"]", "[crypto]"), "headend.toml:8: crypto.ike: "));
  CHECK(has(error_of("esp = []", "[crypto]"), "crypto.esp: must have at least one proposal"));
  CHECK(has(error_of("nat_t_port = 500", "[headend]"), "headend.toml:8: headend.nat_t_port: must differ"));
  CHECK(has(error_of("ike_port = 0", "[headend]"), "headend.ike_port: must be a whole number from 1 to 65535"));
  CHECK(has(error_of("listen = [\"::\", \"::\"]", "[headend]"), "headend.listen: names an address twice"));
  CHECK(has(error_of("socket = \"run/x\"", "[control]"), "control.socket: must be an absolute path"));
  CHECK(has(error_of("new_sessions_per_second = 0", "[limits]"),
            "limits.new_sessions_per_second: must be a number from 0.1 to 100000, "));
}

TEST_CASE("without a section for them, all transports are on at their ports", "[headend][config][transports]") {
  const auto config = parse(
      "version = 1\n[headend]\nidentity = \"a\"\naddresses = [\"a\"]\n"
      "[network]\npool = \"10.0.0.0/24\"\n");
  REQUIRE(config);
  const auto& transports = config->transports;
  CHECK(transports.enabled == std::vector<std::string>{"udp", "esp", "ctcp", "tls", "tcp"});
  CHECK(transports.ctcp_ports == std::vector<std::uint16_t>{10000});
  CHECK(transports.has_ctcp_mode("resilient"));
  CHECK(transports.has_ctcp_mode("classic"));
  CHECK(transports.tcp_port == 4500);
  CHECK(transports.tls_port == 443);
  CHECK(transports.tls_certificate_file == "/etc/vpn/pki/headend.crt");
  CHECK(transports.tls_private_key_file == "/etc/vpn/pki/headend.key");
  CHECK(transports.tls_page_file.empty());
  CHECK_FALSE(transports.tls_upstream.has_value());
}

TEST_CASE("transports are turned off, preferred and moved to other ports", "[headend][config][transports]") {
  const auto config = parse(
      "version = 1\n[headend]\nidentity = \"a\"\naddresses = [\"a\"]\n"
      "[network]\npool = \"10.0.0.0/24\"\n[transports]\nenabled = [\"tls\", \"udp\", \"ctcp\"]\n"
      "ctcp_ports = [80, 4500]\nctcp_modes = [\"classic\"]\ntls_port = 8443\n"
      "tls_certificate = \"web.crt\"\ntls_private_key = \"/etc/ssl/web.key\"\n"
      "tls_upstream = \"[::1]:8080\"\n");
  if (!config) FAIL(config.error().message);
  const auto& transports = config->transports;
  CHECK(transports.enabled == std::vector<std::string>{"tls", "udp", "ctcp"});
  CHECK_FALSE(transports.has("esp"));
  CHECK(transports.ctcp_ports == std::vector<std::uint16_t>{80, 4500});  // tcp, whose port this is, is off
  CHECK_FALSE(transports.has_ctcp_mode("resilient"));
  CHECK(transports.tls_port == 8443);
  CHECK(transports.tls_certificate_file == "/etc/vpn/web.crt");
  CHECK(transports.tls_private_key_file == "/etc/ssl/web.key");
  CHECK(transports.tls_upstream == Endpoint::parse("[::1]:8080"));
}

TEST_CASE("what cannot be in [transports] is refused with the remedy", "[headend][config][transports]") {
  const auto error = [](const std::string& line) { return error_of(line, "[transports]"); };
  CHECK(error("enabled = [\"udp\", \"quic\"]") ==
        "headend.toml:8: transports.enabled: \"quic\" is unknown: there are udp, esp, ctcp, tls, tcp");
  CHECK(has(error("enabled = []"), "transports.enabled: is empty: name at least one of udp, "));
  CHECK(has(error("enabled = [\"udp\", \"udp\"]"), "\"udp\" stands there twice"));
  CHECK(has(error("enabled = [\"esp\", \"tls\"]"), "transports.enabled: has esp without udp"));
  CHECK(has(error("ctcp_modes = [\"fast\"]"),
            "transports.ctcp_modes: \"fast\" is unknown: there are resilient, classic"));
  CHECK(has(error("ctcp_ports = [1,2,3,4,5,6,7,8,9,10,11]"), "transports.ctcp_ports: has more than 10 entries"));
  CHECK(has(error("ctcp_ports = [443]"), "transports.tls_port: must not be one of ctcp_ports"));
  CHECK(has(error("ctcp_ports = [4500]"), "transports.tcp_port: must not be one of ctcp_ports"));
  CHECK(has(error("tls_port = 4500"), "transports.tls_port: must differ from tcp_port"));
  CHECK(has(error("tls_certificate = \"a.crt\""), "transports.tls_private_key: is missing: a certificate and its key"));
  CHECK(has(error("tls_upstream = \"localhost:80\""), "\"localhost:80\" is not an address with a port"));
  CHECK(has(error("tls_page = \"a.html\"\ntls_upstream = \"127.0.0.1:80\""), "excludes tls_page"));
}

TEST_CASE("an unknown key is refused, with the one that was probably meant", "[headend][config]") {
  CHECK(has(error_of("serach_domains = []"),
            "headend.toml:8: network.serach_domains: there is no such key: did you mean search_domains?"));
  CHECK(has(error_of("zzz = 1"), "network.zzz: there is no such key: known in [network] are tun, mtu, "));
  const auto section = parse("version = 1\n[netwrok]\n");
  REQUIRE_FALSE(section);
  CHECK(has(parse("version = 1\n[headend]\nidentity = \"a\"\naddresses = [\"a\"]\n[network]\npool = \"10.0.0.0/8\"\n"
                  "[netwrok]\n")
                .error()
                .message,
            "headend.toml:7: netwrok: there is no such key: did you mean network?"));
}

TEST_CASE("what is missing is named", "[headend][config]") {
  CHECK(has(parse("").error().message, "version: is missing"));
  CHECK(has(parse("version = 2\n").error().message, "headend.toml:1: version: must be"));
  CHECK(has(parse("version = 1\n").error().message, "headend: this section is missing: add [headend]"));
  CHECK(has(parse("version = 1\n[headend]\n").error().message,
            "headend.toml:2: headend.identity: is missing: add it to [headend], for example identity = "));
  CHECK(has(parse("version = 1\n[headend]\nidentity = \"a\"\n").error().message, "headend.addresses: is missing"));
  CHECK(has(parse("version = 1\n[headend]\nidentity = \"a\"\naddresses = [\"a\"]\n").error().message,
            "network.pool: is missing"));
}

TEST_CASE("what is not TOML is refused with its line", "[headend][config]") {
  CHECK(has(parse("version = 1\n[headend\n").error().message, "headend.toml:2: is not TOML"));
  CHECK(has(parse("version = 1\nversion = 1\n").error().message, "headend.toml:2:"));
  CHECK(has(parse("headend = 3\nversion = 1\n").error().message, "headend.toml:1: headend: must be a section"));
}

TEST_CASE("host names are told from mistyped addresses", "[headend][config]") {
  CHECK(valid_host_name("vpn.example.org"));
  CHECK(valid_host_name("localhost"));
  CHECK(valid_host_name("xn--bcher-kva.example"));
  CHECK_FALSE(valid_host_name("192.0.2.300"));
  CHECK_FALSE(valid_host_name(""));
  CHECK_FALSE(valid_host_name("a..b"));
  CHECK_FALSE(valid_host_name("a."));
  CHECK_FALSE(valid_host_name("-a"));
  CHECK_FALSE(valid_host_name("a-"));
  CHECK_FALSE(valid_host_name("a b"));
  CHECK_FALSE(valid_host_name(std::string(64, 'a')));
  CHECK(valid_host_name(std::string(63, 'a')));
}

TEST_CASE("a directory without configuration is answered with what to do", "[headend][config]") {
  const test::TemporaryDirectory directory;
  const auto config = load_config(directory.path());
  REQUIRE_FALSE(config);
  CHECK(has(config.error().message, "switchback-headend init"));
}
