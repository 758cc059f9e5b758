// `switchback-client doctor --locate-loss`: between which routers packets get lost, in which direction, and how many.
#pragma once

#include "client/config.h"
#include "client/doctor.h"
#include "client/doctor_facts.h"

namespace switchback::client {

/// @param facts  with the headend's addresses, of which there is a route to some
/// @param mark  of outer packets: that of a running client
[[nodiscard]] ExitStatus locate_loss(const DoctorOptions& options, const Config& config, std::uint32_t mark,
                                     doctor::Facts& facts);

}  // namespace switchback::client
