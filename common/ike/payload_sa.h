// Security Association payload (RFC 7296 §3.3): proposals and transforms as they are on the wire.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/ike/message.h"

namespace switchback::ike {

inline constexpr std::size_t kMaxProposals = 32;
inline constexpr std::size_t kMaxTransforms = 64;  // in one proposal

/// One transform, RFC 7296 §3.3.2.
struct Transform {
  TransformType type{};
  std::uint16_t id = 0;                     // meaning depends on type: EncryptionId, PrfId…
  std::optional<std::uint16_t> key_bits{};  // Key Length attribute, §3.3.5
  bool usable = true;                       // false: carries an attribute that we do not know (§3.3.6)
  friend bool operator==(const Transform&, const Transform&) = default;
};

/// One proposal, RFC 7296 §3.3.1.
struct Proposal {
  std::uint8_t number = 1;
  ProtocolId protocol{};
  Bytes spi;  // 0 or 8 octets for IKE, 4 for ESP and AH; whatever came for other protocols
  std::vector<Transform> transforms;
  friend bool operator==(const Proposal&, const Proposal&) = default;

  /// The SPI as a number; zero if the size does not fit the protocol.
  [[nodiscard]] Spi esp_spi() const noexcept;
  [[nodiscard]] IkeSpi ike_spi() const noexcept;
};

/// Errors: truncated; bad_length where nested lengths disagree; bad_value for wrong "last" markers or proposal numbers
/// that do not count up from 1 (a single proposal may have any: an answer has that of the offer); bad_spi_size;
/// too_many. An empty payload is an error.
[[nodiscard]] Result<std::vector<Proposal>, ParseError> parse_sa(ByteView body);

void add_sa(ChainBuilder& chain, std::span<const Proposal> proposals);

}  // namespace switchback::ike
