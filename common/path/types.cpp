#include "common/path/types.h"

#include <array>

namespace switchback::path {

std::string_view to_string(TransportKind transport) noexcept {
  switch (transport) {
    case TransportKind::udp: return "udp";
    case TransportKind::esp: return "esp";
    case TransportKind::ctcp: return "ctcp";
    case TransportKind::tls: return "tls";
    case TransportKind::tcp: return "tcp";
  }
  return "unknown";
}

std::optional<TransportKind> transport_from(std::string_view name) noexcept {
  constexpr std::array kAll{TransportKind::udp, TransportKind::esp, TransportKind::ctcp, TransportKind::tls,
                            TransportKind::tcp};
  static_assert(kAll.size() == kTransportKinds);
  for (const auto transport : kAll) {
    if (to_string(transport) == name) return transport;
  }
  return std::nullopt;
}

std::string_view to_string(IpFamily family) noexcept {
  switch (family) {
    case IpFamily::none: return "none";
    case IpFamily::v4: return "v4";
    case IpFamily::v6: return "v6";
  }
  return "unknown";
}

}  // namespace switchback::path
