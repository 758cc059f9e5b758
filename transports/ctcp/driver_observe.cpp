// What people who look for faults ask of a cTCP connection: how it looks from here, a hole on demand, and segments that
// end at a router of one's choice.
#include <utility>

#include "transports/ctcp/ctcp_driver.h"

namespace switchback::transports::ctcp {
namespace {

/// Octets that a made hole pretends to have sent: a segment of the usual kind.
constexpr std::size_t kHoleOctets = 512;
constexpr std::uint8_t kTcpProtocol = 6;
/// Segments of one millisecond's timestamp that expire on the way.
constexpr std::uint16_t kLimitedInOneTick = 32;

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
    seen.data_received = engine.receiver()->counters().segments;
    seen.resegmented = static_cast<std::uint32_t>(engine.receiver()->scanner_counters().cut_frames);
  }
  seen.segments = engine.signals().segments;
  if (engine.sender() != nullptr) {
    seen.rtt = engine.sender()->srtt();
    seen.data_sent = engine.sender()->counters().sent + engine.sender()->counters().resent;
  }
  return seen;
}

/// Only classic: it never sends anything again anyway.
bool Driver::make_hole(const AddressPair& path, Instant now) {
  auto* connection = table_.find(path);
  return connection != nullptr && connection->classic && connection->classic->next_header(kHoleOctets, now).has_value();
}

LimitedKind Driver::limited_kind(const AddressPair& path) const {
  const auto* connection = table_.find(path);
  if (connection == nullptr || !connection->established() || connection->closing) return LimitedKind::none;
  // Without timestamps nothing but IPv4's identification tells one bare segment from the next.
  const bool told_apart =
      path.remote.address.is_v4() || (connection->engine && connection->engine->handshake().timestamps);
  return told_apart ? LimitedKind::bare_segment : LimitedKind::none;
}

/// A keepalive: no payload, and in the resilient mode one number before what is expected (RFC 9293 §3.8.4). Devices
/// that track the stream have seen thousands of the kind: it moves no number, fills and opens no gap, is no duplicate
/// ACK in the resilient mode (RFC 5681 §2 wants the expected number) and shows a normaliser no other octets for a
/// number than before. Data would open a gap behind the router where it ends; data sent before, with a short life, is
/// what evasion tools do, and some devices look out for that. At the other end it would be answered by an ACK, as any.
std::optional<packet::LimitedPacket> Driver::send_limited(packet::Packet packet, std::uint8_t hop_limit, Instant now) {
  const auto path = packet.path;
  if (limited_kind(path) == LimitedKind::none) return std::nullopt;
  auto* connection = table_.find(path);
  auto header = connection->engine ? connection->engine->bare_header(now) : connection->classic->bare_header();
  if (!header) return std::nullopt;
  if (path.remote.address.is_v6() && header->options.timestamps) {
    // What tells one from the next there is the timestamp, and within a millisecond the window's last bits: nobody
    // takes a window from a segment in front of what is expected (RFC 9293 §3.10.7.4).
    const auto timestamp = header->options.timestamps->value;
    if (std::exchange(connection->limited_timestamp, timestamp) != timestamp) connection->limited_since = 0;
    if (connection->limited_since == kLimitedInOneTick || header->window <= kLimitedInOneTick) return std::nullopt;
    header->window = static_cast<std::uint16_t>(header->window - connection->limited_since++);
  }
  const auto family = path.remote.address.family();
  auto& sender = family == IpFamily::v6 ? limited_v6_ : limited_v4_;
  if (!sender) {
    auto opened = io::HopLimitedSender::open(family, config_.mark);
    if (!opened) return std::nullopt;
    sender = std::move(*opened);
  }
  const auto segment = build_segment(*header, {}, path.local.address, path.remote.address);
  limited_id_ = static_cast<std::uint16_t>(limited_id_ == 0xFFFF ? 1 : limited_id_ + 1);
  packet::LimitedPacket sent;
  sent.destination = path.remote.address;
  sent.protocol = kTcpProtocol;
  sent.identification = family == IpFamily::v4 ? limited_id_ : std::uint16_t{0};
  sent.set_front(segment);
  const io::HopLimitedSender::Packet raw{path.local.address, path.remote.address, kTcpProtocol,
                                         hop_limit,          limited_id_,         segment};
  return sender->send(raw) ? std::optional{sent} : std::nullopt;
}

/// Whether an interface joins segments is its own setting, which no socket changes; a run that an interface refuses
/// leaves segment by segment.
std::vector<OffloadStatus> Driver::offloads() const {
  const auto* state = config_.offload ? "in use" : "off";
  const auto* reason = config_.offload ? "" : "not wanted";
  return {{"segmentation", "*", state, reason, {}, {}}, {"receive", "*", "in use", "", {}, {}}};
}

}  // namespace switchback::transports::ctcp
