#include "common/packet/mss.h"

#include <algorithm>

#include "common/packet/checksum.h"
#include "common/packet/ip.h"

namespace switchback::packet {
namespace {

constexpr std::uint8_t kOptionEnd = 0, kOptionNop = 1, kOptionMss = 2;
constexpr std::size_t kMssOptionBytes = 4;

}  // namespace

bool clamp_mss(ByteSpan packet, std::size_t mtu) noexcept {
  const auto ip = parse_ip(packet);
  if (!ip || !ip->is(IpProtocol::tcp) || ip->later_fragment) return false;
  const auto header = tcp_header_bytes(packet, *ip);
  if (header == 0) return false;
  const auto tcp = packet.subspan(ip->l4_offset, header);
  if ((tcp[13] & kTcpSyn) == 0) return false;

  const std::size_t fixed = kTcpHeaderBytes + (ip->family == IpFamily::v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes);
  if (mtu <= fixed) return false;
  const auto limit = static_cast<std::uint16_t>(std::min<std::size_t>(mtu - fixed, 65535));

  for (std::size_t at = kTcpHeaderBytes; at < header && tcp[at] != kOptionEnd;) {
    if (tcp[at] == kOptionNop) {
      ++at;
      continue;
    }
    if (header - at < 2 || tcp[at + 1] < 2 || tcp[at + 1] > header - at) return false;
    if (tcp[at] != kOptionMss || tcp[at + 1] != kMssOptionBytes) {
      at += tcp[at + 1];
      continue;
    }
    const auto value = at + 2;
    if (load_be<std::uint16_t>(&tcp[value]) <= limit) return false;
    // The option may stand at an odd offset: update the one or two checksum words that it touches.
    const auto word = value & ~std::size_t{1};
    const auto words = value % 2 == 0 ? 1U : 2U;
    const std::array<std::uint16_t, 2> before{load_be<std::uint16_t>(&tcp[word]),
                                              words == 2 ? load_be<std::uint16_t>(&tcp[word + 2]) : std::uint16_t{0}};
    store_be(&tcp[value], limit);
    auto sum = load_be<std::uint16_t>(&tcp[16]);
    for (std::size_t i = 0; i < words; ++i) {
      sum = updated_checksum(sum, before[i], load_be<std::uint16_t>(&tcp[word + i * 2]));
    }
    store_be(&tcp[16], sum);
    return true;
  }
  return false;
}

}  // namespace switchback::packet
