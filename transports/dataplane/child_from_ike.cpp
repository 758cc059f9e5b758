#include "transports/dataplane/child_from_ike.h"

#include <utility>

#include "common/esp/lifetime.h"

namespace switchback::transports {
namespace {

constexpr Duration kNatKeepalive = std::chrono::seconds{20};  // RFC 3948 §4

esp::SaParams half(const ike::ChildInstalled& event, Spi spi, crypto::AeadKey& key, Instant now) {
  esp::SaParams params;
  params.spi = spi;
  params.lifetime = esp::default_limits(key.algorithm, event.esn);
  // The session keeps the time; the packet thread keeps the counts.
  params.lifetime.soft_time = params.lifetime.hard_time = Duration::max();
  params.key = std::move(key);
  params.esn = event.esn;
  params.local = event.local;
  params.remote = event.remote;
  params.installed = now;
  return params;
}

}  // namespace

ChildSa child_from_ike(ike::ChildInstalled& event, SessionTag session, bool nat_keepalives, Instant now) {
  ChildSa child;
  child.session = session;
  child.inbound = half(event, event.inbound, event.inbound_key, now);
  child.outbound = half(event, event.outbound, event.outbound_key, now);
  child.path = event.path;
  child.activation = event.use_outbound ? Activation::now : Activation::on_command;
  child.replaces = event.replaces;
  if (nat_keepalives) child.nat_keepalive = kNatKeepalive;
  return child;
}

}  // namespace switchback::transports
