// From the command line and the profile to a validated configuration.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/log.h"
#include "common/base/result.h"
#include "common/ike/session_config.h"
#include "common/path/types.h"
#include "common/profile/profile.h"

namespace switchback::client {

inline constexpr const char* kDefaultTun = "swb0";
inline constexpr const char* kRuntimeDirectory = "/run/switchback";

/// Exit statuses; a service manager decides by them whether to try again.
enum class ExitStatus : int {
  success = 0,
  failure = 1,         // could not connect, or something broke
  usage = 2,           // command line or profile: trying again is of no use
  authentication = 3,  // the headend refuses us, or is not who it should be
  running = 4,         // another client has this TUN name
};

/// `connect`, as typed.
struct ConnectOptions {
  std::string profile;
  std::string transport = "auto";
  std::vector<std::string> order;
  std::string ctcp_mode;
  bool stay = false;
  std::string tun = kDefaultTun;
  std::string local;
  std::string pcap, keylog;
  std::string log_level = "info";
  std::string log_to = "stderr";
  std::string control_socket;  // empty: the usual place
};

/// Everything that `connect` needs, checked. Immutable from here on.
struct Config {
  profile::Profile profile;
  std::string tun;
  std::optional<IpAddress> local;
  std::string pcap_file, keylog_directory;
  std::string control_socket;
  std::string runtime_directory = kRuntimeDirectory;
  std::string state_directory = kRuntimeDirectory;  // what may outlive a run: which transports worked where

  std::vector<path::TransportKind> order;     // transports to try, best first, each once; just `forced` if that is set
  std::optional<path::TransportKind> forced;  // by --transport: nothing else is ever tried
  bool ctcp_classic = false;
  bool stay = false;  // once up, no other path is opened: what a client without a way out goes through

  crypto::IkeIdentity local_identity, remote_identity;
  std::shared_ptr<const crypto::Credentials> credentials;
  std::shared_ptr<const crypto::TrustStore> trust;  // null with a pre-shared key
  std::vector<ike::IkeProposal> ike_proposals;
  std::vector<ike::EspProposal> esp_proposals;
};

/// Errors name the flag, or the profile's file, line and key, and the remedy.
[[nodiscard]] Result<Config, UserError> make_config(const ConnectOptions& options);

/// Addresses to ask for again.
struct PreferredAddresses {
  IpAddress v4, v6;
};

/// How a session is to be negotiated over that transport; IKE_AUTH waits until the path is chosen.
[[nodiscard]] std::shared_ptr<const ike::SessionConfig> make_session_config(const Config& config,
                                                                            const PreferredAddresses& preferred,
                                                                            path::TransportKind transport);

/// At most 15 octets, no slash, no space, as the kernel wants it; and nothing that a file name could not hold.
[[nodiscard]] Result<void, UserError> check_tun_name(const std::string& name);
[[nodiscard]] Result<log::Sink, UserError> parse_sink(const std::string& text);

}  // namespace switchback::client
