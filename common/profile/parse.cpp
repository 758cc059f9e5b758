#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>
#include <span>
#include <utility>

#include "common/profile/profile.h"

namespace switchback::profile {
namespace {

constexpr std::array<std::string_view, 8> kTopKeys{"version", "name",   "headend", "authentication",
                                                   "tunnel",  "crypto", "timers",  "transports"};
constexpr std::array<std::string_view, 4> kHeadendKeys{"addresses", "identity", "ike_port", "nat_t_port"};
constexpr std::array<std::string_view, 6> kAuthenticationKeys{"method",      "identity", "certificate",
                                                              "private_key", "ca",       "psk"};
constexpr std::array<std::string_view, 4> kTunnelKeys{"routes", "dns", "mtu", "block_leaks"};
constexpr std::array<std::string_view, 2> kCryptoKeys{"ike", "esp"};
constexpr std::array<std::string_view, 2> kTimerKeys{"ike_rekey", "child_rekey"};
constexpr std::array<std::string_view, 1> kTransportKeys{"order"};
constexpr std::array<std::string_view, 5> kTransports{"udp", "esp", "ctcp", "tcp", "tls"};

/// Levenshtein's distance, for "did you mean".
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const auto substituted = diagonal + (a[i] == b[j] ? 0U : 1U);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  std::string out = "\"";
  for (const char c : text.substr(0, kLongest)) out += std::isprint(static_cast<unsigned char>(c)) != 0 ? c : '?';
  if (text.size() > kLongest) out += "…";
  return out + "\"";
}

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

/// Reads keys of one table, keeping the first error and the line of each key.
class Reader {
 public:
  explicit Reader(Profile& profile) : profile_{profile} {}

  [[nodiscard]] bool failed() const noexcept { return error_.has_value(); }
  [[nodiscard]] UserError take_error() { return std::move(*error_); }

  void error(std::string_view key, std::string_view what) {
    if (!error_) error_ = profile_.error_at(key, what);
  }

  /// Notes where the keys are and refuses those that do not exist.
  void enter(const toml::table& table, std::string_view section, std::span<const std::string_view> known) {
    if (!section.empty()) note(section, table);
    for (const auto& [key, node] : table) {
      const auto name = full(section, key.str());
      profile_.lines.insert_or_assign(name, line_of(key.source(), node));
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      const auto nearest = *std::min_element(
          known.begin(), known.end(), [&](auto a, auto b) { return distance(a, key.str()) < distance(b, key.str()); });
      std::string what = "there is no such key";
      if (distance(nearest, key.str()) <= std::max<std::size_t>(2, nearest.size() / 3)) {
        what += ": did you mean " + std::string{nearest} + "?";
      } else {
        what += section.empty() ? ": known at the top level are " : ": known in [" + std::string{section} + "] are ";
        for (std::size_t i = 0; i < known.size(); ++i) what += (i == 0 ? "" : ", ") + std::string{known[i]};
      }
      error(name, what);
    }
  }

  const toml::table* section(const toml::table& root, std::string_view name, bool required) {
    const auto* node = root.get(name);
    if (node == nullptr) {
      if (required) error(name, "this section is missing: add [" + std::string{name} + "]");
      return nullptr;
    }
    if (const auto* table = node->as_table()) return table;
    error(name, "must be a section: write [" + std::string{name} + "] on a line of its own");
    return nullptr;
  }

  /// Text that is not empty. Absent: false, and an error if it is required.
  bool text(const toml::table& table, std::string_view section, std::string_view key, std::string& out, bool required,
            std::string_view example, std::size_t longest = 256) {
    const auto name = full(section, key);
    const auto* node = table.get(key);
    if (node == nullptr) {
      if (required) {
        missing(section, key, example);
      }
      return false;
    }
    const auto* value = node->as_string();
    if (value == nullptr) {
      error(name, "must be a text in quotes, for example " + std::string{example});
      return false;
    }
    if (value->get().empty() || value->get().size() > longest) {
      error(name, value->get().empty() ? "is empty: give a value, for example " + std::string{example}
                                       : "is longer than " + std::to_string(longest) + " octets: shorten it");
      return false;
    }
    out = value->get();
    return true;
  }

  void missing(std::string_view section, std::string_view key, std::string_view example) {
    if (error_) return;
    std::string message = profile_.file;
    if (const auto found = profile_.lines.find(section); found != profile_.lines.end()) {
      message += ":" + std::to_string(found->second);
    }
    message += ": " + full(section, key) + ": is missing: add it";
    if (!section.empty()) message += " to [" + std::string{section} + "]";
    if (!example.empty()) message += ", for example " + std::string{key} + " = " + std::string{example};
    error_ = UserError{std::move(message)};
  }

  template <class Number>
  bool number(const toml::table& table, std::string_view section, std::string_view key, Number low, Number high,
              Number& out) {
    const auto* node = table.get(key);
    if (node == nullptr) return false;
    const auto value = node->as_integer();
    if (value == nullptr || value->get() < std::int64_t{low} || value->get() > std::int64_t{high}) {
      error(full(section, key),
            "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high) + ", without quotes");
      return false;
    }
    out = static_cast<Number>(value->get());
    return true;
  }

  void boolean(const toml::table& table, std::string_view section, std::string_view key, bool& out) {
    const auto* node = table.get(key);
    if (node == nullptr) return;
    if (const auto* value = node->as_boolean()) {
      out = value->get();
    } else {
      error(full(section, key), "must be true or false, without quotes");
    }
  }

  bool texts(const toml::table& table, std::string_view section, std::string_view key, std::vector<std::string>& out,
             std::string_view example) {
    const auto* node = table.get(key);
    if (node == nullptr) return false;
    const auto name = full(section, key);
    const auto* array = node->as_array();
    const auto wrong = "must be a list of texts, for example " + std::string{example};
    if (array == nullptr) {
      error(name, wrong);
      return false;
    }
    if (array->size() > kMaxListEntries) {
      error(name, "has more than " + std::to_string(kMaxListEntries) + " entries: shorten it");
      return false;
    }
    std::vector<std::string> found;
    for (const auto& entry : *array) {
      const auto* value = entry.as_string();
      if (value == nullptr || value->get().empty()) {
        error(name, wrong);
        return false;
      }
      found.push_back(value->get());
    }
    out = std::move(found);
    return true;
  }

  [[nodiscard]] static std::string full(std::string_view section, std::string_view key) {
    return section.empty() ? std::string{key} : std::string{section} + "." + std::string{key};
  }

 private:
  static unsigned line_of(const toml::source_region& key, const toml::node& node) {
    return static_cast<unsigned>(key.begin.line != 0 ? key.begin.line : node.source().begin.line);
  }
  void note(std::string_view section, const toml::table& table) {
    profile_.lines.try_emplace(std::string{section}, static_cast<unsigned>(table.source().begin.line));
  }

  Profile& profile_;
  std::optional<UserError> error_;
};

void read_headend(Reader& r, const toml::table& table, Headend& out) {
  constexpr std::string_view kSection = "headend";
  r.enter(table, kSection, kHeadendKeys);
  if (!r.texts(table, kSection, "addresses", out.addresses, "[\"192.0.2.1\", \"vpn.example.org\"]") ||
      out.addresses.empty()) {
    r.missing(kSection, "addresses", "[\"192.0.2.1\"]");
  }
  for (const auto& address : out.addresses) {
    if (IpAddress::parse(address)) continue;
    if (!is_host_name(address) || looks_numeric(address)) {
      r.error("headend.addresses", quoted(address) +
                                       " is neither an IP address nor a host name: write it without "
                                       "port, brackets or prefix length (ports have keys of their own)");
    }
  }
  r.text(table, kSection, "identity", out.identity, true, "\"vpn.example.org\"");
  r.number<std::uint16_t>(table, kSection, "ike_port", 1, 65535, out.ike_port);
  r.number<std::uint16_t>(table, kSection, "nat_t_port", 1, 65535, out.nat_t_port);
  if (out.ike_port == out.nat_t_port) {
    r.error("headend.nat_t_port",
            "must differ from ike_port: only on the other one does the marker of RFC 3948 tell "
            "IKE from ESP");
  }
}

void read_pem(Reader& r, const toml::table& table, std::string_view key, std::string_view kind, std::string& out) {
  constexpr std::size_t kLongestPem = std::size_t{256} << 10U;
  const auto example = "\"\"\"-----BEGIN " + std::string{kind} + "----- …\"\"\"";
  if (!r.text(table, "authentication", key, out, true, example, kLongestPem)) return;
  const auto begin = out.find("-----BEGIN ");
  if (begin == std::string::npos || out.find("-----END ", begin) == std::string::npos) {
    r.error(Reader::full("authentication", key), "is not PEM: it needs a line \"-----BEGIN " + std::string{kind} +
                                                     "-----\" and one \"-----END " + std::string{kind} + "-----\"");
    return;
  }
  const auto label = std::string_view{out}.substr(begin + 11, 40);
  const bool encrypted = label.starts_with("ENCRYPTED ");
  if (encrypted) {
    r.error(Reader::full("authentication", key),
            "is encrypted with a passphrase: decrypt it with `openssl pkey`, "
            "the file's mode protects it");
  } else if (label.find(kind) == std::string_view::npos) {
    r.error(Reader::full("authentication", key),
            "holds another kind of PEM: expected \"-----BEGIN " + std::string{kind} + "-----\"");
  }
}

void read_authentication(Reader& r, const toml::table& table, Authentication& out) {
  constexpr std::string_view kSection = "authentication";
  r.enter(table, kSection, kAuthenticationKeys);
  std::string method = "certificate";
  r.text(table, kSection, "method", method, false, "\"certificate\"");
  r.text(table, kSection, "identity", out.identity, true, "\"alice\"");
  if (method == "psk") {
    out.method = Method::psk;
    for (const auto* key : {"certificate", "private_key", "ca"}) {
      if (table.contains(key)) r.error(Reader::full(kSection, key), "has no meaning with method = \"psk\": remove it");
    }
    std::string psk;
    if (r.text(table, kSection, "psk", psk, true, "\"a long random text\"", 1024)) out.psk = Secret{as_bytes(psk)};
    wipe({reinterpret_cast<std::uint8_t*>(psk.data()), psk.size()});
    return;
  }
  if (method != "certificate") {
    r.error("authentication.method", quoted(method) + " is unknown: use \"certificate\" or \"psk\"");
    return;
  }
  if (table.contains("psk")) {
    r.error("authentication.psk", "has no meaning with method = \"certificate\": remove it, or set method = \"psk\"");
  }
  read_pem(r, table, "certificate", "CERTIFICATE", out.certificate);
  read_pem(r, table, "ca", "CERTIFICATE", out.ca);
  std::string key;
  read_pem(r, table, "private_key", "PRIVATE KEY", key);
  out.private_key = Secret{as_bytes(key)};
  wipe({reinterpret_cast<std::uint8_t*>(key.data()), key.size()});
}

void read_tunnel(Reader& r, const toml::table& table, Tunnel& out) {
  constexpr std::string_view kSection = "tunnel";
  r.enter(table, kSection, kTunnelKeys);
  std::vector<std::string> routes;
  if (r.texts(table, kSection, "routes", routes, "[\"10.0.0.0/8\", \"2001:db8::/32\"]")) {
    out.routes.emplace();
    for (const auto& text : routes) {
      const auto prefix = IpPrefix::parse(text);
      if (!prefix) {
        r.error("tunnel.routes", quoted(text) + " is not a prefix: write for example \"10.0.0.0/8\" or \"::/0\"");
        return;
      }
      if (prefix->first() != prefix->address) {
        r.error("tunnel.routes", quoted(text) + " has bits beyond its length: write \"" +
                                     IpPrefix{prefix->first(), prefix->length}.to_string() + "\"");
        return;
      }
      out.routes->push_back(*prefix);
    }
  }
  r.boolean(table, kSection, "dns", out.dns);
  r.boolean(table, kSection, "block_leaks", out.block_leaks);
  std::uint16_t mtu = 0;
  if (r.number<std::uint16_t>(table, kSection, "mtu", 576, 65535, mtu)) out.mtu = mtu;
}

/// Seconds. Rekeys more often than every few seconds would leave no time for anything else.
void read_timers(Reader& r, const toml::table& table, Timers& out) {
  constexpr std::string_view kSection = "timers";
  r.enter(table, kSection, kTimerKeys);
  std::uint32_t seconds = 0;
  if (r.number<std::uint32_t>(table, kSection, "ike_rekey", 5, 604800, seconds)) out.ike_rekey.emplace(seconds);
  if (r.number<std::uint32_t>(table, kSection, "child_rekey", 5, 86400, seconds)) out.child_rekey.emplace(seconds);
}

void read_transports(Reader& r, const toml::table& table, std::vector<std::string>& out) {
  r.enter(table, "transports", kTransportKeys);
  if (!r.texts(table, "transports", "order", out, "[\"udp\"]")) return;
  if (out.empty()) r.error("transports.order", "is empty: name at least one transport, for example [\"udp\"]");
  for (const auto& name : out) {
    if (std::find(kTransports.begin(), kTransports.end(), name) == kTransports.end()) {
      r.error("transports.order", quoted(name) + " is no transport: there are udp, esp, ctcp, tcp and tls");
    }
  }
}

void read_root(Reader& r, const toml::table& root, Profile& out) {
  r.enter(root, "", kTopKeys);
  int version = 0;
  if (!root.contains("version")) {
    r.missing("", "version", std::to_string(kVersion));
  } else if (!r.number<int>(root, "", "version", 1, kVersion, version)) {
    return;
  }
  r.text(root, "", "name", out.name, false, "\"alice\"");
  if (const auto* table = r.section(root, "headend", true)) read_headend(r, *table, out.headend);
  if (const auto* table = r.section(root, "authentication", true)) read_authentication(r, *table, out.authentication);
  if (const auto* table = r.section(root, "tunnel", false)) read_tunnel(r, *table, out.tunnel);
  if (const auto* table = r.section(root, "crypto", false)) {
    r.enter(*table, "crypto", kCryptoKeys);
    r.texts(*table, "crypto", "ike", out.crypto.ike, "[\"aes128gcm16-prfsha256-x25519\"]");
    r.texts(*table, "crypto", "esp", out.crypto.esp, "[\"aes128gcm16-esn\"]");
  }
  if (const auto* table = r.section(root, "timers", false)) read_timers(r, *table, out.timers);
  if (const auto* table = r.section(root, "transports", false)) read_transports(r, *table, out.transport_order);
}

}  // namespace

Result<Profile, UserError> parse(std::string_view text, std::string_view file) {
  Profile profile;
  profile.file = file;
  if (text.size() > kMaxFileOctets) return fail_user(profile.file + ": is larger than 1 MiB, which no profile is");
  try {
    const toml::table root = toml::parse(text, file);
    Reader reader{profile};
    read_root(reader, root, profile);
    if (reader.failed()) return tl::unexpected(reader.take_error());
  } catch (const toml::parse_error& error) {
    // The library's description may quote the text around the fault; it is short and on one line.
    std::string what{error.description()};
    for (auto& c : what) {
      if (std::isprint(static_cast<unsigned char>(c)) == 0) c = ' ';
    }
    return fail_user(profile.file + ":" + std::to_string(error.source().begin.line) + ": is not TOML (" +
                     what.substr(0, 200) + "): correct this line");
  }
  return profile;
}

}  // namespace switchback::profile
