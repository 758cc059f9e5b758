// Protected messages. The input is a script of datagrams, each taken as it is (forged) or sealed first, so that the
// chain inside and the reassembly of authentic fragments are reached. Octets: mode, then a 16-bit length, then content.
#include <algorithm>
#include <cstdlib>

#include "common/ike/sk_payload.h"

using namespace switchback;
using namespace switchback::ike;

namespace {

crypto::AeadKey fixed_key() { return {crypto::AeadAlgorithm::chacha20_poly1305, Secret{Bytes(36, 0x42)}}; }

Header header_for(std::uint8_t mode) {
  Header header;
  header.initiator_spi = IkeSpi{1};
  header.responder_spi = IkeSpi{2};
  header.exchange = ExchangeType::informational;
  header.response = (mode & 8U) != 0;
  header.message_id = MessageId{(mode >> 4U) & 3U};
  return header;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto key = fixed_key();
  SkSealer sealer{key};
  SkOpener opener{key};
  WireReader r{{data, size}};
  for (int datagrams = 0; datagrams < 32 && !r.at_end(); ++datagrams) {
    const auto mode = r.u8();
    const std::size_t length = r.u16be();
    const auto content = r.bytes(std::min(length, r.remaining()));
    if (!r.ok()) return 0;
    if ((mode & 3U) == 0) {
      (void)opener.open(content);
      continue;
    }
    ChainBuilder chain;
    // One payload of any type and content.
    if (!content.empty()) chain.add(PayloadType{content[0]}, content.subspan(1));
    const std::size_t limit = (mode & 3U) == 1 ? kMaxMessageOctets : 150;
    for (const auto& message : sealer.seal(header_for(mode), chain, limit)) {
      if ((mode & 4U) != 0 && message.size() % 3 == 0) continue;  // lost
      const auto opened = opener.open(message);
      if (!opened && opened.error() == OpenErrc::forged) std::abort();
      if (opened && *opened && (**opened).plaintext.size() > kMaxMessageOctets) std::abort();
    }
  }
  return 0;
}
