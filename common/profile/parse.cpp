#include <algorithm>
#include <array>
#include <cctype>

#include "common/profile/profile.h"
#include "common/toml/reader.h"

namespace switchback::profile {
namespace {

using toml::in_quotes;
using toml::Section;

constexpr std::array<std::string_view, 5> kTransports{"udp", "esp", "ctcp", "tcp", "tls"};

bool is_host_name(std::string_view text) {
  if (text.empty() || text.size() > 253 || text.front() == '.' || text.front() == '-') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  });
}

/// Four groups of digits that are no address are a mistyped address, not a name.
bool looks_numeric(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0 || c == '.'; });
}

void read_headend(Section s, Headend& out) {
  constexpr std::string_view kExample = "[\"192.0.2.1\", \"vpn.example.org\"]";
  if (!s.read("addresses", out.addresses, kExample) || out.addresses.empty()) s.missing("addresses", kExample);
  for (const auto& address : out.addresses) {
    if (IpAddress::parse(address)) continue;
    if (!is_host_name(address) || looks_numeric(address)) {
      s.wrong("addresses", in_quotes(address) +
                               " is neither an IP address nor a host name: write it without port, brackets or prefix "
                               "length (ports have keys of their own)");
    }
  }
  s.read("identity", out.identity, {.example = "\"vpn.example.org\"", .required = true});
  s.read("ike_port", out.ike_port, 1, 65535);
  s.read("nat_t_port", out.nat_t_port, 1, 65535);
  if (out.ike_port == out.nat_t_port) {
    s.wrong("nat_t_port",
            "must differ from ike_port: only on the other one does the marker of RFC 3948 tell IKE from ESP");
  }
}

void read_pem(Section& s, std::string_view key, std::string_view kind, std::string& out) {
  constexpr std::size_t kLongestPem = std::size_t{256} << 10U;
  const auto example = "\"\"\"-----BEGIN " + std::string{kind} + "----- …\"\"\"";
  if (!s.read(key, out, {.example = example, .longest = kLongestPem, .required = true})) return;
  const auto begin = out.find("-----BEGIN ");
  if (begin == std::string::npos || out.find("-----END ", begin) == std::string::npos) {
    s.wrong(key, "is not PEM: it needs a line \"-----BEGIN " + std::string{kind} + "-----\" and one \"-----END " +
                     std::string{kind} + "-----\"");
    return;
  }
  const auto label = std::string_view{out}.substr(begin + 11, 40);
  if (label.starts_with("ENCRYPTED ")) {
    s.wrong(key, "is encrypted with a passphrase: decrypt it with `openssl pkey`, the file's mode protects it");
  } else if (label.find(kind) == std::string_view::npos) {
    s.wrong(key, "holds another kind of PEM: expected \"-----BEGIN " + std::string{kind} + "-----\"");
  }
}

void read_authentication(Section s, Authentication& out) {
  std::string method = "certificate";
  s.read("method", method, {.example = "\"certificate\""});
  s.read("identity", out.identity, {.example = "\"alice\"", .required = true});
  if (method == "psk") {
    out.method = Method::psk;
    for (const auto* key : {"certificate", "private_key", "ca"}) {
      if (s.has(key)) s.wrong(key, "has no meaning with method = \"psk\": remove it");
    }
    std::string psk;
    if (s.read("psk", psk, {.example = "\"a long random text\"", .longest = 1024, .required = true})) {
      out.psk = Secret{as_bytes(psk)};
    }
    wipe({reinterpret_cast<std::uint8_t*>(psk.data()), psk.size()});
    return;
  }
  if (method != "certificate") {
    s.wrong("method", in_quotes(method) + " is unknown: use \"certificate\" or \"psk\"");
    return;
  }
  if (s.has("psk")) {
    s.wrong("psk", "has no meaning with method = \"certificate\": remove it, or set method = \"psk\"");
  }
  read_pem(s, "certificate", "CERTIFICATE", out.certificate);
  read_pem(s, "ca", "CERTIFICATE", out.ca);
  std::string key;
  read_pem(s, "private_key", "PRIVATE KEY", key);
  out.private_key = Secret{as_bytes(key)};
  wipe({reinterpret_cast<std::uint8_t*>(key.data()), key.size()});
}

void read_tunnel(Section s, Tunnel& out) {
  std::vector<IpPrefix> routes;
  if (s.read("routes", routes, "[\"10.0.0.0/8\", \"2001:db8::/32\"]", "a prefix: write for example \"10.0.0.0/8\"",
             &IpPrefix::parse)) {
    for (const auto& route : routes) {
      const IpPrefix cut{route.first(), route.length};
      if (cut.address != route.address) {
        s.wrong("routes",
                in_quotes(route.to_string()) + " has bits beyond its length: write " + in_quotes(cut.to_string()));
      }
    }
    out.routes = std::move(routes);
  }
  s.read("dns", out.dns);
  s.read("block_leaks", out.block_leaks);
  std::uint16_t mtu = 0;
  if (s.read("mtu", mtu, 576, 65535)) out.mtu = mtu;
}

/// Seconds. Rekeys more often than every few seconds would leave no time for anything else.
void read_timers(Section s, Timers& out) {
  std::uint32_t seconds = 0;
  if (s.read("ike_rekey", seconds, 5, 604800)) out.ike_rekey.emplace(seconds);
  if (s.read("child_rekey", seconds, 5, 86400)) out.child_rekey.emplace(seconds);
}

void read_order(Section& s, std::vector<std::string>& out) {
  if (!s.read("order", out, "[\"udp\", \"ctcp\"]")) return;
  if (out.empty()) s.wrong("order", "is empty: name at least one transport, for example [\"udp\"]");
  for (auto name = out.begin(); name != out.end(); ++name) {
    if (std::find(kTransports.begin(), kTransports.end(), *name) == kTransports.end()) {
      s.wrong("order", in_quotes(*name) + " is no transport: there are udp, esp, ctcp, tcp and tls");
    }
    if (std::find(out.begin(), name, *name) != name) {
      s.wrong("order", in_quotes(*name) + " stands there twice: name each transport once");
    }
  }
}

void read_transports(Section s, Transports& out) {
  read_order(s, out.order);
  s.read("ctcp_ports", out.ctcp_ports, 1, 65535, kMaxCtcpPorts);
  s.read("ctcp_mode", out.ctcp_mode, {.example = "\"resilient\""});
  if (out.ctcp_mode != "resilient" && out.ctcp_mode != "classic") {
    s.wrong("ctcp_mode", in_quotes(out.ctcp_mode) + " is unknown: use \"resilient\" or \"classic\"");
  }
  s.read("tcp_port", out.tcp_port, 1, 65535);
  s.read("tls_port", out.tls_port, 1, 65535);
  // One port can belong to one of them only, as far as they are used.
  const auto used = [&](std::string_view name) {
    return std::find(out.order.begin(), out.order.end(), name) != out.order.end();
  };
  const auto ctcp_has = [&](std::uint16_t port) {
    return used("ctcp") && std::find(out.ctcp_ports.begin(), out.ctcp_ports.end(), port) != out.ctcp_ports.end();
  };
  if (used("tcp") && used("tls") && out.tcp_port == out.tls_port) s.wrong("tls_port", "must differ from tcp_port");
  if (used("tcp") && ctcp_has(out.tcp_port)) s.wrong("tcp_port", "must not be one of ctcp_ports");
  if (used("tls") && ctcp_has(out.tls_port)) s.wrong("tls_port", "must not be one of ctcp_ports");
  std::string name;
  if (s.read("tls_server_name", name, {.example = "\"vpn.example.org\"", .longest = 253})) {
    // RFC 6066 §3: an address is no server name.
    if (!is_host_name(name) || looks_numeric(name)) {
      s.wrong("tls_server_name", in_quotes(name) + " is no host name: write for example \"vpn.example.org\"");
    }
    out.tls_server_name = std::move(name);
  }
}

void read_crypto(Section s, Crypto& out) {
  s.read("ike", out.ike, "[\"aes128gcm16-prfsha256-x25519\"]");
  s.read("esp", out.esp, "[\"aes128gcm16-esn\"]");
}

void read_all(toml::Document& file, Profile& out) {
  auto top = file.top({"version", "name", "headend", "authentication", "tunnel", "crypto", "timers", "transports"});
  int version = 0;
  if (!top.has("version")) top.missing("version", std::to_string(kVersion));
  // A file of another version has other keys.
  if (top.has("version") && !top.read("version", version, 1, kVersion)) return;
  top.read("name", out.name, {.example = "\"alice\""});
  read_headend(file.section("headend", {"addresses", "identity", "ike_port", "nat_t_port"}, true), out.headend);
  read_authentication(
      file.section("authentication", {"method", "identity", "certificate", "private_key", "ca", "psk"}, true),
      out.authentication);
  read_tunnel(file.section("tunnel", {"routes", "dns", "mtu", "block_leaks"}), out.tunnel);
  read_crypto(file.section("crypto", {"ike", "esp"}), out.crypto);
  read_timers(file.section("timers", {"ike_rekey", "child_rekey"}), out.timers);
  read_transports(
      file.section("transports", {"order", "ctcp_ports", "ctcp_mode", "tcp_port", "tls_port", "tls_server_name"}),
      out.transports);
}

}  // namespace

Result<Profile, UserError> parse(std::string_view text, std::string_view file) {
  SB_TRY(auto document, toml::Document::parse(text, file));
  Profile profile;
  read_all(document, profile);
  if (document.error()) return fail(*document.error());
  profile.where = document.lines();
  return profile;
}

}  // namespace switchback::profile
