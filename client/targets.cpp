#include "client/targets.h"

#include <algorithm>

namespace switchback::client {

using path::TransportKind;

TransportPorts ports_of(const profile::Profile& profile) {
  TransportPorts ports;
  ports.ike = profile.headend.ike_port;
  ports.nat_t = profile.headend.nat_t_port;
  ports.ctcp = profile.transports.ctcp_ports;
  ports.tcp = profile.transports.tcp_port;
  ports.tls = profile.transports.tls_port;
  return ports;
}

Targets::Targets(std::vector<TransportKind> order, TransportPorts ports, std::vector<IpAddress> addresses)
    : ports_{std::move(ports)}, addresses_{std::move(addresses)} {
  for (const auto transport : order) {
    for (const auto family : {IpFamily::v6, IpFamily::v4}) {
      if (!first(family).empty()) entries_.push_back({{transport, family}, 0, 0});
    }
  }
}

std::vector<path::Candidate> Targets::candidates() const {
  std::vector<path::Candidate> all;
  for (const auto& entry : entries_) all.push_back(entry.candidate);
  return all;
}

Endpoint Targets::next(const path::Candidate& candidate) {
  const auto addresses = of(candidate.family);
  const auto ports = ports_for(candidate.transport);
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.candidate == candidate; });
  if (found == entries_.end() || addresses.empty() || ports.empty()) return {};
  const auto turn = found->opened++ % (addresses.size() * ports.size());
  return {addresses[turn % addresses.size()], ports[turn / addresses.size()]};
}

void Targets::note_failed(const path::Candidate& candidate) noexcept {
  for (auto& entry : entries_) entry.failed += entry.candidate == candidate ? 1U : 0U;
}

bool Targets::exhausted(std::uint32_t times, bool v4, bool v6) const noexcept {
  return std::all_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    if (!(entry.candidate.family == IpFamily::v6 ? v6 : v4)) return true;
    const auto places = of(entry.candidate.family).size() * ports_for(entry.candidate.transport).size();
    return entry.failed >= std::max<std::size_t>(times, places);
  });
}

void Targets::apply(const path::Offer& offer) {
  std::vector<std::uint16_t> ctcp;
  for (const auto& offered : offer.transports) {
    switch (offered.transport) {
      case TransportKind::udp: ports_.nat_t = offered.port; break;
      case TransportKind::esp: break;
      case TransportKind::ctcp: ctcp.push_back(offered.port); break;
      case TransportKind::tls: ports_.tls = offered.port; break;
      case TransportKind::tcp: ports_.tcp = offered.port; break;
    }
  }
  if (!ctcp.empty()) ports_.ctcp = std::move(ctcp);
}

void Targets::prefer(const IpAddress& address) {
  const auto found = std::find(addresses_.begin(), addresses_.end(), address);
  if (found == addresses_.end()) return;
  std::rotate(addresses_.begin(), found, found + 1);
  for (auto& entry : entries_) {
    if (entry.candidate.family == address.family()) entry.opened = 0;
  }
}

IpAddress Targets::first(IpFamily family) const noexcept {
  const auto found = std::find_if(addresses_.begin(), addresses_.end(),
                                  [&](const IpAddress& address) { return address.family() == family; });
  return found == addresses_.end() ? IpAddress{} : *found;
}

std::vector<IpAddress> Targets::of(IpFamily family) const {
  std::vector<IpAddress> same;
  for (const auto& address : addresses_) {
    if (address.family() == family) same.push_back(address);
  }
  return same;
}

std::vector<std::uint16_t> Targets::ports_for(TransportKind transport) const {
  switch (transport) {
    case TransportKind::udp: return {ports_.nat_t};
    case TransportKind::esp: return {0};
    case TransportKind::ctcp: return ports_.ctcp;
    case TransportKind::tls: return {ports_.tls};
    case TransportKind::tcp: return {ports_.tcp};
  }
  return {};
}

std::string wire_name(TransportKind transport, const TransportPorts& ports) {
  switch (transport) {
    case TransportKind::udp: return "UDP " + std::to_string(ports.ike) + " and " + std::to_string(ports.nat_t);
    case TransportKind::esp: return "protocol 50 and UDP " + std::to_string(ports.ike);
    case TransportKind::ctcp: {
      std::string text = "TCP ";
      for (const auto port : ports.ctcp) text += (text.size() == 4 ? "" : "/") + std::to_string(port);
      return text;
    }
    case TransportKind::tls: return "TCP " + std::to_string(ports.tls);
    case TransportKind::tcp: return "TCP " + std::to_string(ports.tcp);
  }
  return {};
}

}  // namespace switchback::client
