// Offloads for people: in the status and in the log.
#pragma once

#include "transports/dataplane/dataplane.h"

namespace switchback::transports {

/// @param now, wall  the same moment
[[nodiscard]] OffloadView view_of(TransportId transport, const OffloadStatus& status, Instant now, WallTime wall);

/// A line in the log; a warning, unless it is in use again.
void log_change(const OffloadChanged& change);

}  // namespace switchback::transports
