// What two Switchback ends tell each other in the encrypted IKE_AUTH: the headend which transports it serves and where,
// the client that it speaks in-band control. docs/protocol.md has every octet.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/wire_reader.h"
#include "common/path/control.h"
#include "common/path/types.h"

namespace switchback::path {

/// Private status notifies (RFC 7296 §3.10.1).
inline constexpr std::uint16_t kOfferNotify = 42752;   // in the headend's IKE_AUTH answer
inline constexpr std::uint16_t kInBandNotify = 42753;  // in the client's IKE_AUTH request

inline constexpr std::uint8_t kOfferVersion = 1;
/// A transport may be offered on several ports.
inline constexpr std::size_t kMaxOffered = 16;
inline constexpr std::size_t kOfferHeaderOctets = 4, kOfferEntryOctets = 8;

struct OfferedTransport {
  TransportKind transport = TransportKind::udp;
  std::uint16_t port = 0;                   // of the headend; 0 for esp, which has none, and for nothing else
  bool resilient = false, classic = false;  // ctcp: the modes that are served, at least one
  std::uint8_t preference = 0;              // less is better; equal ones are in the order of the message
  friend bool operator==(const OfferedTransport&, const OfferedTransport&) = default;
};

struct Offer {
  /// Newest version of in-band control that the headend speaks; 0: none.
  std::uint8_t control_version = kControlVersion;
  std::vector<OfferedTransport> transports;  // best first
  friend bool operator==(const Offer&, const Offer&) = default;

  /// Each transport once, best first: for Selector::handle_offer().
  [[nodiscard]] std::vector<TransportKind> kinds() const;
  /// The best entry of that transport, borrowed; null if it is not offered.
  [[nodiscard]] const OfferedTransport* find(TransportKind transport) const noexcept;
};

/// @param data  of the notify. Transports that are unknown, and entries that cannot be used (no port, no mode), are
/// left out. Errors: truncated, bad_length (not that of its entries), too_many (entries), unsupported (a newer
/// version's).
[[nodiscard]] Result<Offer, ParseError> parse_offer(ByteView data);
/// What exceeds kMaxOffered is left out.
[[nodiscard]] Bytes build_offer(const Offer& offer);

/// Version of in-band control that the client speaks, from the notify's data; nothing if it makes no sense. What a
/// newer version appends is ignored.
[[nodiscard]] std::optional<std::uint8_t> parse_in_band(ByteView data) noexcept;
[[nodiscard]] Bytes build_in_band();

}  // namespace switchback::path
