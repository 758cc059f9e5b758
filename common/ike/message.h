// IKE header and payload chain (RFC 7296 §3.1, §3.2): parsing within strict bounds, and building.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/result.h"
#include "common/base/strong.h"
#include "common/base/wire_reader.h"
#include "common/base/wire_writer.h"
#include "common/ike/registry.h"

namespace switchback::ike {

inline constexpr std::size_t kHeaderOctets = 28;
inline constexpr std::size_t kGenericHeaderOctets = 4;
/// Largest IKE message handled, reassembled ones included. The header's length field could say 4 GiB.
inline constexpr std::size_t kMaxMessageOctets = 65535;
/// Payloads in one chain; more is an attack, not a certificate list.
inline constexpr std::size_t kMaxPayloads = 128;

inline constexpr std::uint8_t kMajorVersion = 2;

/// RFC 7296 §3.1. `length` is the whole message with this header, in octets; build_message() fills it in.
struct Header {
  IkeSpi initiator_spi, responder_spi;
  PayloadType first_payload = PayloadType::none;
  std::uint8_t major_version = kMajorVersion, minor_version = 0;
  ExchangeType exchange = ExchangeType::informational;
  bool from_initiator = false;  // I: sent by the original initiator of this IKE SA
  bool higher_version = false;  // V: the sender could speak a higher major version
  bool response = false;        // R
  MessageId message_id;
  std::uint32_t length = 0;
};

/// Reads the header of a whole datagram (non-ESP marker removed). Does not judge version or exchange: a caller answers
/// major_version > 2 with INVALID_MAJOR_VERSION and drops lower ones (§2.5).
/// Errors: truncated; bad_length unless the length field is exactly the datagram's; too_many above kMaxMessageOctets.
[[nodiscard]] Result<Header, ParseError> parse_header(ByteView message) noexcept;

/// One payload of a chain, borrowed from the message.
struct PayloadView {
  PayloadType type;
  PayloadType next;  // of encrypted and encrypted_fragment: the first payload inside
  bool critical;
  ByteView body;       // after the generic header
  std::size_t offset;  // of the generic header in the parsed input
};

/// A payload chain whose structure is sound. Contents of payloads are parsed by payload_*.h. Borrowed from the message.
class Payloads {
 public:
  /// The only payload of that type that may occur at most once, or the first of one that may repeat; else null.
  [[nodiscard]] const PayloadView* find(PayloadType type) const noexcept;
  [[nodiscard]] bool has(PayloadType type) const noexcept { return find(type) != nullptr; }
  [[nodiscard]] const std::vector<PayloadView>& list() const noexcept { return list_; }
  [[nodiscard]] auto begin() const noexcept { return list_.begin(); }
  [[nodiscard]] auto end() const noexcept { return list_.end(); }
  [[nodiscard]] bool empty() const noexcept { return list_.empty(); }
  /// RFC 7296 §2.5: when set, the message must be rejected with UNSUPPORTED_CRITICAL_PAYLOAD and this type (one octet)
  /// as data, if it is a request; a response like that is dropped.
  [[nodiscard]] std::optional<PayloadType> unsupported_critical() const noexcept { return unsupported_critical_; }

 private:
  friend Result<Payloads, ParseError> parse_payloads(ByteView, PayloadType);
  std::vector<PayloadView> list_;  // known types only: unknown ones are skipped
  std::optional<PayloadType> unsupported_critical_;
};

/// Walks a chain of payloads that starts with type `first` and fills `chain` exactly. An encrypted payload ends the
/// chain, as it must (§3.14, RFC 7383 §2.5). Unknown payloads are skipped; the critical bit of known ones is ignored.
/// Errors: truncated, bad_length (payload shorter than its header, octets after the last payload, payload after SK),
/// too_many (beyond kMaxPayloads, or a second one of a payload that may occur only once).
[[nodiscard]] Result<Payloads, ParseError> parse_payloads(ByteView chain, PayloadType first);

/// A whole message: header and the chain in clear. For protected messages see sk_payload.h.
struct MessageView {
  Header header;
  Payloads payloads;
};
[[nodiscard]] Result<MessageView, ParseError> parse_message(ByteView message);

/// Builds a payload chain; the add_* functions of payload_*.h append to it.
class ChainBuilder {
 public:
  ChainBuilder() = default;

  void add(PayloadType type, ByteView body) {
    add(type, [body](WireWriter& w) { w.bytes(body); });
  }
  /// `write_body(WireWriter&)` writes what follows the generic header. Pre: at most 65531 octets.
  template <class WriteBody>
  requires std::invocable<WriteBody, WireWriter&>
  void add(PayloadType type, WriteBody&& write_body) {
    const auto start = open(type);
    WireWriter w{octets_};
    write_body(w);
    close(start);
  }

  [[nodiscard]] PayloadType first() const noexcept { return first_; }
  /// Borrowed from this builder until the next add().
  [[nodiscard]] ByteView view() const noexcept { return octets_; }
  [[nodiscard]] bool empty() const noexcept { return octets_.empty(); }

 private:
  [[nodiscard]] std::size_t open(PayloadType type);
  void close(std::size_t start) noexcept;

  Bytes octets_;
  PayloadType first_ = PayloadType::none;
  std::size_t last_next_field_ = 0;  // offset of the last generic header's next-payload field
};

/// Header as on the wire, with first_payload and length as given.
void write_header(WireWriter& out, const Header& header);
/// A message in clear: IKE_SA_INIT, and error answers outside an SA. Takes first_payload and length from the chain.
[[nodiscard]] Bytes build_message(Header header, const ChainBuilder& chain);

}  // namespace switchback::ike
