// A batch of packets of any content, each behind a 16-bit length: every octet comes out once, and what was merged can
// be segmented into as many packets again.
#include <algorithm>

#include "common/packet/ip.h"
#include "common/packet/offload.h"
#include "tests/fuzz/require.h"

using namespace switchback;
using namespace switchback::packet;
using switchback::test::require;

namespace {

constexpr std::size_t kMaxBatch = 64;

void run(ByteView input, CoalesceMode mode) {
  static PacketPool pool{kMaxBatch};
  static PacketPool segments_pool{8};
  std::vector<Packet> batch;
  while (input.size() >= 2 && batch.size() < kMaxBatch) {
    const std::size_t length = std::min<std::size_t>(load_be<std::uint16_t>(input.data()), input.size() - 2);
    auto packet = pool.allocate(0);
    const auto into = packet.append(length);
    std::copy_n(input.begin() + 2, length, into.begin());
    batch.push_back(std::move(packet));
    input = input.subspan(2 + length);
  }
  const auto filled = static_cast<std::size_t>(
      std::count_if(batch.begin(), batch.end(), [](const Packet& packet) { return packet.size() != 0; }));

  Coalescer coalescer{mode};
  std::size_t packets = 0;
  for (const auto& write : coalescer.run(batch)) {
    packets += write.packets;
    Bytes octets;
    for (const auto& piece : write.iov) {
      append(octets, {static_cast<const std::uint8_t*>(piece.iov_base), piece.iov_len});
    }
    require(octets.size() == write.bytes);
    if (!mode.vnet_header) {
      require(write.packets == 1);
      continue;
    }
    const auto header = VirtioNetHeader::load(octets);
    require((header.gso_type == kVirtioGsoNone) == (write.packets == 1));
    if (write.packets == 1) continue;
    require(octets.size() <= kMaxIpPacketBytes + VirtioNetHeader::kBytes);
    PacketCarver carver{segments_pool};
    std::vector<Packet> parts;
    const auto verdict = segment(header, ByteView{octets}.subspan(VirtioNetHeader::kBytes), carver, parts);
    require(verdict == SegmentVerdict::ok && parts.size() == write.packets);
  }
  require(packets == filled);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  CoalesceMode mode;
  mode.vnet_header = (data[0] & 1U) != 0;
  mode.tcp = (data[0] & 2U) != 0;
  mode.udp = (data[0] & 4U) != 0;
  run({data + 1, size - 1}, mode);
  return 0;
}
