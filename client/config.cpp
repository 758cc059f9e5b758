#include "client/config.h"

#include <net/if.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "common/base/log.h"
#include "common/io/control_socket.h"
#include "common/path/offer.h"

namespace switchback::client {
namespace {

constexpr std::string_view kNames = "udp, esp, ctcp, tcp or tls";

void append_once(std::vector<path::TransportKind>& order, path::TransportKind transport) {
  if (std::find(order.begin(), order.end(), transport) == order.end()) order.push_back(transport);
}

Result<void, UserError> choose_transports(const ConnectOptions& options, Config& config) {
  const auto& profile = config.profile;
  for (const auto& name : options.order) {
    const auto transport = path::transport_from(name);
    if (!transport) {
      return fail_user("--order: there is no transport \"" + name + "\": use " + std::string{kNames});
    }
    append_once(config.order, *transport);
  }
  if (config.order.empty()) {
    for (const auto& name : profile.transports.order) {
      const auto transport = path::transport_from(name);
      if (!transport) {
        return tl::unexpected(profile.where.error_at(
            "transports.order", "there is no transport \"" + name + "\": use " + std::string{kNames}));
      }
      append_once(config.order, *transport);
    }
  }
  if (options.transport != "auto") {
    config.forced = path::transport_from(options.transport);
    if (!config.forced) {
      return fail_user("--transport: there is no transport \"" + options.transport + "\": use auto, " +
                       std::string{kNames});
    }
    config.order = {*config.forced};
  }
  const auto& mode = options.ctcp_mode.empty() ? profile.transports.ctcp_mode : options.ctcp_mode;
  if (mode != "resilient" && mode != "classic") {
    return fail_user("--ctcp-mode: \"" + mode + "\" is unknown: use resilient or classic");
  }
  config.ctcp_classic = mode == "classic";
  config.stay = options.stay;
  return {};
}

/// "alice.toml:12: authentication.ca", as the crypto layer likes to call what it reads.
std::string place(const profile::Profile& profile, std::string_view key) {
  auto text = profile.where.error_at(key, "").message;
  while (!text.empty() && (text.back() == ' ' || text.back() == ':')) text.pop_back();
  return text;
}

Result<crypto::IkeIdentity, UserError> identity_of(const profile::Profile& profile, std::string_view key,
                                                   const std::string& text) {
  auto identity = crypto::IkeIdentity::parse(text);
  if (!identity) return tl::unexpected(profile.where.error_at(key, identity.error().message));
  return identity;
}

Result<void, UserError> add_credentials(Config& config) {
  const auto& auth = config.profile.authentication;
  if (auth.method == profile::Method::psk) {
    auto credentials = crypto::Credentials::from_pre_shared_key(auth.psk.clone());
    if (!credentials) {
      return tl::unexpected(config.profile.where.error_at("authentication.psk", credentials.error().message));
    }
    config.credentials = std::make_shared<const crypto::Credentials>(std::move(*credentials));
    return {};
  }
  SB_TRY(auto chain,
         crypto::Certificate::parse_pem(auth.certificate, place(config.profile, "authentication.certificate")));
  SB_TRY(auto key,
         crypto::PrivateKey::parse_pem(auth.private_key.view(), place(config.profile, "authentication.private_key")));
  if (!key.belongs_to(chain.front())) {
    return tl::unexpected(config.profile.where.error_at(
        "authentication.private_key", "is not the key of the (first) certificate: take both from the same profile"));
  }
  if (!chain.front().speaks_for(config.local_identity, crypto::CertificateUse::client)) {
    return tl::unexpected(config.profile.where.error_at(
        "authentication.identity", "the certificate is for " + chain.front().subject_text() + ", not for " +
                                       config.local_identity.to_string() + ": use a name that stands in it"));
  }
  const auto now = wall_now();
  if (chain.front().not_after() < now) {
    log::warning("certificate_expired", {{"subject", chain.front().subject_text()},
                                         {"remedy", "ask for a new profile, or check this host's clock"}});
  } else if (chain.front().not_after() < now + std::chrono::days{14}) {
    log::warning("certificate_expires_soon", {{"subject", chain.front().subject_text()}});
  }
  auto credentials = crypto::Credentials::from_certificate(std::move(chain), std::move(key));
  if (!credentials) {
    return tl::unexpected(config.profile.where.error_at("authentication.certificate", credentials.error().message));
  }
  config.credentials = std::make_shared<const crypto::Credentials>(std::move(*credentials));
  crypto::TrustStore trust;
  SB_CHECK(trust.add_pem(auth.ca, place(config.profile, "authentication.ca")));
  config.trust = std::make_shared<const crypto::TrustStore>(std::move(trust));
  return {};
}

Result<void, UserError> add_proposals(Config& config) {
  for (const auto& text : config.profile.crypto.ike) {
    auto proposal = ike::parse_ike_proposal(text);
    if (!proposal) return tl::unexpected(config.profile.where.error_at("crypto.ike", proposal.error().message));
    config.ike_proposals.push_back(std::move(*proposal));
  }
  for (const auto& text : config.profile.crypto.esp) {
    auto proposal = ike::parse_esp_proposal(text);
    if (!proposal) return tl::unexpected(config.profile.where.error_at("crypto.esp", proposal.error().message));
    config.esp_proposals.push_back(std::move(*proposal));
  }
  if (config.ike_proposals.empty()) config.ike_proposals = ike::default_ike_proposals();
  if (config.esp_proposals.empty()) config.esp_proposals = ike::default_esp_proposals();
  return {};
}

}  // namespace

Result<void, UserError> check_tun_name(const std::string& name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (name.empty() || name.size() >= IFNAMSIZ || !plain || name == "." || name == "..") {
    return fail_user("--tun: \"" + name + "\" is no interface name: use 1 to 15 letters, digits, '-', '_' or '.'");
  }
  return {};
}

Result<log::Sink, UserError> parse_sink(const std::string& text) {
  if (text == "stderr") return log::Sink::standard_error;
  if (text == "journald") return log::Sink::journald;
  return fail_user("--log-to: \"" + text + "\" is unknown: use stderr or journald");
}

Result<Config, UserError> make_config(const ConnectOptions& options) {
  SB_CHECK(check_tun_name(options.tun));
  Config config;
  SB_TRY(config.profile, profile::load(options.profile));
  SB_CHECK(choose_transports(options, config));
  config.tun = options.tun;
  if (!options.local.empty()) {
    config.local = IpAddress::parse(options.local);
    if (!config.local) {
      return fail_user("--local: \"" + options.local + "\" is no IP address: give one of this host's addresses");
    }
  }
  config.pcap_file = options.pcap;
  config.keylog_directory = options.keylog;
  config.control_socket =
      options.control_socket.empty() ? io::control_socket_path("client", options.tun) : options.control_socket;

  // systemd names a directory that outlives reboots, if the unit asks for one; several may be listed.
  if (const auto* directory = std::getenv("STATE_DIRECTORY"); directory != nullptr && *directory == '/') {
    const std::string_view all{directory};
    config.state_directory = all.substr(0, all.find(':'));
  }

  const auto& profile = config.profile;
  SB_TRY(config.local_identity, identity_of(profile, "authentication.identity", profile.authentication.identity));
  SB_TRY(config.remote_identity, identity_of(profile, "headend.identity", profile.headend.identity));
  SB_CHECK(add_credentials(config));
  SB_CHECK(add_proposals(config));
  return config;
}

std::shared_ptr<const ike::SessionConfig> make_session_config(const Config& config, const PreferredAddresses& preferred,
                                                              path::TransportKind transport) {
  auto session = std::make_shared<ike::SessionConfig>();
  session->local_identity = config.local_identity;
  session->remote_identity = config.remote_identity;
  session->credentials = config.credentials;
  session->trust = config.trust;
  const bool psk = config.profile.authentication.method == profile::Method::psk;
  if (psk) session->peer_keys.push_back({config.remote_identity, config.profile.authentication.psk.clone()});
  session->accept_certificates = !psk;
  session->accept_pre_shared_keys = psk;
  session->ike_proposals = config.ike_proposals;
  session->esp_proposals = config.esp_proposals;

  const packet::TrafficSelectors everything{packet::from_prefix({IpAddress::any(IpFamily::v4), 0}),
                                            packet::from_prefix({IpAddress::any(IpFamily::v6), 0})};
  session->local_selectors = everything;
  const auto& routes = config.profile.tunnel.routes;
  // What is asked for is what will be routed: then a headend cannot reach further into this host than that.
  session->remote_selectors = routes && !routes->empty() ? packet::from_prefixes(*routes) : everything;
  if (session->remote_selectors.size() > packet::kMaxTrafficSelectors) {
    session->remote_selectors = everything;
  }
  ike::NetworkRequest request;
  request.dns = request.search_domains = config.profile.tunnel.dns;
  request.preferred_v4 = preferred.v4;
  request.preferred_v6 = preferred.v6;
  session->request_network = request;
  // Streams carry IKE where they carry ESP, and native ESP leaves IKE where it began; only UDP goes on at another port.
  session->nat_t_port = transport == path::TransportKind::udp ? config.profile.headend.nat_t_port : 0;
  // Native ESP has no use for a peer that thinks of a NAT where there is none.
  session->force_udp_encapsulation = transport != path::TransportKind::esp;
  session->wait_before_auth = true;
  session->auth_notifies.push_back({path::kInBandNotify, path::build_in_band()});
  session->keylog = !config.keylog_directory.empty();
  auto& timers = session->timers;
  // A session outlives some 40 s in which no path works. Where the headend says that it does not know it any more, or
  // knows one path only, the Connector does not wait so long.
  timers.suspicion.sends = 22;
  const auto& wanted = config.profile.timers;
  if (wanted.ike_rekey) timers.ike_rekey = *wanted.ike_rekey;
  if (wanted.child_rekey) timers.child_rekey = *wanted.child_rekey;
  // Time to try again, and for an answer, before the hard end.
  timers.ike_lifetime = timers.ike_rekey + timers.ike_rekey / 4 + std::chrono::minutes{1};
  timers.child_lifetime = timers.child_rekey + timers.child_rekey / 4 + std::chrono::minutes{1};
  return session;
}

}  // namespace switchback::client
