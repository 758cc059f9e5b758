// Any datagram, on either port: classified within its bounds; and what a TUN might hand over, answered by ICMP.
#include "common/packet/ip.h"
#include "tests/fuzz/require.h"
#include "transports/dataplane/too_big.h"
#include "transports/udp/framing.h"

using namespace switchback;
using namespace switchback::transports;
using switchback::test::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input{data, size};
  for (const auto framing : {udp::Framing::bare, udp::Framing::marked}) {
    const auto found = udp::classify(input, framing);
    if (found.content == udp::Content::malformed) continue;
    require(found.skip <= size && !input.subspan(found.skip).empty());
    if (found.content == udp::Content::ike) require(size - found.skip >= udp::kIkeHeaderBytes);
    if (found.content == udp::Content::esp) {
      require(framing == udp::Framing::marked && load_be<std::uint32_t>(data) != 0);
    }
  }
  if (const auto ip = packet::parse_ip(input)) {
    packet::VirtioNetHeader header;
    require(largest_piece(header, input, *ip) == ip->total_bytes);
    header.gso_type = ip->family == IpFamily::v4 ? packet::kVirtioGsoTcpV4 : packet::kVirtioGsoTcpV6;
    header.gso_size = 1000;
    require(largest_piece(header, input, *ip) <= ip->total_bytes);
    (void)forbids_fragments(input, *ip);
    std::array<std::uint8_t, kMaxTooBigBytes> out{};
    const auto octets = build_too_big(input, *ip, 1280, out);
    require(octets <= out.size());
    if (octets != 0) require(packet::parse_ip(ByteView{out}.first(octets)).has_value());
  }
  return 0;
}
