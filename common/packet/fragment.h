// IPv4 fragmentation of inner packets that the tunnel's path does not take whole. Pure.
#pragma once

#include <vector>

#include "common/packet/carver.h"
#include "common/packet/ip.h"

namespace switchback::packet {

enum class FragmentVerdict : std::uint8_t {
  ok,
  unsupported,  // Don't Fragment, not IPv4, or an MTU that leaves no room for 8 octets of payload
  exhausted     // no memory: nothing was appended
};

/// Appends fragments of at most `mtu` octets each, RFC 791 §3.2: a fragment is cut further, and only options that say
/// so are in any but the first. Each has kSendHeadroom and kSendTailroom. Pre: ip is of `packet`; packet.size() > mtu.
[[nodiscard]] FragmentVerdict fragment_v4(ByteView packet, const IpView& ip, std::size_t mtu, PacketCarver& carver,
                                          std::vector<Packet>& out);

}  // namespace switchback::packet
