// The udp transport: batched sockets for IKE and ESP in UDP (RFC 7296 §2.23, RFC 3948).
#pragma once

#include <memory>

#include "transports/transport.h"

namespace switchback::transports::udp {

/// Opens the sockets of `config.local`. A TransportFactory.
/// Errors: an address that is not of this host, a port in use, no privilege for a port below 1024.
[[nodiscard]] Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config,
                                                                 packet::PacketPool& pool);

}  // namespace switchback::transports::udp
