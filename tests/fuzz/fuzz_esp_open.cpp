// Packets of any content to an inbound SA. The first octet chooses what the rest is: ESP as it came off the wire
// (all of it forged), or what a malicious peer with the right keys put inside an authentic packet.
#include <algorithm>

#include "common/esp/codec.h"
#include "common/packet/ip.h"
#include "common/packet/pool.h"
#include "tests/fuzz/require.h"

using namespace switchback;
using namespace switchback::esp;
using switchback::test::require;

namespace {

// Passes everything as authentic, so that the fuzzer reaches what lies behind the tag.
class Open final : public crypto::Aead {
 public:
  void seal(std::span<crypto::AeadJob> jobs) noexcept override {
    for (auto& job : jobs) job.ok = true;
  }
  void open(std::span<crypto::AeadJob> jobs) noexcept override {
    for (auto& job : jobs) job.ok = true;
  }
  [[nodiscard]] crypto::AeadBackend backend() const noexcept override { return crypto::AeadBackend::openssl; }
};

SaParams make_params(bool esn) {
  SaParams params;
  params.spi = Spi{0x01020304};
  params.key = {crypto::AeadAlgorithm::aes128_gcm, Secret{20}};
  params.esn = esn;
  params.local = {packet::from_prefix(*IpPrefix::parse("10.0.0.0/8")), packet::from_prefix(*IpPrefix::parse("::/0"))};
  params.remote = params.local;
  return params;
}

void open_batch(InboundSa& sa, ByteView input, bool authentic) {
  static packet::PacketPool pool{16};
  std::vector<packet::Packet> batch;
  while (input.size() >= 2 && batch.size() < 16) {
    const std::size_t length = std::min<std::size_t>(load_be<std::uint16_t>(input.data()), input.size() - 2);
    auto packet = pool.allocate(packet::kSendHeadroom);
    const auto into = packet.append(length);
    std::copy_n(input.begin() + 2, length, into.begin());
    batch.push_back(std::move(packet));
    input = input.subspan(2 + length);
  }
  std::vector<Verdict> verdicts(batch.size());
  const auto before = sa.highest_sequence();
  open(sa, batch, verdicts);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (!authentic) require(verdicts[i] != Verdict::opened && verdicts[i] != Verdict::dummy);
    if (verdicts[i] != Verdict::opened) continue;
    const auto ip = packet::parse_ip(batch[i].data());
    require(ip.has_value() && ip->total_bytes == batch[i].size());
    require(packet::contains(make_params(true).remote, packet::source_address(batch[i].data(), *ip)));
    require(packet::contains(make_params(true).local, packet::destination_address(batch[i].data(), *ip)));
  }
  if (!authentic) require(sa.highest_sequence() == before);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool authentic = (data[0] & 1U) != 0, esn = (data[0] & 2U) != 0;
  const std::uint64_t highest = (data[0] & 4U) != 0 ? 0x1FFFFFFF0 : 0;
  const ByteView input{data + 1, size - 1};
  if (authentic) {
    InboundSa sa{make_params(esn), std::make_unique<Open>(), esn ? highest : 0};
    open_batch(sa, input, true);
  } else {
    static InboundSa sa{make_params(true)};
    open_batch(sa, input, false);
  }
  return 0;
}
