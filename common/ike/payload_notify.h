// Notify, Delete and Vendor ID payloads (RFC 7296 §3.10 to §3.12).
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "common/ike/message.h"

namespace switchback::ike {

/// Notify payload, RFC 7296 §3.10. Views are borrowed from the message.
struct NotifyView {
  ProtocolId protocol;  // none unless an SPI is present
  NotifyType type;
  ByteView spi, data;  // SPI of 0, 4 or 8 octets; meaning of data depends on type, may be empty

  [[nodiscard]] Spi esp_spi() const noexcept;  // zero unless spi has 4 octets
};
/// @param body  the payload after its generic header. Errors: truncated, bad_spi_size, at an offset into body.
[[nodiscard]] Result<NotifyView, ParseError> parse_notify(ByteView body) noexcept;
/// A notify about the IKE SA or about nothing in particular.
void add_notify(ChainBuilder& chain, NotifyType type, ByteView data = {});
/// A notify about a Child SA: REKEY_SA, CHILD_SA_NOT_FOUND, INVALID_SELECTORS.
void add_notify(ChainBuilder& chain, NotifyType type, ProtocolId protocol, Spi spi, ByteView data = {});

/// The notifies of a message, malformed ones left out: RFC 7296 §3.10.1 has unknown ones ignored, and a notify that
/// cannot be read cannot be known. Borrowed from the message.
[[nodiscard]] std::vector<NotifyView> notifies(const Payloads& payloads);
[[nodiscard]] std::optional<NotifyView> find_notify(const Payloads& payloads, NotifyType type) noexcept;
/// The first error notify (type below 16384).
[[nodiscard]] std::optional<NotifyView> find_error(const Payloads& payloads) noexcept;

/// Data of INVALID_KE_PAYLOAD (§1.2): the method that the responder wants. Nothing if not two octets.
[[nodiscard]] std::optional<KeyExchangeId> wanted_key_exchange(const NotifyView& notify) noexcept;
void add_invalid_ke(ChainBuilder& chain, KeyExchangeId wanted);

/// Data of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4), unknown values included; at most 32 are read.
[[nodiscard]] std::vector<SignatureHash> signature_hashes(const NotifyView& notify);
void add_signature_hashes(ChainBuilder& chain, std::span<const SignatureHash> hashes);

/// Delete payload, RFC 7296 §3.11.
struct DeleteView {
  ProtocolId protocol;    // ike: the SA of this message, no SPIs listed
  std::vector<Spi> spis;  // of ESP or AH SAs: those on which the sender expects to receive
};
inline constexpr std::size_t kMaxDeleteSpis = 1024;
/// Errors: truncated, bad_spi_size, bad_length (count and octets disagree), bad_value (protocol), too_many.
[[nodiscard]] Result<DeleteView, ParseError> parse_delete(ByteView body);
void add_delete_ike(ChainBuilder& chain);
void add_delete_esp(ChainBuilder& chain, std::span<const Spi> spis);

void add_vendor_id(ChainBuilder& chain, ByteView id);

}  // namespace switchback::ike
