#include "headend/config.h"

#include <algorithm>
#include <cctype>

#include "headend/files.h"
#include "headend/toml_reader.h"

namespace switchback::headend {
namespace {

bool is_alnum(char c) noexcept { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

/// "swb-head0": what the kernel takes as an interface name, without what would confuse nft and paths.
bool valid_interface_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 15 && is_alnum(name.front()) &&
         std::all_of(name.begin(), name.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}

class Reader {
 public:
  Reader(const toml::table& root, const std::string& file) : root_{root}, errors_{file}, top_{&root, "", errors_} {}

  Result<Config, UserError> read(Layout layout) {
    Config config;
    config.layout = std::move(layout);
    version();
    headend(config);
    pki(config);
    network(config);
    crypto(config);
    limits(config);
    timers(config);
    control(config);
    top_.refuse_unknown();
    if (errors_.first()) return fail(*errors_.first());
    return config;
  }

 private:
  TomlSection section(const std::string& name) {
    const auto* node = root_.get(name);
    top_.expect(name);
    if (node != nullptr && !node->is_table()) top_.wrong(name, "must be a section: [" + name + "]");
    return TomlSection{node == nullptr ? nullptr : node->as_table(), name, errors_};
  }

  void version() {
    std::int64_t version = 0;
    if (!top_.read_integer("version", version, 1, 1) && !root_.contains("version")) {
      top_.wrong("version", "is missing: the first line must be version = 1");
    }
  }

  void headend(Config& config) {
    auto s = section("headend");
    if (!s.read("identity", config.identity)) s.require("identity", "what clients know this headend by");
    if (config.identity.empty() || config.identity.size() > 255) {
      s.wrong("identity", "must be a host name or an address, as the headend's certificate has it");
    }
    if (!s.read("addresses", config.addresses)) s.require("addresses", "where clients find this headend");
    for (const auto& address : config.addresses) {
      if (!IpAddress::parse(address) && !valid_host_name(address)) {
        s.wrong("addresses", "\"" + address + "\" is neither an IP address nor a host name");
      }
    }
    if (config.addresses.empty()) s.wrong("addresses", "must have at least one entry");
    config.listen = {IpAddress::any(IpFamily::v4), IpAddress::any(IpFamily::v6)};
    s.read_list("listen", config.listen, "an IP address of this host, 0.0.0.0 or ::", &IpAddress::parse);
    if (config.listen.empty()) s.wrong("listen", "must have at least one address, such as \"0.0.0.0\"");
    auto sorted = config.listen;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) s.wrong("listen", "names an address twice");
    config.ike_port = port(s, "ike_port", config.ike_port);
    config.nat_t_port = port(s, "nat_t_port", config.nat_t_port);
    if (config.ike_port == config.nat_t_port) s.wrong("nat_t_port", "must differ from ike_port");
    s.refuse_unknown();
  }

  void pki(Config& config) {
    auto s = section("pki");
    const auto file = [&](std::string_view key, std::string fallback) {
      s.read(key, fallback);
      if (fallback.empty()) s.wrong(key, "must name a file");
      return config.layout.resolve(fallback);
    };
    config.ca_file = file("ca", "pki/ca.crt");
    config.ca_key_file = file("ca_key", "pki/ca.key");
    config.certificate_file = file("certificate", "pki/headend.crt");
    config.private_key_file = file("private_key", "pki/headend.key");
    s.refuse_unknown();
  }

  void network(Config& config) {
    auto s = section("network");
    s.read("tun", config.tun);
    if (!valid_interface_name(config.tun)) {
      s.wrong("tun", "must be an interface name: at most 15 letters, digits, '-', '_' or '.'");
    }
    config.mtu = static_cast<unsigned>(integer(s, "mtu", config.mtu, 1280, 9000));
    config.pool = pool(s, "pool", IpFamily::v4);
    config.pool6 = pool(s, "pool6", IpFamily::v6);
    if (!config.pool && !config.pool6) s.wrong("pool", "is missing: give pool = \"10.99.0.0/16\", pool6, or both");
    config.routes = {IpPrefix{IpAddress::any(IpFamily::v4), 0}, IpPrefix{IpAddress::any(IpFamily::v6), 0}};
    s.read_list("routes", config.routes, "a prefix such as \"192.168.0.0/16\"", &IpPrefix::parse);
    if (config.routes.empty()) s.wrong("routes", "must have at least one prefix; \"0.0.0.0/0\" is everything");
    if (config.routes.size() > 64) s.wrong("routes", "has more than 64 prefixes: combine them");
    s.read_list("dns", config.dns, "an IP address", &IpAddress::parse);
    if (config.dns.size() > 8) s.wrong("dns", "has more than 8 servers");
    s.read("search_domains", config.search_domains);
    for (const auto& domain : config.search_domains) {
      if (!valid_host_name(domain)) s.wrong("search_domains", "\"" + domain + "\" is not a domain name");
    }
    if (config.search_domains.size() > 16) s.wrong("search_domains", "has more than 16 domains");
    s.read("forwarding", config.forwarding);
    s.read("nat", config.nat);
    if (config.nat && !config.forwarding) s.wrong("nat", "needs forwarding = true, or set nat = false");
    s.refuse_unknown();
  }

  void crypto(Config& config) {
    auto s = section("crypto");
    config.ike_proposals = ike::default_ike_proposals();
    config.esp_proposals = ike::default_esp_proposals();
    proposals(s, "ike", config.ike_proposals, &ike::parse_ike_proposal);
    proposals(s, "esp", config.esp_proposals, &ike::parse_esp_proposal);
    s.refuse_unknown();
  }

  template <class Proposal>
  static void proposals(TomlSection& s, std::string_view key, std::vector<Proposal>& out,
                        Result<Proposal, UserError> (*parse)(std::string_view)) {
    std::vector<std::string> texts;
    if (!s.read(key, texts)) return;
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

  void limits(Config& config) {
    auto s = section("limits");
    const auto count = [&](std::string_view key, std::size_t& out, std::int64_t most) {
      out = static_cast<std::size_t>(integer(s, key, static_cast<std::int64_t>(out), 1, most));
    };
    count("sessions", config.max_sessions, 1'000'000);
    count("sessions_per_user", config.max_sessions_per_user, 100'000);
    count("half_open", config.max_half_open, 100'000);
    count("half_open_per_address", config.max_half_open_per_address, 100'000);
    config.cookie_threshold = static_cast<std::size_t>(
        integer(s, "cookie_threshold", static_cast<std::int64_t>(config.cookie_threshold), 0, 100'000));
    s.read_number("new_sessions_per_second", config.new_sessions_per_second, 0.1, 100'000);
    s.read_number("new_sessions_burst", config.new_sessions_burst, 1, 1'000'000);
    s.refuse_unknown();
  }

  void timers(Config& config) {
    auto s = section("timers");
    const auto seconds = [&](std::string_view key, Duration& out, std::int64_t least, std::int64_t most) {
      const auto present = std::chrono::duration_cast<std::chrono::seconds>(out).count();
      out = std::chrono::seconds{integer(s, key, present, least, most)};
    };
    seconds("liveness", config.liveness, 0, 3600);
    seconds("ike_rekey", config.ike_rekey, 5, 7 * 86400);
    seconds("child_rekey", config.child_rekey, 5, 86400);
    s.refuse_unknown();
  }

  void control(Config& config) {
    auto s = section("control");
    s.read("socket", config.control_socket);
    if (!config.control_socket.empty() && config.control_socket.front() != '/') {
      s.wrong("socket", "must be an absolute path");
    }
    if (config.control_socket.size() > 107) s.wrong("socket", "must have at most 107 characters");
    if (config.control_socket.empty()) config.control_socket = "/run/switchback/headend-" + config.tun + ".sock";
    s.refuse_unknown();
  }

  static std::int64_t integer(TomlSection& s, std::string_view key, std::int64_t value, std::int64_t least,
                              std::int64_t most) {
    s.read_integer(key, value, least, most);
    return value;
  }
  static std::uint16_t port(TomlSection& s, std::string_view key, std::uint16_t value) {
    return static_cast<std::uint16_t>(integer(s, key, value, 1, 65535));
  }
  static std::optional<IpPrefix> pool(TomlSection& s, std::string_view key, IpFamily family) {
    std::string text;
    if (!s.read(key, text) || text.empty()) return std::nullopt;
    const auto prefix = IpPrefix::parse(text);
    if (!prefix || prefix->address.family() != family) {
      s.wrong(key, "\"" + text + "\" is not an " + (family == IpFamily::v4 ? "IPv4" : "IPv6") + " prefix such as " +
                       (family == IpFamily::v4 ? "10.99.0.0/16" : "fd12:3456:789a::/64"));
      return std::nullopt;
    }
    const unsigned longest = prefix->address.bits() - 2;
    if (prefix->length > longest || prefix->length < 8) {
      s.wrong(key, "must have a length from /8 to /" + std::to_string(longest));
      return std::nullopt;
    }
    return IpPrefix{prefix->first(), prefix->length};
  }

  const toml::table& root_;
  TomlErrors errors_;
  TomlSection top_;
};

}  // namespace

std::string Layout::resolve(const std::string& name) const {
  return !name.empty() && name.front() == '/' ? name : directory + "/" + name;
}

Result<Config, UserError> parse_config(std::string_view text, const std::string& file, Layout layout) {
  try {
    const auto root = toml::parse(text, file);
    return Reader{root, file}.read(std::move(layout));
  } catch (const toml::parse_error& error) {
    return fail_user(file + ":" + std::to_string(error.source().begin.line) +
                     ": not valid TOML: " + std::string{error.description()});
  }
}

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
