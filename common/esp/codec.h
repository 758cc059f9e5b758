// ESP in tunnel mode on batches, in place: RFC 4303 with AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634).
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "common/esp/sa.h"
#include "common/packet/packet.h"

namespace switchback::esp {

/// What became of a received packet; one counter each. Only `opened` and `dummy` leave plaintext in the packet.
enum class Verdict : std::uint8_t {
  opened,          // the packet is the inner IP packet
  dummy,           // RFC 4303 §2.6: the packet is the body of a next-header-59 packet, perhaps empty
  malformed,       // too short or unaligned; or authentic with bad padding or an inner packet that is none
  replayed,        // seen before or left of the window
  forged,          // the tag is wrong
  wrong_selector,  // authentic, but from or to an address that the SA does not carry (RFC 4301 §5.2)
  expired,         // the SA's hard lifetime was reached
};
[[nodiscard]] const char* to_string(Verdict verdict) noexcept;

/// SPI of a packet that may be ESP; empty if it is too short to have a sequence number too. SPI 0 is never ESP.
[[nodiscard]] std::optional<Spi> peek_spi(ByteView packet) noexcept;

/// Opens packets in place (RFC 4303 §3.4). Packets other than `opened` and `dummy` hold garbage afterwards: drop them.
/// The kind of opened packets becomes `inner`; `path` stays. Two copies in one batch: the first is opened.
/// Pre: verdicts.size() == batch.size(); every packet carries sa's SPI (else it comes out as forged).
void open(InboundSa& sa, std::span<packet::Packet> batch, std::span<Verdict> verdicts) noexcept;

/// Seals IP packets in place (RFC 4303 §3.3); each becomes an ESP packet of kind `esp`, `path` stays.
/// @return how many, from the front of the batch, were sealed. Fewer than all: the sequence numbers or the hard
///         lifetime are used up, the rest is untouched, and the SA will seal no more. It is counted.
/// Pre: every packet is an IP packet (version 4 or 6) with headroom >= 16 and tailroom >= 21.
[[nodiscard]] std::size_t seal(OutboundSa& sa, std::span<packet::Packet> batch) noexcept;

/// As seal(), for bodies of dummy packets: next header 59 (RFC 4303 §2.6). Bodies may be empty.
[[nodiscard]] std::size_t seal_dummies(OutboundSa& sa, std::span<packet::Packet> batch) noexcept;

/// Size of the ESP packet that an inner packet of `inner` octets becomes.
[[nodiscard]] constexpr std::size_t sealed_bytes(std::size_t inner) noexcept {
  const auto padded = (inner + kTrailerBytes + kAlignment - 1) / kAlignment * kAlignment;
  return kHeaderBytes + kIvBytes + padded + kTagBytes;
}
/// Largest inner packet that fits an ESP packet of `esp` octets; 0 if none.
[[nodiscard]] constexpr std::size_t largest_inner(std::size_t esp) noexcept {
  constexpr auto fixed = kHeaderBytes + kIvBytes + kTagBytes;
  if (esp < fixed + kAlignment) return 0;
  return (esp - fixed) / kAlignment * kAlignment - kTrailerBytes;
}

}  // namespace switchback::esp
