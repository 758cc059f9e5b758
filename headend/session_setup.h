// From configuration, files and store to what every responder session is told.
#pragma once

#include <memory>

#include "common/ike/session_config.h"
#include "headend/config.h"
#include "headend/store.h"

namespace switchback::headend {

/// Certificate and key, the trusted CA, pre-shared keys of users, proposals, timers. Made anew when any of it changes;
/// sessions keep the one they began with.
/// Errors: a file that cannot be read, a key that does not fit its certificate, a certificate that does not name the
/// configured identity.
[[nodiscard]] Result<std::shared_ptr<const ike::SessionConfig>, UserError> make_session_config(const Config& config,
                                                                                               Store& store,
                                                                                               bool keylog);

/// Largest inner packet that fits into one outer packet of `path_mtu` octets.
/// @param overhead  outer IP, transport and framing, as TransportTraits has it
[[nodiscard]] unsigned inner_mtu_for(unsigned path_mtu, unsigned overhead) noexcept;

}  // namespace switchback::headend
