// Packets of any content, the MTU in front. Only the MSS option and the checksum of a SYN may change, and only down.

#include "common/packet/ip.h"
#include "common/packet/mss.h"
#include "tests/fuzz/require.h"

using namespace switchback;
using namespace switchback::packet;
using switchback::test::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto mtu = load_be<std::uint16_t>(data);
  const Bytes before{data + 2, data + size};
  auto after = before;
  const bool changed = clamp_mss(after, mtu);
  require(changed == (after != before));
  if (!changed) return 0;
  const auto ip = parse_ip(after);
  require(ip.has_value() && ip->is(IpProtocol::tcp));
  std::size_t different = 0;
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (after[i] == before[i]) continue;
    ++different;
    require(i >= ip->l4_offset + 16U && i < ip->l4_offset + 60U);
  }
  require(different <= 4);
  require(!clamp_mss(after, mtu));  // once is enough
  return 0;
}
