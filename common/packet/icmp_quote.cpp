#include "common/packet/icmp_quote.h"

#include <algorithm>

#include "common/packet/checksum.h"
#include "common/packet/ip.h"

namespace switchback::packet {
namespace {

constexpr std::size_t kIcmpHeaderBytes = 8;
/// RFC 792: what a router quotes at least behind the IP header.
constexpr std::size_t kLeastQuoted = 8;

constexpr std::uint8_t kV4Unreachable = 3, kV4TimeExceeded = 11;
constexpr std::uint8_t kV6Unreachable = 1, kV6TimeExceeded = 3;
constexpr std::uint8_t kInTransit = 0;  // code of time exceeded; 1: of reassembly

constexpr std::uint8_t number(IpProtocol protocol) noexcept { return static_cast<std::uint8_t>(protocol); }

/// The quoted IPv4 packet. Its total length says where it ends: behind it there may be zeros and extensions (RFC 4884).
std::optional<IcmpQuote> quoted_v4(ByteView packet) noexcept {
  if (packet.size() < kIpv4HeaderBytes + kLeastQuoted || ip_version(packet) != 4) return std::nullopt;
  const std::size_t header = (packet[0] & 0x0FU) * std::size_t{4};
  if (header < kIpv4HeaderBytes || packet.size() < header + kLeastQuoted) return std::nullopt;
  if ((load_be<std::uint16_t>(packet.data() + 6) & 0x1FFFU) != 0) return std::nullopt;  // no transport header here
  IcmpQuote quote;
  quote.identification = load_be<std::uint16_t>(packet.data() + 4);
  quote.protocol = packet[9];
  quote.source = IpAddress::from_bytes(packet.subspan(12, 4));
  quote.destination = IpAddress::from_bytes(packet.subspan(16, 4));
  const std::size_t total = load_be<std::uint16_t>(packet.data() + 2);
  // Some stacks quote a length that they had changed already: then all there is has to do.
  const auto end = total >= header + kLeastQuoted ? std::min(total, packet.size()) : packet.size();
  quote.front = packet.subspan(header, end - header);
  return quote;
}

/// Our packets have no extension headers, so a quote with some is none of them.
std::optional<IcmpQuote> quoted_v6(ByteView packet) noexcept {
  if (packet.size() < kIpv6HeaderBytes + kLeastQuoted || ip_version(packet) != 6) return std::nullopt;
  IcmpQuote quote;
  quote.protocol = packet[6];
  quote.source = IpAddress::from_bytes(packet.subspan(8, 16));
  quote.destination = IpAddress::from_bytes(packet.subspan(24, 16));
  const std::size_t payload = load_be<std::uint16_t>(packet.data() + 4);
  const auto there = packet.size() - kIpv6HeaderBytes;
  quote.front = packet.subspan(kIpv6HeaderBytes, payload >= kLeastQuoted ? std::min(payload, there) : there);
  return quote;
}

template <std::size_t From, std::size_t To>
bool same(ByteView quoted, ByteView sent) noexcept {
  return quoted.size() >= To && sent.size() >= To &&
         same_bytes(quoted.subspan(From, To - From), sent.subspan(From, To - From));
}

}  // namespace

std::optional<IcmpQuote> parse_icmp_error(ByteView message, IpFamily family) noexcept {
  if (message.size() < kIcmpHeaderBytes) return std::nullopt;
  const bool v4 = family == IpFamily::v4;
  const auto type = message[0];
  const auto code = message[1];
  IcmpTrouble trouble{};
  if (type == (v4 ? kV4TimeExceeded : kV6TimeExceeded) && code == kInTransit) {
    trouble = IcmpTrouble::time_exceeded;
  } else if (type == (v4 ? kV4Unreachable : kV6Unreachable)) {
    trouble = IcmpTrouble::unreachable;
  } else {
    return std::nullopt;
  }
  if (v4 && checksum(message) != 0) return std::nullopt;
  const auto packet = message.subspan(kIcmpHeaderBytes);
  auto quote = v4 ? quoted_v4(packet) : quoted_v6(packet);
  if (!quote) return std::nullopt;
  quote->trouble = trouble;
  quote->code = code;
  return quote;
}

void LimitedPacket::set_front(ByteView octets) noexcept {
  front_octets = static_cast<std::uint8_t>(std::min(octets.size(), front.size()));
  std::copy_n(octets.begin(), front_octets, front.begin());
}

QuoteMatch match(const IcmpQuote& quote, const LimitedPacket& sent) noexcept {
  if (quote.destination != sent.destination || quote.protocol != sent.protocol) return QuoteMatch::none;
  const ByteView quoted = quote.front;
  const ByteView front{sent.front.data(), sent.front_octets};
  const bool v4 = sent.destination.is_v4();
  const bool same_id = v4 && sent.identification != 0 && quote.identification == sent.identification;
  const auto weigh = [&](bool content) {
    if (!content) return QuoteMatch::none;
    return !v4 || sent.identification == 0 || same_id ? QuoteMatch::exact : QuoteMatch::likely;
  };
  if (sent.protocol == number(IpProtocol::esp)) return weigh(same<0, 8>(quoted, front));  // SPI, sequence number
  if (!same<2, 4>(quoted, front)) return QuoteMatch::none;                                // destination port
  if (sent.protocol == number(IpProtocol::udp)) {
    if (!same<4, 6>(quoted, front)) return QuoteMatch::none;                                  // length
    if (quoted.size() >= 16 && front.size() >= 16) return weigh(same<8, 16>(quoted, front));  // SPI, sequence number
    if (v4) return same_id ? QuoteMatch::likely : QuoteMatch::none;
    return same<6, 8>(quoted, front) ? QuoteMatch::likely : QuoteMatch::none;  // checksum
  }
  if (sent.protocol == number(IpProtocol::tcp)) {
    // Behind 20 octets of header: NOP, NOP, timestamps (kind, length, ours). Before that a device may have changed all;
    // but without an identification those of one millisecond differ in their window alone, and a wrong match is worse
    // than none.
    constexpr std::size_t kWindow = 14, kWindowEnd = 16, kOptions = 20, kTimestamp = 28;
    if (quoted.size() >= kTimestamp && front.size() >= kTimestamp) {
      return weigh(same<kOptions, kTimestamp>(quoted, front) && (v4 || same<kWindow, kWindowEnd>(quoted, front)));
    }
    return same_id ? QuoteMatch::likely : QuoteMatch::none;
  }
  return QuoteMatch::none;
}

}  // namespace switchback::packet
