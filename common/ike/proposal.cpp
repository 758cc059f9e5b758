#include "common/ike/proposal.h"

#include <algorithm>
#include <cassert>

namespace switchback::ike {

namespace {

using crypto::AeadAlgorithm;
using crypto::KeyExchangeMethod;
using crypto::PrfAlgorithm;

Transform transform_of(AeadAlgorithm algorithm) {
  constexpr auto type = TransformType::encryption;
  const auto id = [](EncryptionId value) { return static_cast<std::uint16_t>(value); };
  switch (algorithm) {
    case AeadAlgorithm::aes128_gcm: return {type, id(EncryptionId::aes_gcm_16), 128, true};
    case AeadAlgorithm::aes256_gcm: return {type, id(EncryptionId::aes_gcm_16), 256, true};
    case AeadAlgorithm::chacha20_poly1305: break;
  }
  return {type, id(EncryptionId::chacha20_poly1305), std::nullopt, true};  // RFC 7634 §2: no key length
}

Transform transform_of(PrfAlgorithm algorithm) {
  auto id = PrfId::hmac_sha2_256;
  if (algorithm == PrfAlgorithm::hmac_sha2_384) id = PrfId::hmac_sha2_384;
  if (algorithm == PrfAlgorithm::hmac_sha2_512) id = PrfId::hmac_sha2_512;
  return {TransformType::prf, static_cast<std::uint16_t>(id), std::nullopt, true};
}

Transform transform_of(KeyExchangeMethod method) {
  return {TransformType::key_exchange, static_cast<std::uint16_t>(wire_id(method)), std::nullopt, true};
}

Transform transform_of(bool esn) {
  return {TransformType::extended_sequence_numbers, static_cast<std::uint16_t>(esn ? EsnId::esn : EsnId::no_esn),
          std::nullopt, true};
}

const Transform kNoKeyExchange{TransformType::key_exchange, static_cast<std::uint16_t>(KeyExchangeId::none),
                               std::nullopt, true};
constexpr auto kNoIntegrity = static_cast<std::uint16_t>(IntegrityId::none);

bool contains(const Proposal& proposal, const Transform& wanted) noexcept {
  return std::find(proposal.transforms.begin(), proposal.transforms.end(), wanted) != proposal.transforms.end();
}

bool has_type(const Proposal& proposal, TransformType type) noexcept {
  return std::any_of(proposal.transforms.begin(), proposal.transforms.end(),
                     [type](const Transform& transform) { return transform.type == type; });
}

/// The first of our preferences that the proposal offers too, as its exact transform: id, key length and nothing else
/// (RFC 7296 §3.3.5: without its key length AES is not usable).
template <class Value>
std::optional<Value> pick(const std::vector<Value>& preferred, const Proposal& offered) {
  for (const Value value : preferred) {
    if (contains(offered, transform_of(value))) return value;
  }
  return std::nullopt;
}

/// RFC 7296 §3.3.6: a proposal with a transform type that we do not understand, or that does not belong to the
/// protocol, is not acceptable. RFC 5282 §8: with an AEAD, integrity is absent or NONE.
bool eligible(const Proposal& offered, ProtocolId protocol) noexcept {
  if (offered.protocol != protocol) return false;
  bool integrity = false;
  bool no_integrity = false;
  for (const auto& transform : offered.transforms) {
    switch (transform.type) {
      case TransformType::encryption:
      case TransformType::key_exchange: break;
      case TransformType::prf:
        if (protocol != ProtocolId::ike) return false;
        break;
      case TransformType::extended_sequence_numbers:
        if (protocol != ProtocolId::esp) return false;
        break;
      case TransformType::integrity: (transform.id == kNoIntegrity ? no_integrity : integrity) = true; break;
      default: return false;
    }
  }
  return !integrity || no_integrity;
}

/// The answer repeats an integrity NONE that was offered, since it has one transform of each type offered (§3.3.6).
void repeat_no_integrity(const Proposal& offered, Proposal& answer) {
  const Transform none{TransformType::integrity, kNoIntegrity, std::nullopt, true};
  if (contains(offered, none)) answer.transforms.push_back(none);
}

std::optional<ChosenIke> meet(const IkeProposal& ours, const Proposal& offered, bool rekeying) {
  if (!eligible(offered, ProtocolId::ike)) return std::nullopt;
  if (offered.spi.size() != (rekeying ? 8U : 0U)) return std::nullopt;
  if (rekeying && offered.ike_spi().value == 0) return std::nullopt;
  const auto encryption = pick(ours.encryption, offered);
  const auto prf = pick(ours.prf, offered);
  const auto key_exchange = pick(ours.key_exchange, offered);
  if (!encryption || !prf || !key_exchange) return std::nullopt;
  ChosenIke chosen{{*encryption, *prf, *key_exchange}, offered.number, offered.ike_spi(), {}};
  chosen.answer = {offered.number,
                   ProtocolId::ike,
                   {},
                   {transform_of(*encryption), transform_of(*prf), transform_of(*key_exchange)}};
  repeat_no_integrity(offered, chosen.answer);
  return chosen;
}

/// The offered proposal's stance on PFS, matched with ours. False: the two do not meet.
bool meet_key_exchange(const EspProposal& ours, const Proposal& offered, std::optional<KeyExchangeMethod>& chosen,
                       bool& repeat_none) {
  const bool offers_any = has_type(offered, TransformType::key_exchange);
  const bool offers_none = !offers_any || contains(offered, kNoKeyExchange);
  chosen = pick(ours.key_exchange, offered);
  if (chosen) return true;
  if (!offers_none || !(ours.key_exchange.empty() || ours.key_exchange_optional)) return false;
  repeat_none = offers_any;
  return true;
}

std::optional<ChosenEsp> meet(const EspProposal& ours, const Proposal& offered, ChildKeyExchange kex) {
  if (!eligible(offered, ProtocolId::esp)) return std::nullopt;
  if (offered.esp_spi().value < 256) return std::nullopt;  // RFC 4303 §2.1: reserved
  const auto encryption = pick(ours.encryption, offered);
  const auto esn = pick(ours.esn, offered);
  if (!encryption || !esn) return std::nullopt;
  ChosenEsp chosen{{*encryption, *esn, std::nullopt}, offered.number, offered.esp_spi(), {}};
  bool repeat_none = false;
  if (kex == ChildKeyExchange::negotiated &&
      !meet_key_exchange(ours, offered, chosen.suite.key_exchange, repeat_none)) {
    return std::nullopt;
  }
  chosen.answer = {offered.number, ProtocolId::esp, {}, {transform_of(*encryption), transform_of(*esn)}};
  if (chosen.suite.key_exchange) chosen.answer.transforms.push_back(transform_of(*chosen.suite.key_exchange));
  if (repeat_none) chosen.answer.transforms.push_back(kNoKeyExchange);
  repeat_no_integrity(offered, chosen.answer);
  return chosen;
}

/// The offered proposal that an answer chose, if the answer is one of its combinations (RFC 7296 §2.7, §3.3.6).
const Proposal* match_answer(std::span<const Proposal> offered, std::span<const Proposal> answer) noexcept {
  if (answer.size() != 1) return nullptr;
  const auto& got = answer.front();
  const auto offer = std::find_if(offered.begin(), offered.end(),
                                  [&](const Proposal& proposal) { return proposal.number == got.number; });
  if (offer == offered.end() || offer->protocol != got.protocol || offer->spi.size() != got.spi.size()) return nullptr;
  for (const auto& transform : got.transforms) {
    const auto same_type = std::count_if(got.transforms.begin(), got.transforms.end(),
                                         [&](const Transform& other) { return other.type == transform.type; });
    if (same_type != 1) return nullptr;
    // Some peers say INTEG or KE NONE where nothing was offered; it means the same as leaving it out.
    const bool says_none =
        (transform.type == TransformType::integrity || transform.type == TransformType::key_exchange) &&
        transform.id == 0 && transform.usable && !transform.key_bits;
    if (says_none && !has_type(*offer, transform.type)) continue;
    if (!contains(*offer, transform)) return nullptr;
  }
  return &*offer;
}

template <class Value, std::size_t size>
std::optional<Value> identify(const Proposal& answer, const std::array<Value, size>& known) {
  for (const Value value : known) {
    if (contains(answer, transform_of(value))) return value;
  }
  return std::nullopt;
}

constexpr std::array kAllEncryption{AeadAlgorithm::aes128_gcm, AeadAlgorithm::aes256_gcm,
                                    AeadAlgorithm::chacha20_poly1305};
constexpr std::array kAllPrf{PrfAlgorithm::hmac_sha2_256, PrfAlgorithm::hmac_sha2_384, PrfAlgorithm::hmac_sha2_512};
constexpr std::array kAllKeyExchange{KeyExchangeMethod::curve25519, KeyExchangeMethod::ecp_256,
                                     KeyExchangeMethod::ecp_384, KeyExchangeMethod::modp_2048};
constexpr std::array kAllEsn{true, false};

template <class Value, std::size_t size>
std::vector<Value> list_of(const std::array<Value, size>& values) {
  return std::vector<Value>(values.begin(), values.end());  // braces would list two pointers as bools
}

template <class Value>
void append_transforms(Proposal& proposal, const std::vector<Value>& values) {
  for (const Value value : values) proposal.transforms.push_back(transform_of(value));
}

}  // namespace

std::vector<IkeProposal> default_ike_proposals() {
  return {{list_of(kAllEncryption), list_of(kAllPrf), list_of(kAllKeyExchange)}};
}

std::vector<EspProposal> default_esp_proposals() {
  return {{list_of(kAllEncryption), list_of(kAllKeyExchange), true, list_of(kAllEsn)}};
}

std::vector<Proposal> offer(std::span<const IkeProposal> policy, std::optional<IkeSpi> spi) {
  std::vector<Proposal> proposals;
  for (const auto& ours : policy.first(std::min(policy.size(), kMaxProposals))) {
    Proposal proposal{static_cast<std::uint8_t>(proposals.size() + 1), ProtocolId::ike, {}, {}};
    if (spi) WireWriter{proposal.spi}.u64be(spi->value);
    append_transforms(proposal, ours.encryption);
    append_transforms(proposal, ours.prf);
    append_transforms(proposal, ours.key_exchange);
    proposals.push_back(std::move(proposal));
  }
  return proposals;
}

std::vector<Proposal> offer(std::span<const EspProposal> policy, Spi spi, ChildKeyExchange kex) {
  std::vector<Proposal> proposals;
  for (const auto& ours : policy.first(std::min(policy.size(), kMaxProposals))) {
    Proposal proposal{static_cast<std::uint8_t>(proposals.size() + 1), ProtocolId::esp, {}, {}};
    WireWriter{proposal.spi}.u32be(spi.value);
    append_transforms(proposal, ours.encryption);
    append_transforms(proposal, ours.esn);
    if (kex == ChildKeyExchange::negotiated) {
      append_transforms(proposal, ours.key_exchange);
      if (ours.key_exchange_optional) proposal.transforms.push_back(kNoKeyExchange);
    }
    const bool twice = std::any_of(proposals.begin(), proposals.end(),
                                   [&](const Proposal& earlier) { return earlier.transforms == proposal.transforms; });
    if (!twice) proposals.push_back(std::move(proposal));
  }
  return proposals;
}

std::optional<KeyExchangeMethod> first_key_exchange(std::span<const IkeProposal> policy) {
  if (policy.empty() || policy.front().key_exchange.empty()) return std::nullopt;
  return policy.front().key_exchange.front();
}

std::optional<KeyExchangeMethod> first_key_exchange(std::span<const EspProposal> policy) {
  for (const auto& ours : policy) {
    if (!ours.key_exchange.empty()) return ours.key_exchange.front();
  }
  return std::nullopt;
}

std::optional<ChosenIke> choose_ike(std::span<const IkeProposal> policy, std::span<const Proposal> offered,
                                    bool rekeying) {
  for (const auto& ours : policy) {
    for (const auto& theirs : offered) {
      if (auto chosen = meet(ours, theirs, rekeying)) return chosen;
    }
  }
  return std::nullopt;
}

std::optional<ChosenEsp> choose_esp(std::span<const EspProposal> policy, std::span<const Proposal> offered,
                                    ChildKeyExchange kex) {
  for (const auto& ours : policy) {
    for (const auto& theirs : offered) {
      if (auto chosen = meet(ours, theirs, kex)) return chosen;
    }
  }
  return std::nullopt;
}

std::optional<ChosenIke> accept_ike(std::span<const Proposal> offered, std::span<const Proposal> answer) {
  if (match_answer(offered, answer) == nullptr) return std::nullopt;
  const auto& got = answer.front();
  const auto encryption = identify(got, kAllEncryption);
  const auto prf = identify(got, kAllPrf);
  const auto key_exchange = identify(got, kAllKeyExchange);
  if (got.protocol != ProtocolId::ike || !encryption || !prf || !key_exchange) return std::nullopt;
  if (!got.spi.empty() && got.ike_spi().value == 0) return std::nullopt;
  return ChosenIke{{*encryption, *prf, *key_exchange}, got.number, got.ike_spi(), got};
}

std::optional<ChosenEsp> accept_esp(std::span<const Proposal> offered, std::span<const Proposal> answer) {
  const auto* offer = match_answer(offered, answer);
  if (offer == nullptr) return std::nullopt;
  const auto& got = answer.front();
  const auto encryption = identify(got, kAllEncryption);
  const auto esn = identify(got, kAllEsn);
  const auto key_exchange = identify(got, kAllKeyExchange);
  if (got.protocol != ProtocolId::esp || got.esp_spi().value < 256 || !encryption || !esn) return std::nullopt;
  // An answer without PFS must have been on offer: proposals without methods, or with NONE beside them.
  const bool pfs_required = has_type(*offer, TransformType::key_exchange) && !contains(*offer, kNoKeyExchange);
  if (!key_exchange && pfs_required) return std::nullopt;
  return ChosenEsp{{*encryption, *esn, key_exchange}, got.number, got.esp_spi(), got};
}

bool offers_key_exchange(std::span<const Proposal> offered, KeyExchangeId method) noexcept {
  const Transform wanted{TransformType::key_exchange, static_cast<std::uint16_t>(method), std::nullopt, true};
  return std::any_of(offered.begin(), offered.end(),
                     [&](const Proposal& proposal) { return contains(proposal, wanted); });
}

std::optional<KeyExchangeMethod> supported_key_exchange(KeyExchangeId id) noexcept {
  for (const auto method : kAllKeyExchange) {
    if (wire_id(method) == id) return method;
  }
  return std::nullopt;
}

KeyExchangeId wire_id(KeyExchangeMethod method) noexcept {
  return static_cast<KeyExchangeId>(static_cast<std::uint16_t>(method));
}

}  // namespace switchback::ike
