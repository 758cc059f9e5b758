#include "transports/dataplane/offload_views.h"

#include "common/base/log.h"

namespace switchback::transports {

OffloadView view_of(TransportId transport, const OffloadStatus& status, Instant now, WallTime wall) {
  const auto on_calendar = [&](std::optional<Instant> at) -> std::optional<WallTime> {
    if (!at) return std::nullopt;
    return wall + std::chrono::round<std::chrono::seconds>(*at - now);
  };
  return {std::string{transport_name(transport)},
          std::string{status.offload},
          status.where,
          std::string{status.state},
          status.reason,
          on_calendar(status.since),
          on_calendar(status.until)};
}

void log_change(const OffloadChanged& change) {
  const auto& offload = change.offload;
  log::write(offload.state == "in use" ? log::Level::info : log::Level::warning, "offload_changed",
             {{"transport", transport_name(change.transport)},
              {"offload", offload.offload},
              {"where", offload.where},
              {"state", offload.state},
              {"reason", offload.reason}});
}

}  // namespace switchback::transports
