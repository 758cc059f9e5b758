#include "tools/load/credentials.h"

#include <algorithm>
#include <filesystem>

#include "common/profile/profile.h"

namespace switchback::load {
namespace {

Result<std::vector<std::string>, UserError> find_profiles(const std::string& place) {
  std::error_code error;
  if (!std::filesystem::is_directory(place, error)) return std::vector{place};
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator{place, error}) {
    if (entry.path().extension() == ".toml") files.push_back(entry.path().string());
  }
  if (error) return fail_user("--profiles: cannot read " + place + ": " + error.message());
  if (files.empty()) {
    return fail_user("--profiles: there is no .toml file in " + place +
                     ": make some with `switchback-headend user add --from NAMES --out DIR`");
  }
  // u2 before u10, so that the same users are used whatever their number.
  std::sort(files.begin(), files.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  return files;
}

Result<Endpoint, UserError> headend_of(const profile::Profile& profile, IpFamily family, const std::string& file) {
  for (const auto& text : profile.headend.addresses) {
    const auto address = IpAddress::parse(text);
    if (address && address->family() == family) return Endpoint{*address, profile.headend.ike_port};
  }
  return fail_user(file +
                   ": headend.addresses has no address of the family of --sources; names are not looked up here");
}

/// Certificates of one headend's users come from one authority: its certificate is read once.
struct Trust {
  std::string pem;
  std::shared_ptr<const crypto::TrustStore> store;
};

Result<void, UserError> add_proof(ike::SessionConfig& config, const profile::Profile& profile, Trust& trust,
                                  const std::string& file) {
  const auto& proof = profile.authentication;
  const bool psk = proof.method == profile::Method::psk;
  config.accept_certificates = !psk;
  config.accept_pre_shared_keys = psk;
  if (psk) {
    SB_TRY(auto credentials, crypto::Credentials::from_pre_shared_key(proof.psk.clone()));
    config.credentials = std::make_shared<const crypto::Credentials>(std::move(credentials));
    config.peer_keys.push_back({*config.remote_identity, proof.psk.clone()});
    return {};
  }
  SB_TRY(auto credentials, crypto::Credentials::from_pem(proof.certificate, proof.private_key.view(), file));
  config.credentials = std::make_shared<const crypto::Credentials>(std::move(credentials));
  if (!trust.store || trust.pem != proof.ca) {
    crypto::TrustStore store;
    SB_CHECK(store.add_pem(proof.ca, file));
    trust = {proof.ca, std::make_shared<const crypto::TrustStore>(std::move(store))};
  }
  config.trust = trust.store;
  return {};
}

Result<std::shared_ptr<const ike::SessionConfig>, UserError> make_config(const profile::Profile& profile, Trust& trust,
                                                                         const UserOptions& options,
                                                                         const std::string& file) {
  auto config = std::make_shared<ike::SessionConfig>();
  SB_TRY(config->local_identity, crypto::IkeIdentity::parse(profile.authentication.identity));
  SB_TRY(config->remote_identity, crypto::IkeIdentity::parse(profile.headend.identity));
  SB_CHECK(add_proof(*config, profile, trust, file));
  for (const auto& text : profile.crypto.ike) {
    if (&text == &profile.crypto.ike.front()) config->ike_proposals.clear();
    SB_TRY(auto proposal, ike::parse_ike_proposal(text));
    config->ike_proposals.push_back(std::move(proposal));
  }
  for (const auto& text : profile.crypto.esp) {
    if (&text == &profile.crypto.esp.front()) config->esp_proposals.clear();
    SB_TRY(auto proposal, ike::parse_esp_proposal(text));
    config->esp_proposals.push_back(std::move(proposal));
  }
  config->local_selectors = config->remote_selectors = {packet::from_prefix({IpAddress::any(IpFamily::v4), 0}),
                                                        packet::from_prefix({IpAddress::any(IpFamily::v6), 0})};
  config->request_network = ike::NetworkRequest{};
  config->nat_t_port = profile.headend.nat_t_port;
  config->initial_contact = !options.shared;
  config->timers.liveness_idle = std::chrono::seconds{options.liveness};
  return config;
}

}  // namespace

Result<Users, UserError> load_users(const UserOptions& options) {
  SB_TRY(const auto files, find_profiles(options.profiles));
  Users users;
  Trust trust;
  for (const auto& file : files) {
    if (users.configs.size() == options.most) break;
    SB_TRY(const auto profile, profile::load(file));
    SB_TRY(const auto headend, headend_of(profile, options.family, file));
    if (!users.configs.empty() && headend != users.headend) {
      return fail_user(file + " is for the headend at " + headend.to_string() + ", the profiles before it for " +
                       users.headend.to_string() + ": test one headend at a time");
    }
    users.headend = headend;
    SB_TRY(auto config, make_config(profile, trust, options, file));
    users.configs.push_back(std::move(config));
  }
  return users;
}

}  // namespace switchback::load
