// A Child SA as the IKE session negotiated it, made into one that carries packets: the same for client and headend.
#pragma once

#include "common/ike/session.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::transports {

/// Moves the keys out of `event`. The caller adds inner_mtu, installs the result before it sends another IKE message,
/// and obeys OutboundSwitched by DataPlane::switch_outbound().
/// @param nat_keepalives  hold the mappings of NATs and firewalls before this end open (RFC 3948 §4)
[[nodiscard]] ChildSa child_from_ike(ike::ChildInstalled& event, SessionTag session, bool nat_keepalives, Instant now);

}  // namespace switchback::transports
