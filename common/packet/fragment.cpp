#include "common/packet/fragment.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "common/packet/checksum.h"

namespace switchback::packet {
namespace {

constexpr std::size_t kOffsetUnit = 8;
constexpr std::uint16_t kDontFragment = 0x4000, kMoreFragments = 0x2000, kOffsetMask = 0x1FFF;
constexpr std::size_t kMaxHeaderBytes = 60;

struct Header {
  std::array<std::uint8_t, kMaxHeaderBytes> octets{};
  std::size_t bytes = kIpv4HeaderBytes;
};

/// The header of the fragments behind the first: options without the copied flag are left out, RFC 791 §3.1.
Header header_of_later(ByteView header) noexcept {
  Header later;
  std::copy_n(header.begin(), kIpv4HeaderBytes, later.octets.begin());
  for (std::size_t at = kIpv4HeaderBytes; at < header.size();) {
    const auto type = header[at];
    if (type == 0) break;  // end of options
    if (type == 1) {       // no operation: only alignment
      ++at;
      continue;
    }
    if (at + 1 >= header.size()) break;
    const std::size_t length = header[at + 1];
    if (length < 2 || at + length > header.size()) break;
    if ((type & 0x80U) != 0) {
      std::copy_n(header.begin() + static_cast<std::ptrdiff_t>(at), length,
                  later.octets.begin() + static_cast<std::ptrdiff_t>(later.bytes));
      later.bytes += length;
    }
    at += length;
  }
  later.bytes = (later.bytes + 3) & ~std::size_t{3};  // padded by end of options, which is zero
  later.octets[0] = static_cast<std::uint8_t>(0x40U | (later.bytes / 4));
  return later;
}

}  // namespace

FragmentVerdict fragment_v4(ByteView packet, const IpView& ip, std::size_t mtu, PacketCarver& carver,
                            std::vector<Packet>& out) {
  if (ip.family != IpFamily::v4) return FragmentVerdict::unsupported;
  const auto flags = load_be<std::uint16_t>(&packet[6]);
  if ((flags & kDontFragment) != 0 || mtu < ip.header_bytes + kOffsetUnit) return FragmentVerdict::unsupported;

  Header first;
  first.bytes = ip.header_bytes;
  std::copy_n(packet.begin(), ip.header_bytes, first.octets.begin());
  const auto later = header_of_later(packet.first(ip.header_bytes));
  const auto payload = packet.first(ip.total_bytes).subspan(ip.header_bytes);
  const std::size_t begin = flags & kOffsetMask;
  const auto before = out.size();
  for (std::size_t offset = 0; offset < payload.size();) {
    const auto& header = offset == 0 ? first : later;
    const auto left = payload.size() - offset;
    const auto room = mtu - header.bytes;
    const auto size = left <= room ? left : room / kOffsetUnit * kOffsetUnit;
    auto part = carver.carve(kSendHeadroom, header.bytes + size, kSendTailroom);
    if (!part) {
      out.erase(out.begin() + static_cast<std::ptrdiff_t>(before), out.end());
      return FragmentVerdict::exhausted;
    }
    const auto data = part.append(header.bytes + size);
    std::memcpy(data.data(), header.octets.data(), header.bytes);
    std::memcpy(data.data() + header.bytes, payload.data() + offset, size);
    store_be(&data[2], static_cast<std::uint16_t>(data.size()));
    const bool more = size < left || (flags & kMoreFragments) != 0;
    store_be(&data[6], static_cast<std::uint16_t>((begin + offset / kOffsetUnit) | (more ? kMoreFragments : 0U)));
    store_be(&data[10], std::uint16_t{0});
    store_be(&data[10], checksum(data.first(header.bytes)));
    offset += size;
    out.push_back(std::move(part));
  }
  return FragmentVerdict::ok;
}

}  // namespace switchback::packet
