#include "common/ike/peer_proof.h"

#include <algorithm>
#include <optional>

#include "common/ike/payload_auth.h"
#include "common/ike/payload_notify.h"

namespace switchback::ike {
namespace {

constexpr std::size_t kMaxPrivateNotifies = 16;
constexpr std::size_t kMaxPrivateOctets = 4096;

Result<PeerProof, std::string> verify_shared_key(const SessionConfig& config, Role our_role,
                                                 const crypto::IkeIdentity& identity, crypto::PrfAlgorithm prf,
                                                 ByteView data, ByteView octets, RandomSource& random) {
  if (!config.accept_pre_shared_keys) return fail(std::string{"a pre-shared key is not accepted here"});
  const auto* entry = find_peer_key(config, identity);
  PeerProof proof;
  ByteView key;
  Secret nobody{32};
  if (entry != nullptr) {
    proof.peer_key = entry;
    key = entry->key.view();
  } else if (our_role == Role::initiator && config.credentials && !config.credentials->has_certificate()) {
    key = config.credentials->pre_shared_key().view();  // one key for both directions, as profiles have it
  } else {
    // The same work as for a known identity, so that time does not tell which identities exist.
    random.secret_fill(nobody.span());
    key = nobody.view();
  }
  const auto verified = crypto::verify_shared_key_auth(prf, key, data, octets);
  if (!verified || key.data() == nobody.view().data()) return fail(std::string{"the pre-shared key does not fit"});
  return proof;
}

Result<PeerProof, std::string> verify_certificate(const SessionConfig& config, Role our_role, const Payloads& payloads,
                                                  const crypto::IkeIdentity& identity, std::uint8_t method,
                                                  ByteView data, ByteView octets, bool hashes_announced,
                                                  WallTime wall) {
  if (!config.accept_certificates || !config.trust) return fail(std::string{"a certificate is not accepted here"});
  std::vector<ByteView> ders;
  for (const auto& payload : payloads) {
    if (payload.type != PayloadType::certificate) continue;
    const auto view = parse_certificate(payload.body);
    if (view && view->encoding == CertificateEncoding::x509_signature) ders.push_back(view->data);
  }
  const auto use = our_role == Role::initiator ? crypto::CertificateUse::headend : crypto::CertificateUse::client;
  auto certificate = config.trust->verify(ders, identity, use, wall);
  if (!certificate) return fail(std::string{crypto::to_string(certificate.error())});
  if (const auto verified = crypto::verify_auth(*certificate, method, data, octets, hashes_announced); !verified) {
    return fail(std::string{crypto::to_string(verified.error())});
  }
  PeerProof proof;
  proof.certificate = std::move(*certificate);
  return proof;
}

/// Identities that match have the same; distinguished names, which have many forms, have none.
std::optional<std::string> index_key(const crypto::IkeIdentity& identity) {
  if (identity.type == crypto::IdType::der_asn1_dn) return std::nullopt;
  const bool name = identity.type == crypto::IdType::fqdn || identity.type == crypto::IdType::email;
  std::string key(1, static_cast<char>(identity.type));
  for (const auto octet : identity.data) {
    const auto c = static_cast<char>(octet);
    key += name && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return key;
}

}  // namespace

void index_peer_keys(SessionConfig& config) {
  config.peer_key_index.clear();
  for (std::size_t i = 0; i < config.peer_keys.size(); ++i) {
    if (auto key = index_key(config.peer_keys[i].identity)) config.peer_key_index.emplace(*std::move(key), i);
  }
}

const PeerKey* find_peer_key(const SessionConfig& config, const crypto::IkeIdentity& identity) {
  const auto key = config.peer_key_index.empty() ? std::nullopt : index_key(identity);
  if (key) {
    const auto found = config.peer_key_index.find(*key);
    return found == config.peer_key_index.end() ? nullptr : &config.peer_keys[found->second];
  }
  const auto entry = std::find_if(config.peer_keys.begin(), config.peer_keys.end(),
                                  [&](const PeerKey& known) { return known.identity.matches(identity); });
  return entry == config.peer_keys.end() ? nullptr : &*entry;
}

Result<PeerProof, std::string> verify_peer(const SessionConfig& config, Role our_role, const Payloads& payloads,
                                           const crypto::IkeIdentity& identity, crypto::PrfAlgorithm prf,
                                           ByteView signed_octets, bool hashes_announced, RandomSource& random,
                                           WallTime wall) {
  const auto* payload = payloads.find(PayloadType::authentication);
  if (payload == nullptr) return fail(std::string{"it sent no proof (EAP is not offered here)"});
  const auto auth = parse_auth(payload->body);
  if (!auth) return fail(std::string{"its proof is malformed"});
  if (auth->method == AuthenticationMethod::shared_key) {
    return verify_shared_key(config, our_role, identity, prf, auth->data, signed_octets, random);
  }
  return verify_certificate(config, our_role, payloads, identity, static_cast<std::uint8_t>(auth->method), auth->data,
                            signed_octets, hashes_announced, wall);
}

void add_own_certificates(ChainBuilder& chain, const SessionConfig& config, const PeerKey* in_kind) {
  if (in_kind != nullptr || !config.credentials) return;
  for (const auto& certificate : config.credentials->chain()) {
    add_certificate(chain, CertificateEncoding::x509_signature, certificate.der());
  }
}

Result<void, std::string> add_own_auth(ChainBuilder& chain, const SessionConfig& config, const PeerKey* in_kind,
                                       crypto::PrfAlgorithm prf, const std::vector<crypto::HashAlgorithm>& peer_hashes,
                                       ByteView signed_octets) {
  const auto put = [&](const crypto::AuthData& data) {
    add_auth(chain, AuthenticationMethod{static_cast<std::uint8_t>(data.method)}, data.data);
  };
  if (in_kind != nullptr) {
    put(crypto::shared_key_auth(prf, in_kind->key.view(), signed_octets));
    return {};
  }
  if (!config.credentials) return fail(std::string{"there are no credentials to answer with"});
  if (!config.credentials->has_certificate()) {
    put(crypto::shared_key_auth(prf, config.credentials->pre_shared_key().view(), signed_octets));
    return {};
  }
  const auto data = crypto::sign_auth(config.credentials->key(), peer_hashes, signed_octets);
  if (!data) return fail(std::string{crypto::to_string(data.error())});
  put(*data);
  return {};
}

std::vector<PrivateNotify> read_private_notifies(const Payloads& payloads) {
  std::vector<PrivateNotify> found;
  for (const auto& notify : notifies(payloads)) {
    const auto type = static_cast<std::uint16_t>(notify.type);
    if (type < kPrivateNotifyFirst || notify.data.size() > kMaxPrivateOctets) continue;
    if (found.size() == kMaxPrivateNotifies) break;
    found.push_back({type, to_bytes(notify.data)});
  }
  return found;
}

void add_private_notifies(ChainBuilder& chain, const std::vector<PrivateNotify>& notifies) {
  for (const auto& notify : notifies) add_notify(chain, NotifyType{notify.type}, notify.data);
}

}  // namespace switchback::ike
