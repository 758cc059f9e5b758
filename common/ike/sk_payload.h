// Protection of whole messages: SK (RFC 7296 §3.14 with AEADs as RFC 5282) and SKF (RFC 7383).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "common/crypto/aead.h"
#include "common/ike/fragment.h"
#include "common/ike/message.h"

namespace switchback::ike {

/// Explicit IV and tag of every AEAD that we use, in octets.
inline constexpr std::size_t kIvOctets = 8;
inline constexpr std::size_t kTagOctets = 16;

/// Seals what one end of an IKE SA sends. The IV is a counter, which never comes twice for one key (RFC 5282 §3);
/// retransmissions send the same octets again and are not sealed anew. Move-only.
class SkSealer {
 public:
  explicit SkSealer(const crypto::AeadKey& key);

  /// One SK message, whatever its size. first_payload and length of the header are filled in.
  /// Pre: the result fits kMaxMessageOctets. Empty if the crypto library failed: nothing to send.
  [[nodiscard]] Bytes seal(const Header& header, const ChainBuilder& chain);
  /// One SK message if it fits, else SKF fragments of at most `max_octets` each, in order (RFC 7383 §2.5).
  /// Use only if both ends sent IKEV2_FRAGMENTATION_SUPPORTED. See max_message_octets().
  [[nodiscard]] std::vector<Bytes> seal(const Header& header, const ChainBuilder& chain, std::size_t max_octets);

 private:
  [[nodiscard]] Bytes seal_one(Header header, PayloadType first, ByteView plaintext,
                               std::optional<FragmentHeader> fragment);

  std::unique_ptr<crypto::Aead> aead_;
  std::array<std::uint8_t, 4> salt_{};
  std::uint64_t next_iv_ = 0;
};

enum class OpenErrc : std::uint8_t {
  malformed_outside,  // not a protected message, or not one that can be true; nothing is authentic: drop
  forged,             // the tag does not fit: drop
  malformed_inside,   // authentic, but the chain inside is broken: a request is answered INVALID_SYNTAX (§2.21.2)
};

/// An authentic message. Views in `payloads` are borrowed from `plaintext`, and stay good when this moves.
struct OpenedMessage {
  Header header;
  Bytes plaintext;
  Payloads payloads;  // those inside SK; nothing before SK counts, except as below
  /// RFC 7296 §2.5, inside SK or in front of it: see Payloads::unsupported_critical().
  std::optional<PayloadType> unsupported_critical;

  OpenedMessage() = default;
  OpenedMessage(OpenedMessage&&) noexcept = default;
  OpenedMessage& operator=(OpenedMessage&&) noexcept = default;
};

/// Opens what one end of an IKE SA sends, and puts fragments together.
class SkOpener {
 public:
  explicit SkOpener(const crypto::AeadKey& key);

  /// @param message  a whole datagram whose header parse_header() has accepted; SPIs, I flag and window are the
  /// caller's
  ///                 to check first
  /// @return the message; nothing if this was a fragment of one not yet complete, or one that came before
  [[nodiscard]] Result<std::optional<OpenedMessage>, OpenErrc> open(ByteView message);
  /// Whether open() would authenticate this fragment, rather than pass over it unread as a copy of one it has.
  [[nodiscard]] bool wants(const Header& header, FragmentHeader fragment) const noexcept {
    return (header.response ? responses_ : requests_).consider(header, fragment) == Reassembler::Admission::wanted;
  }

  /// Of each direction, in octets of a whole message; kMaxMessageOctets at first.
  void limit_reassembly(std::size_t octets) noexcept {
    requests_.limit(octets);
    responses_.limit(octets);
  }

 private:
  std::unique_ptr<crypto::Aead> aead_;
  std::array<std::uint8_t, 4> salt_{};
  Reassembler requests_, responses_;
};

}  // namespace switchback::ike
