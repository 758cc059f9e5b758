// What the path code calls things: transports, candidates, paths and networks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/base/ip_address.h"
#include "common/base/strong.h"

namespace switchback::path {

/// A way to carry IKE and ESP. The order here is the default order of preference.
enum class TransportKind : std::uint8_t { udp, esp, ctcp, tls, tcp };
inline constexpr std::size_t kTransportKinds = 5;

[[nodiscard]] std::string_view to_string(TransportKind transport) noexcept;
/// By its name in profiles and options; nothing for any other text.
[[nodiscard]] std::optional<TransportKind> transport_from(std::string_view name) noexcept;

/// One opening of one candidate. Never used twice in a session, so a late answer cannot be taken for another path's.
using PathId = Strong<std::uint32_t, struct PathIdTag>;
/// Tells networks apart, for the memory of what worked: a hash that the shell makes of what it knows about the link
/// (gateway's hardware address, SSID, prefix). 0 means unknown, and nothing is remembered for it.
using NetworkId = Strong<std::uint64_t, struct NetworkIdTag>;

/// A transport over one family of addresses to one remote port: what may be opened.
struct Candidate {
  TransportKind transport = TransportKind::udp;
  IpFamily family = IpFamily::v4;
  friend bool operator==(const Candidate&, const Candidate&) = default;
};
[[nodiscard]] std::string_view to_string(IpFamily family) noexcept;

}  // namespace switchback::path
