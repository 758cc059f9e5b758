// Transports by name: where the programs' `--transport` and the data plane meet the drivers.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "transports/transport.h"

namespace switchback::transports {

/// Opens a transport whose packets live in `pool`, which must outlive it; both belong to one packet thread.
using TransportFactory = Result<std::unique_ptr<Transport>, UserError> (*)(const TransportConfig& config,
                                                                           packet::PacketPool& pool);

/// A name's factory. Drivers do not register themselves: a list that one can read beats start-up order.
class TransportRegistry {
 public:
  void add(std::string_view name, TransportFactory factory) { entries_.push_back({name, factory}); }
  /// Errors: an unknown name, with those that exist; whatever opening the transport said.
  [[nodiscard]] Result<std::unique_ptr<Transport>, UserError> open(const TransportConfig& config,
                                                                   packet::PacketPool& pool) const;
  [[nodiscard]] std::vector<std::string_view> names() const;

 private:
  struct Entry {
    std::string_view name;  // a literal
    TransportFactory factory;
  };
  std::vector<Entry> entries_;
};

/// Every transport that this build has, in the default order of preference.
[[nodiscard]] const TransportRegistry& builtin_transports();

}  // namespace switchback::transports
