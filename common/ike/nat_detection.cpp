#include "common/ike/nat_detection.h"

#include "common/crypto/prf.h"
#include "common/ike/payload_notify.h"

namespace switchback::ike {

NatHash nat_detection_hash(IkeSpi initiator_spi, IkeSpi responder_spi, const Endpoint& endpoint) {
  std::array<std::uint8_t, 16> spis{};
  store_be(spis.data(), initiator_spi.value);
  store_be(spis.data() + 8, responder_spi.value);
  std::array<std::uint8_t, 2> port{};
  store_be(port.data(), endpoint.port);
  return crypto::sha1({ByteView{spis}, endpoint.address.bytes(), ByteView{port}});
}

void add_nat_detection(ChainBuilder& chain, IkeSpi initiator_spi, IkeSpi responder_spi, const AddressPair& path,
                       bool force_encapsulation) {
  auto source = nat_detection_hash(initiator_spi, responder_spi, path.local);
  // One bit away from the truth: no address hashes to it, and it tells nothing that the true hash would not.
  if (force_encapsulation) source[0] ^= 1U;
  add_notify(chain, NotifyType::nat_detection_source_ip, source);
  add_notify(chain, NotifyType::nat_detection_destination_ip,
             nat_detection_hash(initiator_spi, responder_spi, path.remote));
}

NatStatus detect_nat(const Header& header, const Payloads& payloads, const AddressPair& path) {
  const auto remote = nat_detection_hash(header.initiator_spi, header.responder_spi, path.remote);
  const auto local = nat_detection_hash(header.initiator_spi, header.responder_spi, path.local);
  bool sources = false;
  bool destinations = false;
  bool remote_seen = false;
  bool local_seen = false;
  for (const auto& notify : notifies(payloads)) {
    // RFC 7296 §2.23: there may be several of the source, when the sender does not know which interface is used.
    if (notify.type == NotifyType::nat_detection_source_ip) {
      sources = true;
      remote_seen = remote_seen || same_bytes(notify.data, remote);
    } else if (notify.type == NotifyType::nat_detection_destination_ip) {
      destinations = true;
      local_seen = local_seen || same_bytes(notify.data, local);
    }
  }
  if (!sources || !destinations) return {};
  return {true, !local_seen, !remote_seen};
}

}  // namespace switchback::ike
