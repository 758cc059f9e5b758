// What the headend tells a client's doctor: what has arrived of a path, and how it looks from here.
#pragma once

#include <optional>

#include "common/base/bytes.h"
#include "common/base/time.h"
#include "common/path/control.h"
#include "transports/transport.h"

namespace switchback::headend {

/// The question, if that is what the body of a control message is.
[[nodiscard]] std::optional<path::Observe> parse_question(ByteView body);

/// @param arrived  the path as the question came by it
/// @param tcp  what the transport says of the path
/// @param received  authentic packets on it so far, the question included; @param sent  on it so far
[[nodiscard]] path::Observation make_observation(const path::Observe& question, const AddressPair& arrived,
                                                 const std::optional<transports::PathObservation>& tcp,
                                                 std::uint64_t received, std::uint64_t sent, WallTime wall);

}  // namespace switchback::headend
