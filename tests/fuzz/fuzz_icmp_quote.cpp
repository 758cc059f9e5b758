// Any ICMP message: what is taken from it lies within it, and only a packet that was sent is ever found in it.
#include <cstdlib>

#include "common/packet/checksum.h"
#include "common/packet/icmp_quote.h"

using namespace switchback;

namespace {

void look_at(ByteView message, IpFamily family, const packet::LimitedPacket& sent) {
  const auto quote = packet::parse_icmp_error(message, family);
  if (!quote) return;
  if (quote->front.size() < 8 || quote->front.data() < message.data() ||
      quote->front.data() + quote->front.size() > message.data() + message.size()) {
    std::abort();
  }
  if (quote->destination.family() != family) std::abort();
  if (packet::match(*quote, sent) != packet::QuoteMatch::none &&
      (quote->destination != sent.destination || quote->protocol != sent.protocol)) {
    std::abort();
  }
  // What is quoted is found in its own quote, unless nothing tells it from others.
  packet::LimitedPacket same;
  same.destination = quote->destination;
  same.protocol = quote->protocol;
  same.identification = quote->identification;
  same.set_front(quote->front);
  if (quote->protocol == 50 && packet::match(*quote, same) != packet::QuoteMatch::exact) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const auto protocol = std::array<std::uint8_t, 4>{17, 50, 6, 1}[data[0] % 4U];
  const auto family = (data[1] & 1U) != 0 ? IpFamily::v6 : IpFamily::v4;
  Bytes message{data + 2, data + size};
  packet::LimitedPacket sent;
  sent.destination = IpAddress::from_bytes(Bytes(family == IpFamily::v4 ? 4 : 16, data[1]));
  sent.protocol = protocol;
  sent.identification = data[0];
  sent.set_front(message);
  look_at(message, family, sent);
  if (message.size() >= 4) {  // past the checksum
    message[2] = message[3] = 0;
    store_be(message.data() + 2, packet::checksum(message));
    look_at(message, family, sent);
  }
  return 0;
}
