#include "tests/support/sim_network.h"

#include <algorithm>

namespace switchback::test {

void SimNetwork::rebind() {
  if (!nat_) return;
  nat_->mappings.clear();
  nat_->next_port = static_cast<std::uint16_t>(nat_->next_port + 100);
}

void SimNetwork::rebind(const IpAddress& outside) {
  rebind();
  if (nat_) nat_->outside = outside;
}

std::optional<AddressPair> SimNetwork::translate(const AddressPair& sent) {
  if (!nat_) return AddressPair{sent.remote, sent.local, sent.transport};
  auto& mappings = nat_->mappings;
  if (sent.local.address == nat_->inside) {
    auto mapping =
        std::find_if(mappings.begin(), mappings.end(), [&](const Mapping& m) { return m.inside == sent.local; });
    if (mapping == mappings.end()) mapping = mappings.insert(mappings.end(), {sent.local, nat_->next_port++});
    return AddressPair{sent.remote, {nat_->outside, mapping->port}, sent.transport};
  }
  const auto mapping = std::find_if(mappings.begin(), mappings.end(), [&](const Mapping& m) {
    return m.port == sent.remote.port && sent.remote.address == nat_->outside;
  });
  if (mapping == mappings.end()) return std::nullopt;
  return AddressPair{mapping->inside, sent.local, sent.transport};
}

void SimNetwork::send(Datagram datagram, Instant now) {
  if (keep_ && !keep_(datagram)) return;
  const auto path = translate(datagram.path);
  if (!path) return;
  datagram.path = *path;
  const unsigned copies = random_.chance(conditions_.duplication) ? 2 : 1;
  for (unsigned i = 0; i < copies; ++i) {
    if (random_.chance(conditions_.loss)) continue;
    auto due = now + conditions_.delay;
    if (conditions_.jitter > Duration::zero()) {
      due +=
          Duration{static_cast<Duration::rep>(random_.below(static_cast<std::uint64_t>(conditions_.jitter.count())))};
    }
    flying_.push_back({due, order_++, datagram});
  }
}

std::optional<Instant> SimNetwork::next_delivery() const {
  std::optional<Instant> next;
  for (const auto& one : flying_) next = earliest(next, one.due);
  return next;
}

std::optional<Datagram> SimNetwork::receive(Instant now) {
  const auto first = std::min_element(flying_.begin(), flying_.end(), [](const Flying& a, const Flying& b) {
    return std::tie(a.due, a.order) < std::tie(b.due, b.order);
  });
  if (first == flying_.end() || first->due > now) return std::nullopt;
  auto datagram = std::move(first->datagram);
  flying_.erase(first);
  return datagram;
}

}  // namespace switchback::test
