// A Child SA as the packet thread holds it.
#pragma once

#include <memory>

#include "common/esp/sa.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::transports {

struct CarriedSession;
struct ForeignRoute;

struct Child {
  explicit Child(ChildSa from)
      : session{from.session},
        remote{from.outbound.remote},
        inbound{std::move(from.inbound)},
        outbound{std::move(from.outbound)},
        replaces{from.replaces},
        inner_mtu{from.inner_mtu},
        nat_keepalive{from.nat_keepalive},
        activity{std::make_shared<ChildActivity>()} {}

  [[nodiscard]] Spi spi() const noexcept { return inbound.spi(); }

  SessionTag session;
  CarriedSession* carrier = nullptr;  // its session, while it is installed
  packet::TrafficSelectors remote;    // what the outbound table is made from
  esp::InboundSa inbound;
  esp::OutboundSa outbound;
  std::optional<Spi> replaces;
  std::uint16_t inner_mtu;
  Duration nat_keepalive;
  std::shared_ptr<ChildActivity> activity;
  std::shared_ptr<const ForeignRoute> route;  // for the other workers; empty if there are none
  bool sending = false;                       // in the outbound table
  bool received = false;                      // an authentic packet came
  Instant last_moved_event{};
};

}  // namespace switchback::transports
