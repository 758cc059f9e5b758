// Whatever a TUN could hand over: virtio header and packet. What comes out must be consistent and checksummed.

#include "common/packet/checksum.h"
#include "common/packet/ip.h"
#include "common/packet/offload.h"
#include "tests/fuzz/require.h"

using namespace switchback;
using namespace switchback::packet;
using switchback::test::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static PacketPool pool{8};
  if (size < VirtioNetHeader::kBytes) return 0;
  const ByteView input{data, size};
  const auto header = VirtioNetHeader::load(input);
  const auto packet = input.subspan(VirtioNetHeader::kBytes);
  {
    PacketCarver carver{pool};
    std::vector<Packet> out;
    const auto verdict = segment(header, packet, carver, out);
    require((verdict == SegmentVerdict::ok) == !out.empty());
    require(out.size() <= kMaxSegments);
    for (const auto& part : out) {
      const auto ip = parse_ip(part.data());
      require(ip.has_value() && ip->total_bytes == part.size());
      require(part.headroom() >= kSendHeadroom && part.tailroom() >= kSendTailroom);
      if (header.gso_type == kVirtioGsoNone) continue;
      // Every segment is a packet that a strict receiver takes.
      if (ip->family == IpFamily::v4) require(checksum(part.data().first(ip->header_bytes)) == 0);
      const auto l4 = part.data().subspan(ip->l4_offset);
      const auto addresses = part.data().subspan(ip->source_offset, 2U * ip->address_bytes);
      require(ChecksumSum{}
                  .add_pseudo_header(addresses, ip->protocol, static_cast<std::uint32_t>(l4.size()))
                  .add(l4)
                  .finish() == 0);
    }
  }
  require(pool.free_slabs() == 8);
  return 0;
}
