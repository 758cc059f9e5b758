// The tls transport: RFC 9329 inside TLS, on a port that otherwise shows a web server.
#pragma once

#include <memory>

#include "transports/transport.h"

namespace switchback::transports::tls {

/// A TransportFactory. A headend listens on `config.local` and needs `config.tls` with certificate and key; a client
/// connects as paths are asked for.
/// Errors: certificate, key or page that cannot be used, an address that is not of this host, a port in use.
[[nodiscard]] Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config,
                                                                 packet::PacketPool& pool);

}  // namespace switchback::transports::tls
