// The client's transports as the data plane wants them, without those that this host does not let it open.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "client/config.h"
#include "client/route_plan.h"
#include "client/targets.h"
#include "transports/registry.h"
#include "transports/transport.h"

namespace switchback::client {

/// A transport that was asked for and cannot be had on this host.
struct LeftOut {
  path::TransportKind transport = path::TransportKind::udp;
  std::string why;
};

struct TransportSetup {
  std::vector<transports::TransportConfig> wanted;  // `esp` needs `udp` too: IKE goes there
  std::vector<LeftOut> left_out;
};

/// @param families  those that this kernel has
/// @param mark  of outer packets
[[nodiscard]] TransportSetup make_transports(const Config& config, std::span<const IpFamily> families,
                                             std::uint32_t mark);

/// Opens each for a moment, and leaves out what fails. Errors: the one that is forced fails, or all do.
[[nodiscard]] Result<TransportSetup, UserError> keep_openable(TransportSetup setup, const Config& config,
                                                              const transports::TransportRegistry& registry);

/// What arrives from the headend when all of them are used: the rules that let answers in are made from it.
/// @param headends  at most one address of each family
[[nodiscard]] std::vector<OuterFlow> outer_flows(const Config& config, const TransportPorts& ports,
                                                 std::span<const IpAddress> headends);

}  // namespace switchback::client
