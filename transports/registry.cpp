#include "transports/registry.h"

#include "transports/udp/driver.h"

namespace switchback::transports {

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
    return all;
  }();
  return registry;
}

}  // namespace switchback::transports
