#include "headend/config.h"

#include <sched.h>

#include <algorithm>
#include <cctype>

#include "common/toml/reader.h"
#include "headend/files.h"

namespace switchback::headend {
namespace {

bool is_alnum(char c) noexcept { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

/// "swb-head0": what the kernel takes as an interface name, without what would confuse nft and paths.
bool valid_interface_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 15 && is_alnum(name.front()) &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

using toml::in_quotes;
using toml::Section;

void read_headend(Section s, Config& config) {
  s.read("identity", config.identity, {.example = "\"vpn.example.org\"", .longest = 255, .required = true});
  constexpr std::string_view kExample = "[\"192.0.2.1\", \"vpn.example.org\"]";
  if (!s.read("addresses", config.addresses, kExample) || config.addresses.empty()) s.missing("addresses", kExample);
  for (const auto& address : config.addresses) {
    if (!IpAddress::parse(address) && !valid_host_name(address)) {
      s.wrong("addresses", in_quotes(address) + " is neither an IP address nor a host name");
    }
  }
  config.listen = {IpAddress::any(IpFamily::v4), IpAddress::any(IpFamily::v6)};
  s.read("listen", config.listen, "[\"0.0.0.0\", \"::\"]",
         "an IP address of this host, 0.0.0.0 or ::", &IpAddress::parse);
  if (config.listen.empty()) s.wrong("listen", "must have at least one address, such as \"0.0.0.0\"");
  auto sorted = config.listen;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) s.wrong("listen", "names an address twice");
  s.read("ike_port", config.ike_port, 1, 65535);
  s.read("nat_t_port", config.nat_t_port, 1, 65535);
  if (config.ike_port == config.nat_t_port) s.wrong("nat_t_port", "must differ from ike_port");
}

void read_pki(Section s, Config& config) {
  const auto file = [&](std::string_view key, std::string name) {
    s.read(key, name, {.example = "\"pki/ca.crt\"", .longest = 4096});
    return config.layout.resolve(name);
  };
  config.ca_file = file("ca", "pki/ca.crt");
  config.ca_key_file = file("ca_key", "pki/ca.key");
  config.certificate_file = file("certificate", "pki/headend.crt");
  config.private_key_file = file("private_key", "pki/headend.key");
}

/// A list of different words out of a few. @param out  keeps its default where the key is absent
void read_words(Section& s, std::string_view key, std::string_view example, const std::vector<std::string>& known,
                std::vector<std::string>& out) {
  std::vector<std::string> words;
  if (!s.read(key, words, example)) return;
  std::string all;
  for (const auto& word : known) all += (all.empty() ? "" : ", ") + word;
  if (words.empty()) return s.wrong(key, "is empty: name at least one of " + all);
  for (auto word = words.begin(); word != words.end(); ++word) {
    if (std::find(known.begin(), known.end(), *word) == known.end()) {
      return s.wrong(key, in_quotes(*word) + " is unknown: there are " + all);
    }
    if (std::find(words.begin(), word, *word) != word) {
      return s.wrong(key, in_quotes(*word) + " stands there twice: name each once");
    }
  }
  out = std::move(words);
}

void read_tls(Section& s, Config& config) {
  auto& out = config.transports;
  const auto file = [&](std::string_view key, std::string_view example) {
    std::string name;
    s.read(key, name, {.example = example, .longest = 4096});
    return name.empty() ? name : config.layout.resolve(name);
  };
  out.tls_certificate_file = file("tls_certificate", "\"/etc/letsencrypt/live/vpn.example.org/fullchain.pem\"");
  out.tls_private_key_file = file("tls_private_key", "\"/etc/letsencrypt/live/vpn.example.org/privkey.pem\"");
  if (out.tls_certificate_file.empty() != out.tls_private_key_file.empty()) {
    s.wrong(out.tls_certificate_file.empty() ? "tls_certificate" : "tls_private_key",
            "is missing: a certificate and its key belong together; without both, those of [pki] are shown");
  }
  if (out.tls_certificate_file.empty()) {
    out.tls_certificate_file = config.certificate_file;
    out.tls_private_key_file = config.private_key_file;
  }
  out.tls_page_file = file("tls_page", "\"page.html\"");
  std::string upstream;
  if (s.read("tls_upstream", upstream, {.example = "\"127.0.0.1:8080\""})) {
    out.tls_upstream = Endpoint::parse(upstream);
    if (!out.tls_upstream || out.tls_upstream->port == 0) {
      s.wrong("tls_upstream", in_quotes(upstream) + " is not an address with a port such as \"127.0.0.1:8080\"");
    }
    if (s.has("tls_page")) s.wrong("tls_upstream", "excludes tls_page: strangers see one or the other");
  }
}

void read_transports(Section s, Config& config) {
  auto& out = config.transports;
  read_words(s, "enabled", "[\"udp\", \"ctcp\"]", {"udp", "esp", "ctcp", "tls", "tcp"}, out.enabled);
  if (out.has("esp") && !out.has("udp")) {
    s.wrong("enabled", "has esp without udp, which carries the IKE messages of esp: add \"udp\" or remove \"esp\"");
  }
  s.read("ctcp_ports", out.ctcp_ports, 1, 65535, kMaxCtcpPorts);
  read_words(s, "ctcp_modes", "[\"resilient\"]", {"resilient", "classic"}, out.ctcp_modes);
  s.read("tcp_port", out.tcp_port, 1, 65535);
  s.read("tls_port", out.tls_port, 1, 65535);
  // One port can belong to one of them only, as far as they are on.
  const auto ctcp_has = [&](std::uint16_t port) {
    return out.has("ctcp") && std::find(out.ctcp_ports.begin(), out.ctcp_ports.end(), port) != out.ctcp_ports.end();
  };
  if (out.has("tls") && out.has("tcp") && out.tls_port == out.tcp_port) {
    s.wrong("tls_port", "must differ from tcp_port: the two look different from the first octet on");
  }
  if (out.has("tcp") && ctcp_has(out.tcp_port)) s.wrong("tcp_port", "must not be one of ctcp_ports");
  if (out.has("tls") && ctcp_has(out.tls_port)) s.wrong("tls_port", "must not be one of ctcp_ports");
  read_tls(s, config);
}

std::optional<IpPrefix> read_pool(Section& s, std::string_view key, IpFamily family) {
  const std::string example = family == IpFamily::v4 ? "\"10.99.0.0/16\"" : "\"fd12:3456:789a::/64\"";
  std::string text;
  if (!s.read(key, text, {.example = example, .may_be_empty = true}) || text.empty()) return std::nullopt;
  const auto prefix = IpPrefix::parse(text);
  if (!prefix || prefix->address.family() != family) {
    s.wrong(key, in_quotes(text) + " is not an " + (family == IpFamily::v4 ? "IPv4" : "IPv6") + " prefix such as " +
                     example);
    return std::nullopt;
  }
  const unsigned longest = prefix->address.bits() - 2;
  if (prefix->length > longest || prefix->length < 8) {
    s.wrong(key, "must have a length from /8 to /" + std::to_string(longest));
    return std::nullopt;
  }
  return IpPrefix{prefix->first(), prefix->length};
}

void read_network(Section s, Config& config) {
  s.read("tun", config.tun, {.example = "\"swb-head0\""});
  if (!valid_interface_name(config.tun)) {
    s.wrong("tun", "must be an interface name: at most 15 letters, digits, '-', '_' or '.'");
  }
  s.read("mtu", config.mtu, 1280, 9000);
  config.pool = read_pool(s, "pool", IpFamily::v4);
  config.pool6 = read_pool(s, "pool6", IpFamily::v6);
  if (!config.pool && !config.pool6) s.wrong("pool", "is missing: give pool = \"10.99.0.0/16\", pool6, or both");
  config.routes = {IpPrefix{IpAddress::any(IpFamily::v4), 0}, IpPrefix{IpAddress::any(IpFamily::v6), 0}};
  s.read("routes", config.routes, "[\"192.168.0.0/16\"]", "a prefix such as \"192.168.0.0/16\"", &IpPrefix::parse);
  if (config.routes.empty()) s.wrong("routes", "must have at least one prefix; \"0.0.0.0/0\" is everything");
  if (config.routes.size() > 64) s.wrong("routes", "has more than 64 prefixes: combine them");
  s.read("dns", config.dns, "[\"192.0.2.53\"]", "an IP address", &IpAddress::parse);
  if (config.dns.size() > 8) s.wrong("dns", "has more than 8 servers");
  s.read("search_domains", config.search_domains, "[\"example.org\"]");
  for (const auto& domain : config.search_domains) {
    if (!valid_host_name(domain)) s.wrong("search_domains", in_quotes(domain) + " is not a domain name");
  }
  if (config.search_domains.size() > 16) s.wrong("search_domains", "has more than 16 domains");
  s.read("forwarding", config.forwarding);
  s.read("nat", config.nat);
  unsigned workers = 0;
  if (s.read("workers", workers, 1, kMostWorkers)) config.workers = workers;
  if (config.nat && !config.forwarding) s.wrong("nat", "needs forwarding = true, or set nat = false");
}

template <class Proposal>
void read_proposals(Section& s, std::string_view key, std::string_view example, std::vector<Proposal>& out,
                    Result<Proposal, UserError> (*parse)(std::string_view)) {
  std::vector<std::string> texts;
  if (!s.read(key, texts, example)) return;
  out.clear();
  for (const auto& text : texts) {
    if (auto proposal = parse(text)) {
      out.push_back(*std::move(proposal));
    } else {
      s.wrong(key, proposal.error().message);
    }
  }
  if (texts.empty()) s.wrong(key, "must have at least one proposal; remove the key for the defaults");
}

void read_crypto(Section s, Config& config) {
  config.ike_proposals = ike::default_ike_proposals();
  config.esp_proposals = ike::default_esp_proposals();
  read_proposals(s, "ike", "[\"aes128gcm16-prfsha256-x25519\"]", config.ike_proposals, &ike::parse_ike_proposal);
  read_proposals(s, "esp", "[\"aes128gcm16-esn\"]", config.esp_proposals, &ike::parse_esp_proposal);
}

void read_limits(Section s, Config& config) {
  s.read("sessions", config.max_sessions, 1, 1'000'000);
  s.read("sessions_per_user", config.max_sessions_per_user, 1, 100'000);
  s.read("half_open", config.max_half_open, 1, 100'000);
  s.read("half_open_per_address", config.max_half_open_per_address, 1, 100'000);
  s.read("connections_per_address", config.max_connections_per_address, 1, 1'000'000);
  s.read("cookie_threshold", config.cookie_threshold, 0, 100'000);
  s.read("new_sessions_per_second", config.new_sessions_per_second, 0.1, 100'000);
  s.read("new_sessions_burst", config.new_sessions_burst, 1.0, 1'000'000);
}

void read_timers(Section s, Config& config) {
  const auto seconds = [&](std::string_view key, Duration& out, std::int64_t least, std::int64_t most) {
    std::int64_t count = 0;
    if (s.read(key, count, least, most)) out = std::chrono::seconds{count};
  };
  seconds("liveness", config.liveness, 0, 3600);
  seconds("ike_rekey", config.ike_rekey, 5, 7 * 86400);
  seconds("child_rekey", config.child_rekey, 5, 86400);
}

void read_control(Section s, Config& config) {
  constexpr std::size_t kLongestSocket = 107;  // sun_path, less its end
  config.control_socket = "/run/switchback/headend-" + config.tun + ".sock";
  s.read("socket", config.control_socket, {.example = "\"/run/switchback/headend.sock\"", .longest = kLongestSocket});
  if (config.control_socket.front() != '/') s.wrong("socket", "must be an absolute path");
}

void read_all(toml::Document& file, Config& config) {
  auto top = file.top({"version", "headend", "pki", "transports", "network", "crypto", "limits", "timers", "control"});
  int version = 0;
  if (!top.has("version")) top.wrong("version", "is missing: the first line must be version = 1");
  top.read("version", version, 1, 1);
  read_headend(file.section("headend", {"identity", "addresses", "listen", "ike_port", "nat_t_port"}, true), config);
  read_pki(file.section("pki", {"ca", "ca_key", "certificate", "private_key"}), config);
  read_transports(file.section("transports", {"enabled", "ctcp_ports", "ctcp_modes", "tcp_port", "tls_port",
                                              "tls_certificate", "tls_private_key", "tls_page", "tls_upstream"}),
                  config);
  read_network(file.section("network", {"tun", "mtu", "pool", "pool6", "routes", "dns", "search_domains", "forwarding",
                                        "nat", "workers"}),
               config);
  read_crypto(file.section("crypto", {"ike", "esp"}), config);
  read_limits(file.section("limits", {"sessions", "sessions_per_user", "half_open", "half_open_per_address",
                                      "connections_per_address", "cookie_threshold", "new_sessions_per_second",
                                      "new_sessions_burst"}),
              config);
  read_timers(file.section("timers", {"liveness", "ike_rekey", "child_rekey"}), config);
  read_control(file.section("control", {"socket"}), config);
}

}  // namespace

bool TransportSettings::has(std::string_view name) const noexcept {
  return std::find(enabled.begin(), enabled.end(), name) != enabled.end();
}

bool TransportSettings::has_ctcp_mode(std::string_view mode) const noexcept {
  return std::find(ctcp_modes.begin(), ctcp_modes.end(), mode) != ctcp_modes.end();
}

std::string Layout::resolve(const std::string& name) const {
  return !name.empty() && name.front() == '/' ? name : directory + "/" + name;
}

Result<Config, UserError> parse_config(std::string_view text, const std::string& file, Layout layout) {
  SB_TRY(auto document, toml::Document::parse(text, file));
  Config config;
  config.layout = std::move(layout);
  read_all(document, config);
  if (document.error()) return fail(*document.error());
  return config;
}

unsigned default_workers() noexcept {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return 1;
  return default_workers(static_cast<unsigned>(CPU_COUNT(&usable)));
}

unsigned default_workers(unsigned processors) noexcept { return processors <= 2 ? 1 : std::min(processors - 1, 4U); }

Result<Config, UserError> load_config(const std::string& directory) {
  Layout layout{directory};
  const auto file = layout.config();
  const auto text = read_file(file, "the configuration");
  if (!text) {
    return fail_user(text.error().message +
                     "; give the directory that `switchback-headend init` made with --dir, and run as its owner");
  }
  return parse_config(*text, file, std::move(layout));
}

bool valid_host_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > 253) return false;
  std::size_t label = 0;
  char last = '-';
  for (const char c : name) {
    if (c == '.') {
      if (label == 0 || last == '-') return false;
      label = 0;
    } else if (!is_alnum(c) && c != '-') {
      return false;
    } else if (++label > 63 || (label == 1 && c == '-')) {
      return false;
    }
    last = c;
  }
  // All digits and dots is a mistyped address, not a name.
  return label > 0 && last != '-' &&
         !std::all_of(name.begin(), name.end(), [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
}

}  // namespace switchback::headend
