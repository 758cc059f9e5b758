// The tcp transport: RFC 9329 over the kernel's TCP.
#pragma once

#include <memory>

#include "transports/transport.h"

namespace switchback::transports::tcp {

/// A TransportFactory. A headend listens on `config.local`; a client connects as paths are asked for.
/// Errors: an address that is not of this host, a port in use, no privilege for a port below 1024.
[[nodiscard]] Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config,
                                                                 packet::PacketPool& pool);

}  // namespace switchback::transports::tcp
