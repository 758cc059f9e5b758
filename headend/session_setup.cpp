#include "headend/session_setup.h"

#include "common/crypto/identity.h"
#include "common/esp/sa.h"
#include "headend/files.h"

namespace switchback::headend {

Result<std::shared_ptr<const ike::SessionConfig>, UserError> make_session_config(const Config& config, Store& store,
                                                                                 bool keylog) {
  auto made = std::make_shared<ike::SessionConfig>();
  SB_TRY(auto identity, crypto::IkeIdentity::parse(config.identity));
  made->local_identity = std::move(identity);
  SB_TRY(const auto chain, read_file(config.certificate_file, "the headend's certificate"));
  SB_TRY(auto key_text, read_file(config.private_key_file, "the headend's key"));
  const Secret key{as_bytes(key_text)};
  wipe({reinterpret_cast<std::uint8_t*>(key_text.data()), key_text.size()});
  SB_TRY(auto credentials, crypto::Credentials::from_pem(chain, key.view(), config.certificate_file));
  if (!credentials.chain().front().speaks_for(made->local_identity, crypto::CertificateUse::headend)) {
    return fail_user(config.certificate_file + " does not name headend.identity \"" + config.identity +
                     "\" among its alternative names: correct the identity, or issue a certificate that does");
  }
  made->credentials = std::make_shared<const crypto::Credentials>(std::move(credentials));

  SB_TRY(const auto ca, read_file(config.ca_file, "the CA certificate"));
  auto trust = std::make_shared<crypto::TrustStore>();
  SB_CHECK(trust->add_pem(ca, config.ca_file));
  made->trust = std::move(trust);

  SB_TRY(auto keys, store.pre_shared_keys());
  for (auto& user : keys) {
    auto peer = crypto::IkeIdentity::parse(user.name);
    if (!peer) continue;  // a name that add_user() would not have let in
    made->peer_keys.push_back({*std::move(peer), std::move(user.key)});
  }

  index_peer_keys(*made);
  made->ask_authorization = true;
  made->ike_proposals = config.ike_proposals;
  made->esp_proposals = config.esp_proposals;
  made->local_selectors = packet::from_prefixes(config.routes);
  made->nat_t_port = config.nat_t_port;
  made->keylog = keylog;
  auto& timers = made->timers;
  timers.liveness_idle = config.liveness;
  timers.ike_rekey = config.ike_rekey;
  timers.ike_lifetime = config.ike_rekey + config.ike_rekey / 4 + std::chrono::minutes{1};
  timers.child_rekey = config.child_rekey;
  timers.child_lifetime = config.child_rekey + config.child_rekey / 4 + std::chrono::minutes{1};
  return made;
}

unsigned inner_mtu_for(unsigned path_mtu, unsigned overhead) noexcept {
  constexpr auto kFixed = static_cast<unsigned>(esp::kHeaderBytes + esp::kIvBytes + esp::kTagBytes);
  constexpr auto kAlignment = static_cast<unsigned>(esp::kAlignment);
  constexpr auto kTrailer = static_cast<unsigned>(esp::kTrailerBytes);
  if (path_mtu < overhead + kFixed + kAlignment + kTrailer) return 0;
  const unsigned padded = (path_mtu - overhead - kFixed) / kAlignment * kAlignment;
  return padded - kTrailer;
}

}  // namespace switchback::headend
