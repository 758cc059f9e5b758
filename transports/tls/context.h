// What all TLS connections of a driver share: the settings of both roles, certificate and key.
#pragma once

#include <string>

#include "common/base/result.h"
#include "transports/tls/handles.h"
#include "transports/transport.h"

namespace switchback::transports::tls {

/// Settings for a headend that is to look like an ordinary HTTPS server: TLS 1.2 and 1.3, ALPN http/1.1, tickets.
/// Errors: a chain or key that cannot be read or do not belong together.
[[nodiscard]] Result<SslCtxPtr, UserError> server_context(const TlsConfig& config);
/// Settings for our client: TLS 1.3 only. The certificate is taken as shown: IKE inside proves the headend, and a
/// headend behind a plain "snake oil" certificate is as good.
[[nodiscard]] Result<SslCtxPtr, UserError> client_context();

/// "TLS alert: protocol version" and the like: the oldest error of this thread's queue, which is empty afterwards.
[[nodiscard]] std::string take_error();

}  // namespace switchback::transports::tls
