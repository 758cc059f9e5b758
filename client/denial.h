// What an unprotected IKE message says about our session.
#pragma once

#include <span>

#include "common/base/bytes.h"
#include "common/base/strong.h"

namespace switchback::client {

/// Whether its sender has received packets of our session and does not know it: INVALID_IKE_SPI in a response to our
/// IKE SA (RFC 7296 §2.21.4), or INVALID_SPI about a Child SA that we send on (§1.5). Who is not on the path cannot
/// know those numbers. Pure.
/// @param outbound  SPIs of our Child SAs, outwards
[[nodiscard]] bool denies_session(ByteView message, IkeSpi initiator, IkeSpi responder, std::span<const Spi> outbound);

}  // namespace switchback::client
