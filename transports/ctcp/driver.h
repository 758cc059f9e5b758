// The ctcp transport: IKE and ESP in what looks like a TCP connection, both modes, beside the kernel's TCP.
#pragma once

#include <memory>

#include "transports/transport.h"

namespace switchback::transports::ctcp {

/// Opens the guarded ports of a headend, or a client's packet sockets. A TransportFactory. Needs CAP_NET_RAW and, for
/// the mark, CAP_NET_ADMIN. Segments are seen before the host's own firewall gets them, so its INPUT rules do not
/// apply to these ports. Several workers cannot share a port yet.
/// Errors: an address that is not of this host, a port in use, no privilege.
[[nodiscard]] Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config,
                                                                 packet::PacketPool& pool);

}  // namespace switchback::transports::ctcp
