#include "transports/registry.h"

#include <algorithm>
#include <array>

#include "transports/ctcp/driver.h"
#include "transports/esp/driver.h"
#include "transports/tcp/driver.h"
#include "transports/tls/driver.h"
#include "transports/udp/driver.h"

namespace switchback::transports {
namespace {

/// By TransportId.
constexpr std::array<std::string_view, kTransportIds> kNames{"udp", "esp", "ctcp", "tls", "tcp"};

}  // namespace

std::optional<TransportId> transport_id(std::string_view name) noexcept {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<TransportId>(found - kNames.begin());
}

std::string_view transport_name(TransportId id) noexcept { return id < kNames.size() ? kNames[id] : "?"; }

Result<std::unique_ptr<Transport>, UserError> TransportRegistry::open(const TransportConfig& config,
                                                                      packet::PacketPool& pool) const {
  for (const auto& entry : entries_) {
    if (entry.name == config.name) return entry.factory(config, pool);
  }
  std::string message = "there is no transport named \"" + config.name + "\"; this build has";
  for (const auto& entry : entries_) message.append(&entry == entries_.data() ? " " : ", ").append(entry.name);
  return fail_user(std::move(message));
}

std::vector<std::string_view> TransportRegistry::names() const {
  std::vector<std::string_view> names;
  names.reserve(entries_.size());
  for (const auto& entry : entries_) names.push_back(entry.name);
  return names;
}

const TransportRegistry& builtin_transports() {
  static const TransportRegistry registry = [] {
    TransportRegistry all;
    all.add("udp", &udp::open);
    all.add("esp", &native_esp::open);
    all.add("ctcp", &ctcp::open);
    all.add("tls", &tls::open);
    all.add("tcp", &tcp::open);
    return all;
  }();
  return registry;
}

}  // namespace switchback::transports
