// How a peer proves its identity in IKE_AUTH, and how we prove ours, either role (RFC 7296 §2.15).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/crypto/identity.h"
#include "common/crypto/prf.h"
#include "common/ike/message.h"
#include "common/ike/session_config.h"

namespace switchback::ike {

/// A proof that held.
struct PeerProof {
  const PeerKey* peer_key = nullptr;               // the entry of config.peer_keys that was used, borrowed; or
  std::optional<crypto::Certificate> certificate;  // the certificate; neither: our own key, shared with the peer
};

/// @param signed_octets  ResponderSignedOctets or InitiatorSignedOctets of the peer
/// @param hashes_announced  see crypto::verify_auth
/// @return the proof, or a clause that says why it does not hold: for the log, never for the peer
[[nodiscard]] Result<PeerProof, std::string> verify_peer(const SessionConfig& config, Role our_role,
                                                         const Payloads& payloads, const crypto::IkeIdentity& identity,
                                                         crypto::PrfAlgorithm prf, ByteView signed_octets,
                                                         bool hashes_announced, RandomSource& random, WallTime wall);

/// Adds CERT payloads, if a certificate is used.
void add_own_certificates(ChainBuilder& chain, const SessionConfig& config, const PeerKey* in_kind);
/// Adds AUTH. @param in_kind  the peer's pre-shared key, to answer with instead of our credentials, or null
/// @return a clause if we cannot
[[nodiscard]] Result<void, std::string> add_own_auth(ChainBuilder& chain, const SessionConfig& config,
                                                     const PeerKey* in_kind, crypto::PrfAlgorithm prf,
                                                     const std::vector<crypto::HashAlgorithm>& peer_hashes,
                                                     ByteView signed_octets);

/// Private-use notifies of an IKE_AUTH message, a bounded number.
[[nodiscard]] std::vector<PrivateNotify> read_private_notifies(const Payloads& payloads);
void add_private_notifies(ChainBuilder& chain, const std::vector<PrivateNotify>& notifies);

}  // namespace switchback::ike
