// ICMP errors and the packet that each quotes: hostile input, taken apart within its bounds. And what has been sent
// that a quote may be of: packets with a hop limit of their own, by which routers on the way show themselves.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"

namespace switchback::packet {

enum class IcmpTrouble : std::uint8_t { time_exceeded, unreachable };

/// Borrowed from the message. Who sent it stands in the IP header before it, which is not looked at here.
struct IcmpQuote {
  IcmpTrouble trouble = IcmpTrouble::time_exceeded;
  std::uint8_t code = 0;
  IpAddress source, destination;     // of the quoted packet, as the router saw it
  std::uint8_t protocol = 0;         // of what follows its IP header
  std::uint16_t identification = 0;  // IPv4
  ByteView front;                    // the first octets behind its IP header, at least 8, never beyond the packet's end
};

/// @param message  from the ICMP header on. Nothing for other messages than time exceeded in transit (RFC 792, RFC 4443
/// §3.3) and destination unreachable, for a wrong ICMPv4 checksum, for later fragments, and for quotes of less than 8
/// octets behind the IP header (RFC 792: at least so many). ICMPv6 checksums are the kernel's business.
[[nodiscard]] std::optional<IcmpQuote> parse_icmp_error(ByteView message, IpFamily family) noexcept;

/// A packet that was sent with a hop limit of its own.
struct LimitedPacket {
  static constexpr std::size_t kFrontOctets = 40;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint16_t identification = 0;                // IPv4; 0: the kernel's choice
  std::array<std::uint8_t, kFrontOctets> front{};  // what followed the IP header …
  std::uint8_t front_octets = 0;                   // … so many of them

  void set_front(ByteView octets) noexcept;
};

enum class QuoteMatch : std::uint8_t {
  none,
  likely,  // by what a device on the way leaves alone, or by the IPv4 identification alone
  exact
};
/// NATs change source address, source port and checksums, and some devices TCP sequence numbers or the identification;
/// none changes what is inside ESP, or TCP's timestamps. Routers quote 8 octets at least, most quote all.
[[nodiscard]] QuoteMatch match(const IcmpQuote& quote, const LimitedPacket& sent) noexcept;

}  // namespace switchback::packet
