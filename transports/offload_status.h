// What a transport tells of the offloads that it uses, and is told of the packets that came through them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/time.h"

namespace switchback::transports {

/// What the SAs made of packets in a row that came by one interface of a transport in the same way. Only packets that
/// the session's peer is likely to have sent are in here: strangers can make others fail at will.
struct ArrivalEvidence {
  std::uint8_t interface = 0;  // packet::Arrival
  bool joined = false;         // all of one joined message
  std::uint8_t flow = 0;       // of which session, modulo 256
  std::uint32_t authentic = 0, failed = 0;
};

/// An offload in one place: of an interface, or where that does not matter, of a socket.
struct OffloadStatus {
  std::string_view offload;  // "segmentation" or "receive"
  std::string where;         // an interface's name or a socket's address; "*": everywhere
  /// "in use", "off" (for good: not there, refused, or failed its test), "off on trial", "in use on trial",
  /// "quarantined".
  std::string_view state;
  std::string reason;                   // for people; empty: nothing to say
  std::optional<Instant> since, until;  // nothing: from the start; for good
};

/// The same for the status of a program.
struct OffloadView {
  std::string transport, offload, where, state, reason;
  std::optional<WallTime> since, until;
};

}  // namespace switchback::transports
