// Choosing a suite: our own proposals as text and as policy, offers made from them, and the choice from a peer's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/crypto/aead.h"
#include "common/crypto/key_exchange.h"
#include "common/crypto/prf.h"
#include "common/ike/payload_sa.h"

namespace switchback::ike {

/// What one IKE SA uses. AEAD only, so there is no integrity algorithm (RFC 5282 §8).
struct IkeSuite {
  crypto::AeadAlgorithm encryption{};
  crypto::PrfAlgorithm prf{};
  crypto::KeyExchangeMethod key_exchange{};
  friend bool operator==(const IkeSuite&, const IkeSuite&) = default;
};

/// What one Child SA uses.
struct EspSuite {
  crypto::AeadAlgorithm encryption{};
  bool esn = false;
  std::optional<crypto::KeyExchangeMethod> key_exchange{};  // PFS; never with IKE_AUTH
  friend bool operator==(const EspSuite&, const EspSuite&) = default;
};

/// One proposal for an IKE SA: any of each list, each in order of preference. No list is empty.
struct IkeProposal {
  std::vector<crypto::AeadAlgorithm> encryption;
  std::vector<crypto::PrfAlgorithm> prf;
  std::vector<crypto::KeyExchangeMethod> key_exchange;
  friend bool operator==(const IkeProposal&, const IkeProposal&) = default;
};

/// One proposal for a Child SA. `esn` holds at least one value, in order of preference.
struct EspProposal {
  std::vector<crypto::AeadAlgorithm> encryption;
  std::vector<crypto::KeyExchangeMethod> key_exchange;  // empty: no PFS
  bool key_exchange_optional = false;                   // with methods: also without PFS ("none")
  std::vector<bool> esn;
  friend bool operator==(const EspProposal&, const EspProposal&) = default;
};

/// Text in strongSwan's syntax: keywords joined by '-', alternatives of a kind side by side.
/// IKE: "aes128gcm16-aes256gcm16-prfsha256-x25519". ESP: "aes128gcm16-esn-noesn", "aes256gcm16-x25519" (PFS; without
/// esn or noesn: noesn), "aes128gcm16-x25519-none" (PFS if the peer likes).
/// Errors name the keyword and what would do.
[[nodiscard]] Result<IkeProposal, UserError> parse_ike_proposal(std::string_view text);
[[nodiscard]] Result<EspProposal, UserError> parse_esp_proposal(std::string_view text);
[[nodiscard]] std::string to_string(const IkeProposal& proposal);
[[nodiscard]] std::string to_string(const EspProposal& proposal);
[[nodiscard]] std::string to_string(const IkeSuite& suite);
[[nodiscard]] std::string to_string(const EspSuite& suite);

/// Used where nothing is configured; strongest compatible first, ESN before NO_ESN, PFS accepted.
[[nodiscard]] std::vector<IkeProposal> default_ike_proposals();
[[nodiscard]] std::vector<EspProposal> default_esp_proposals();

/// Whether KE transforms of a Child SA count: they do not in IKE_AUTH, which has no KE payload (RFC 7296 §1.2).
enum class ChildKeyExchange : std::uint8_t { ignored, negotiated };

/// Our offer. @param spi  empty in IKE_SA_INIT, 8 octets when an IKE SA is rekeyed.
[[nodiscard]] std::vector<Proposal> offer(std::span<const IkeProposal> policy, std::optional<IkeSpi> spi = {});
/// Proposals that become the same without KE transforms are offered once.
[[nodiscard]] std::vector<Proposal> offer(std::span<const EspProposal> policy, Spi spi, ChildKeyExchange kex);
/// The method for the first KE payload of an offer; nothing if the policy wants none.
[[nodiscard]] std::optional<crypto::KeyExchangeMethod> first_key_exchange(std::span<const IkeProposal> policy);
[[nodiscard]] std::optional<crypto::KeyExchangeMethod> first_key_exchange(std::span<const EspProposal> policy);

struct ChosenIke {
  IkeSuite suite;
  std::uint8_t number = 0;  // of the offered proposal
  IkeSpi spi;               // the peer's new SPI when rekeying, else zero
  Proposal answer;          // to send back with our own SPI in answer.spi, if any
};
struct ChosenEsp {
  EspSuite suite;
  std::uint8_t number = 0;
  Spi spi;          // on which the peer wants to receive; never reserved (0 to 255)
  Proposal answer;  // to send back with our own SPI in answer.spi
};

/// Responder: the first of our proposals that some offered one can meet, and within it our preferred algorithms.
/// Nothing: answer NO_PROPOSAL_CHOSEN. If the suite's key exchange is not that of the KE payload, answer
/// INVALID_KE_PAYLOAD with it (§1.2). An offered proposal is not eligible if it holds a transform type that we do not
/// know or lacks one that is needed (§3.3.6); an unknown transform is passed over.
/// @param rekeying  offers must then carry 8-octet SPIs, and else none
[[nodiscard]] std::optional<ChosenIke> choose_ike(std::span<const IkeProposal> policy,
                                                  std::span<const Proposal> offered, bool rekeying);
[[nodiscard]] std::optional<ChosenEsp> choose_esp(std::span<const EspProposal> policy,
                                                  std::span<const Proposal> offered, ChildKeyExchange kex);

/// Initiator: the answer must be exactly one proposal, with one transform of each type, out of what was offered
/// (§2.7). Nothing: the exchange has failed, and the peer is at fault.
[[nodiscard]] std::optional<ChosenIke> accept_ike(std::span<const Proposal> offered, std::span<const Proposal> answer);
[[nodiscard]] std::optional<ChosenEsp> accept_esp(std::span<const Proposal> offered, std::span<const Proposal> answer);

/// Whether any offered proposal names the method, as an INVALID_KE_PAYLOAD answer must (§1.2: otherwise an attacker
/// could make us use what we never offered).
[[nodiscard]] bool offers_key_exchange(std::span<const Proposal> offered, KeyExchangeId method) noexcept;

[[nodiscard]] std::optional<crypto::KeyExchangeMethod> supported_key_exchange(KeyExchangeId id) noexcept;
[[nodiscard]] KeyExchangeId wire_id(crypto::KeyExchangeMethod method) noexcept;

}  // namespace switchback::ike
