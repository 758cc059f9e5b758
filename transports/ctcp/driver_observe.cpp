// What people who look for faults ask of a cTCP connection: how it looks from here, and a hole on demand.
#include "transports/ctcp/ctcp_driver.h"

namespace switchback::transports::ctcp {
namespace {

/// Octets that a made hole pretends to have sent: a segment of the usual kind.
constexpr std::size_t kHoleOctets = 512;

}  // namespace

std::optional<PathObservation> Driver::observe(const AddressPair& path) const {
  const auto* connection = table_.find(path);
  if (connection == nullptr || !connection->established()) return std::nullopt;
  PathObservation seen;
  seen.numbers_known = true;
  if (connection->classic) {
    seen.local_isn = connection->classic->local_isn();
    seen.remote_isn = connection->classic->remote_isn();
    return seen;
  }
  const auto& engine = *connection->engine;
  const auto& agreed = engine.handshake();
  seen.local_isn = agreed.local_isn;
  seen.remote_isn = agreed.remote_isn;
  seen.mss = agreed.peer_mss;
  seen.window_scale = agreed.peer_window_scale;
  seen.own_window_scale = kOurWindowScale;
  seen.sack = agreed.sack;
  seen.timestamps = agreed.timestamps;
  seen.engine = agreed.peer_is_engine;
  seen.resets = static_cast<std::uint32_t>(engine.signals().resets);
  if (engine.receiver() != nullptr) {
    seen.resegmented = static_cast<std::uint32_t>(engine.receiver()->scanner_counters().cut_frames);
  }
  if (engine.sender() != nullptr) seen.rtt = engine.sender()->srtt();
  return seen;
}

/// Only classic: it never sends anything again anyway.
bool Driver::make_hole(const AddressPair& path, Instant now) {
  auto* connection = table_.find(path);
  return connection != nullptr && connection->classic && connection->classic->next_header(kHoleOctets, now).has_value();
}

}  // namespace switchback::transports::ctcp
