// TCP segments: a checked view, options, and building headers. RFC 9293 §3.1, RFC 7323, RFC 2018.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/wire_reader.h"

namespace switchback::transports::ctcp {

inline constexpr std::size_t kTcpHeaderBytes = 20;
inline constexpr std::size_t kTcpMaximumHeaderBytes = 60;
/// RFC 7323 §2.3: larger shifts count as this.
inline constexpr std::uint8_t kMaximumWindowScale = 14;
/// RFC 9293 §3.7.1: what a peer takes that does not say. (1220 over IPv6.)
inline constexpr std::uint16_t kDefaultMss = 536;

enum TcpFlag : std::uint8_t {
  kFin = 0x01,
  kSyn = 0x02,
  kRst = 0x04,
  kPsh = 0x08,
  kAck = 0x10,
  kUrg = 0x20,
};

/// Octets [left, right) that the receiver holds beyond its acknowledgement; RFC 2018 §3.
struct SackBlock {
  std::uint32_t left = 0, right = 0;
  friend bool operator==(const SackBlock&, const SackBlock&) = default;
};

struct Timestamps {
  std::uint32_t value = 0, echo = 0;
  friend bool operator==(const Timestamps&, const Timestamps&) = default;
};

struct TcpOptions {
  std::optional<std::uint16_t> mss;
  std::optional<std::uint8_t> window_scale;  // at most kMaximumWindowScale
  bool sack_permitted = false;
  std::optional<Timestamps> timestamps;
  std::array<SackBlock, 4> sack{};
  std::uint8_t sack_count = 0;
  friend bool operator==(const TcpOptions&, const TcpOptions&) = default;
};

/// A TCP header in values, without its checksum.
struct TcpHeader {
  std::uint16_t source_port = 0, destination_port = 0;
  std::uint32_t sequence = 0, acknowledgement = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;  // as on the wire, not scaled
  TcpOptions options;

  [[nodiscard]] constexpr bool has(std::uint8_t flag) const noexcept { return (flags & flag) != 0; }
  friend bool operator==(const TcpHeader&, const TcpHeader&) = default;
};

/// A received segment. The payload is borrowed from what was parsed.
struct TcpSegmentView {
  TcpHeader header;
  ByteView payload;
};

/// @param segment  TCP header to the end of the IP payload. Options that are unknown or of a wrong size are skipped
///     (RFC 9293 §3.1), unless what follows cannot be found. Errors: truncated; bad_length (data offset, option).
[[nodiscard]] Result<TcpSegmentView, ParseError> parse_segment(ByteView segment) noexcept;

/// Octets of a header with these options, a multiple of 4. Pre: the options fit 40 octets: three SACK blocks beside
/// timestamps, four without.
[[nodiscard]] std::size_t header_bytes(const TcpOptions& options) noexcept;
/// Writes a header with a zero checksum; returns its octets. Pre: out.size() >= header_bytes(header.options).
std::size_t write_header(const TcpHeader& header, ByteSpan out) noexcept;

/// The checksum over header and payload as they stand. The caller zeroes the field to make one; 0 comes out for a
/// received segment that is right. @param addresses  of the IP packet, either direction
[[nodiscard]] std::uint16_t tcp_checksum(ByteView header, ByteView payload, const IpAddress& source,
                                         const IpAddress& destination) noexcept;
/// A whole segment with its checksum, contiguous: for control segments and tests; data goes out without this copy.
[[nodiscard]] Bytes build_segment(const TcpHeader& header, ByteView payload, const IpAddress& source,
                                  const IpAddress& destination);

/// A segment to send. The payload is borrowed from the connection until it is next called, polling aside.
struct OutSegment {
  TcpHeader header;
  ByteView payload;
  bool resent = false;
};

/// The 64-bit position whose low 32 bits are `wire` that is nearest to `reference` (RFC 9293 §3.4 without the modulus).
[[nodiscard]] constexpr std::uint64_t unwrap(std::uint32_t wire, std::uint64_t reference) noexcept {
  const auto difference = static_cast<std::int32_t>(wire - static_cast<std::uint32_t>(reference));
  return reference + static_cast<std::uint64_t>(static_cast<std::int64_t>(difference));
}

}  // namespace switchback::transports::ctcp
