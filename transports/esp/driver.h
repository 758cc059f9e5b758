// The esp transport: ESP as IP protocol 50, without UDP (RFC 4303). It carries nothing else; IKE goes by `udp`.
#pragma once

#include <memory>

#include "transports/transport.h"

namespace switchback::transports::native_esp {  // `esp` is what makes the packets

/// Opens a raw socket for each address of `config.local`, whose ports do not matter; one for the unspecified address
/// serves the others of its family too. Its paths have port 0 at both ends. A TransportFactory.
/// Errors: an address that is not of this host, no privilege for raw sockets.
[[nodiscard]] Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config,
                                                                 packet::PacketPool& pool);

}  // namespace switchback::transports::native_esp
