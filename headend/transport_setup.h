// [transports] of headend.toml as the data plane wants it, and whether this host lets them be opened: asked before they
// are, so that the answer can name the key to change.
#pragma once

#include <span>
#include <vector>

#include "common/base/result.h"
#include "common/path/offer.h"
#include "headend/config.h"
#include "transports/transport.h"

namespace switchback::headend {

/// One entry for each transport that is on. Reads the files of `tls`.
/// @param listen  local addresses, of families that the kernel has. Errors: a file that cannot be read.
[[nodiscard]] Result<std::vector<transports::TransportConfig>, UserError> make_transports(
    const Config& config, std::span<const IpAddress> listen);

/// Errors: a TCP port that somebody else listens on, with the key that moves it; raw or packet sockets that are not
/// permitted, with the transport that wants them and how to turn it off. What is found free may be taken a moment
/// later: then the transport's own error tells.
[[nodiscard]] Result<void, UserError> check_transports(const Config& config,
                                                       std::span<const transports::TransportConfig> wanted);

/// What clients that speak in-band control are told of [transports].
[[nodiscard]] path::Offer make_offer(const Config& config);

}  // namespace switchback::headend
