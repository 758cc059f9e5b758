// headend.toml: what the headend is told, validated. Every error names file, line, key and remedy.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/ike/proposal.h"

namespace switchback::headend {

/// Files below the headend's directory.
struct Layout {
  std::string directory;
  [[nodiscard]] std::string config() const { return directory + "/headend.toml"; }
  [[nodiscard]] std::string database() const { return directory + "/state.db"; }
  /// `name` as it stands in headend.toml: relative to the directory unless absolute.
  [[nodiscard]] std::string resolve(const std::string& name) const;
};

/// [transports]: what clients may reach the headend by.
struct TransportSettings {
  /// Those that are on, in the order that clients are told to prefer. `esp` stands with `udp` only, which carries its
  /// IKE.
  std::vector<std::string> enabled{"udp", "esp", "ctcp", "tls", "tcp"};
  std::vector<std::uint16_t> ctcp_ports{10000};
  std::vector<std::string> ctcp_modes{"resilient", "classic"};  // the preferred one first
  std::uint16_t tcp_port = 4500;
  std::uint16_t tls_port = 443;
  std::string tls_certificate_file, tls_private_key_file;  // resolved
  /// What strangers see inside TLS: a page, or another server; with neither a plain page of ours.
  std::string tls_page_file;  // resolved; empty: none
  std::optional<Endpoint> tls_upstream;

  [[nodiscard]] bool has(std::string_view name) const noexcept;
  /// @param mode  "resilient" or "classic"
  [[nodiscard]] bool has_ctcp_mode(std::string_view mode) const noexcept;
};
inline constexpr std::size_t kMaxCtcpPorts = 10;

struct Config {
  Layout layout;

  // [headend]
  std::string identity;                // IDr, and what clients check in the certificate
  std::vector<std::string> addresses;  // for profiles: names or addresses, in the order to try
  std::vector<IpAddress> listen;
  std::uint16_t ike_port = 500;
  std::uint16_t nat_t_port = 4500;

  // [pki], resolved
  std::string ca_file, ca_key_file, certificate_file, private_key_file;

  TransportSettings transports;

  // [network]
  std::string tun = "swb-head0";
  unsigned mtu = 1438;                  // largest inner packet of an outer path of 1500 octets over IPv4
  std::optional<IpPrefix> pool, pool6;  // at least one
  std::vector<IpPrefix> routes;
  std::vector<IpAddress> dns;
  std::vector<std::string> search_domains;
  bool forwarding = true;
  bool nat = true;
  std::optional<unsigned> workers;  // packet threads; absent: default_workers()

  // [crypto]
  std::vector<ike::IkeProposal> ike_proposals;
  std::vector<ike::EspProposal> esp_proposals;

  // [limits]
  std::size_t max_sessions = 10000;
  std::size_t max_sessions_per_user = 4;
  std::size_t max_half_open = 5000;
  std::size_t cookie_threshold = 100;
  std::size_t max_half_open_per_address = 32;
  std::size_t max_connections_per_address = 256;  // of each of ctcp, tcp, tls
  double new_sessions_per_second = 20;
  double new_sessions_burst = 100;

  // [timers]
  Duration liveness = std::chrono::seconds{30};
  Duration ike_rekey = std::chrono::hours{4};
  Duration child_rekey = std::chrono::hours{1};

  // [control]
  std::string control_socket;
};

inline constexpr unsigned kMostWorkers = 16;
/// One for up to two processors, then all but one, which is for the kernel and the control thread, up to four.
[[nodiscard]] unsigned default_workers() noexcept;
/// The same for a host with so many processors.
[[nodiscard]] unsigned default_workers(unsigned processors) noexcept;

/// Reads DIR/headend.toml.
[[nodiscard]] Result<Config, UserError> load_config(const std::string& directory);
/// The same from text; `file` is for messages.
[[nodiscard]] Result<Config, UserError> parse_config(std::string_view text, const std::string& file, Layout layout);

/// What `init` fills in.
struct ConfigChoices {
  std::string identity;
  std::vector<std::string> addresses;
  std::optional<IpPrefix> pool, pool6;
  std::vector<IpAddress> dns;
  std::vector<IpPrefix> routes;
};
/// A complete headend.toml with a comment on every key; what is not chosen stands there with its default.
[[nodiscard]] std::string render_config(const ConfigChoices& choices);

/// A DNS name: labels of letters, digits and hyphens.
[[nodiscard]] bool valid_host_name(std::string_view name) noexcept;

}  // namespace switchback::headend
