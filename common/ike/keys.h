// Everything derived from a key exchange: SKEYSEED and SK_* (RFC 7296 §2.14, §2.18), Child SA keys (§2.17).
#pragma once

#include "common/base/secret.h"
#include "common/base/strong.h"
#include "common/crypto/aead.h"
#include "common/crypto/prf.h"
#include "common/ike/proposal.h"

namespace switchback::ike {

/// Keys of one IKE SA. With an AEAD, SK_ai and SK_ar have no octets and are not kept (RFC 5282 §7.1).
struct IkeKeys {
  crypto::PrfAlgorithm prf{};
  Secret sk_d;            // seed for Child SAs and for rekeying the IKE SA
  crypto::AeadKey sk_ei;  // protects what the original initiator sends: key and 4-octet salt
  crypto::AeadKey sk_er;  // … and the original responder
  Secret sk_pi, sk_pr;    // AUTH
};

/// The two nonces of an exchange: i is that of the exchange's initiator, who need not be the IKE SA's.
struct Nonces {
  ByteView i, r;
};

/// Octets of key and salt that an AEAD takes from key material (RFC 4106 §8.1, RFC 5282 §7.1, RFC 7634 §2).
[[nodiscard]] std::size_t key_and_salt_octets(crypto::AeadAlgorithm algorithm) noexcept;

/// §2.14: SKEYSEED = prf(Ni | Nr, g^ir).
[[nodiscard]] Secret skeyseed(crypto::PrfAlgorithm prf, const Nonces& nonces, const Secret& shared);
/// §2.18: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), with the PRF of the old IKE SA.
[[nodiscard]] Secret rekey_skeyseed(const IkeKeys& old_keys, const Secret& shared, const Nonces& nonces);
/// §2.14: {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr), with the PRF
/// of the (new) suite. SPIs are those of the (new) IKE SA.
[[nodiscard]] IkeKeys derive_ike_keys(const IkeSuite& suite, const Secret& skeyseed, const Nonces& nonces,
                                      IkeSpi initiator_spi, IkeSpi responder_spi);

/// Keys of one Child SA: what the exchange's initiator sends with, and what its responder sends with.
struct ChildKeys {
  crypto::AeadKey initiator, responder;
};
/// §2.17: KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr), initiator to responder first.
/// @param shared  of the exchange's own key exchange (PFS), or null
[[nodiscard]] ChildKeys derive_child_keys(const IkeKeys& ike, crypto::AeadAlgorithm encryption, const Secret* shared,
                                          const Nonces& nonces);

}  // namespace switchback::ike
