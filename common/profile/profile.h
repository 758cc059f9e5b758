// The client profile: one TOML file with everything that a client needs. Reader and writer live together here, so that
// what the headend writes and what the client understands cannot drift apart.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/toml/reader.h"

namespace switchback::profile {

/// The only value of `version` so far.
inline constexpr int kVersion = 1;

/// How the client proves who it is. The headend does the same: with `certificate` its certificate must come from `ca`,
/// with `psk` both share the key.
enum class Method : std::uint8_t { certificate, psk };

struct Headend {
  std::vector<std::string> addresses;  // addresses or host names, tried in order; at least one
  std::string identity;                // what the headend proves to be: host name, address, user@host or DN
  std::uint16_t ike_port = 500;
  std::uint16_t nat_t_port = 4500;
};

struct Authentication {
  Method method = Method::certificate;
  std::string identity;     // sent as IDi
  std::string certificate;  // PEM, end-entity first, then intermediates
  Secret private_key;       // PEM, PKCS#8
  std::string ca;           // PEM, one or more
  Secret psk;               // the key's octets as the text has them
};

struct Tunnel {
  std::optional<std::vector<IpPrefix>> routes;  // absent: what the headend pushes; empty: none at all
  bool dns = true;                              // take over pushed name servers
  std::optional<std::uint16_t> mtu;             // of the TUN; absent: from the path
  /// Where all traffic of one family is routed into the tunnel and the tunnel has no address of the other family, that
  /// other family is made unreachable rather than let past the tunnel.
  bool block_leaks = true;
};

struct Crypto {
  std::vector<std::string> ike, esp;  // proposals, strongSwan's syntax; empty: the defaults
};

/// When this end replaces keys; the headend has timers of its own.
struct Timers {
  std::optional<std::chrono::seconds> ike_rekey, child_rekey;  // absent: the client's defaults
};

/// What may carry the session, and where the headend listens for it. The headend's offer corrects ports and modes once
/// it has been authenticated; until then the client has only this.
struct Transports {
  std::vector<std::string> order{"udp", "esp", "ctcp", "tls", "tcp"};  // by preference; what is not named is not used
  std::vector<std::uint16_t> ctcp_ports{10000};                        // tried in order; one to kMaxCtcpPorts
  std::string ctcp_mode = "resilient";                                 // or "classic"
  std::uint16_t tcp_port = 4500;
  std::uint16_t tls_port = 443;
  std::optional<std::string> tls_server_name;  // SNI; absent: the headend's host name, none if it is an address
  friend bool operator==(const Transports&, const Transports&) = default;
};
inline constexpr std::size_t kMaxCtcpPorts = 10;

struct Profile {
  std::string name;  // of the user, for people; no effect
  Headend headend;
  Authentication authentication;
  Tunnel tunnel;
  Crypto crypto;
  Timers timers;
  Transports transports;

  /// Set by parse() and load(): for faults found after parsing, e.g. a proposal or a PEM text.
  toml::KeyLines where;
};

/// @param file  only for messages
/// Errors name file, line, key and remedy; an unknown key is one, with the nearest known key suggested.
[[nodiscard]] Result<Profile, UserError> parse(std::string_view text, std::string_view file);
/// Reads and parses. Refuses a file that its group or others may read or write, since it holds a private key.
[[nodiscard]] Result<Profile, UserError> load(const std::string& path);

/// The TOML text, with comments, that parse() reads back to an equal profile. It contains the secrets.
[[nodiscard]] Secret render(const Profile& profile);
/// Renders into a new file of mode 0600, written whole or not at all (temporary file, fsync, link).
/// Errors: the file exists (unless `replace`), its directory cannot be written.
/// @param sync  false: whoever writes thousands of them syncs once, at the end
[[nodiscard]] Result<void, UserError> save(const Profile& profile, const std::string& path, bool replace = false,
                                           bool sync = true);

}  // namespace switchback::profile
