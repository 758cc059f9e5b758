// NAT detection (RFC 7296 §2.23): hashes of SPIs, address and port in IKE_SA_INIT, and with MOBIKE later.
#pragma once

#include <array>
#include <cstdint>

#include "common/base/ip_address.h"
#include "common/base/strong.h"
#include "common/ike/message.h"

namespace switchback::ike {

using NatHash = std::array<std::uint8_t, 20>;

/// SHA-1(SPIi | SPIr | IP | port). In the IKE_SA_INIT request SPIr is zero.
[[nodiscard]] NatHash nat_detection_hash(IkeSpi initiator_spi, IkeSpi responder_spi, const Endpoint& endpoint);

/// Adds NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP for a path as seen from here.
/// @param force_encapsulation  the source hash is then one that matches no address, so that the peer sees a NAT and
///                             encapsulates ESP in UDP
void add_nat_detection(ChainBuilder& chain, IkeSpi initiator_spi, IkeSpi responder_spi, const AddressPair& path,
                       bool force_encapsulation);

struct NatStatus {
  bool supported = false;      // the peer sent both kinds; else nothing is known
  bool local_behind = false;   // no destination hash is that of our address
  bool remote_behind = false;  // no source hash is that of the peer's address as it reached us
  [[nodiscard]] bool any() const noexcept { return local_behind || remote_behind; }
};
/// @param header, payloads  of the message received; @param path  on which it came, as seen from here
[[nodiscard]] NatStatus detect_nat(const Header& header, const Payloads& payloads, const AddressPair& path);

}  // namespace switchback::ike
