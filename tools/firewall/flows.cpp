#include "tools/firewall/flows.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace switchback::firewall {
namespace {

template <class T>
bool contains(const std::vector<T>& all, const T& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

/// What a message shows of text that may be hostile: printable ASCII, not much of it.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) out += c > ' ' && c < 127 ? c : '?';
  return '"' + out + '"';
}

/// Why no packet to a headend has this address; empty: it is fine.
std::string_view unusable(const IpAddress& address) {
  static const auto within = [](const IpAddress& candidate, std::string_view prefix) {
    return IpPrefix::parse(prefix)->contains(candidate);
  };
  if (address.is_unspecified()) return "is no host's address";
  if (within(address, "127.0.0.0/8") || address == *IpAddress::parse("::1")) return "is the loopback address";
  if (within(address, "224.0.0.0/4") || within(address, "240.0.0.0/4") || within(address, "ff00::/8")) {
    return "is not the address of one host";
  }
  if (within(address, "::ffff:0:0/96")) return "is IPv4 in IPv6's clothes: write it as IPv4";
  return {};
}

Result<void, UserError> add_address(Flows& flows, const IpAddress& address, const std::string& from) {
  if (const auto why = unusable(address); !why.empty()) {
    return fail_user(from + ": " + address.to_string() + " " + std::string{why} +
                     "; give the address that clients reach the headend at");
  }
  if (contains(flows.addresses, address)) return {};
  if (flows.addresses.size() == kMaxAddresses) {
    return fail_user("the headend has more than " + std::to_string(kMaxAddresses) +
                     " addresses; name those that matter with --address");
  }
  flows.addresses.push_back(address);
  return {};
}

Result<Flows, UserError> with_transports(Flows flows, const std::vector<std::string>& transports,
                                         std::uint16_t ike_port, std::uint16_t nat_t_port,
                                         const std::vector<std::uint16_t>& ctcp_ports, std::uint16_t tcp_port,
                                         std::uint16_t tls_port) {
  const auto on = [&](std::string_view name) {
    return std::find(transports.begin(), transports.end(), name) != transports.end();
  };
  // ESP's own IKE messages go over UDP, too.
  if (on("udp") || on("esp")) flows.udp = {ike_port, nat_t_port};
  flows.esp = on("esp");
  if (on("ctcp")) flows.ctcp = ctcp_ports;
  if (on("tcp")) flows.tcp.push_back(tcp_port);
  if (on("tls")) flows.tcp.push_back(tls_port);
  for (auto* ports : {&flows.udp, &flows.ctcp, &flows.tcp}) {
    std::sort(ports->begin(), ports->end());
    ports->erase(std::unique(ports->begin(), ports->end()), ports->end());
    if (ports->size() > kMaxPorts || contains<std::uint16_t>(*ports, 0)) {
      return fail_user("ports are 1 to 65535, and at most " + std::to_string(kMaxPorts) + " of them");
    }
  }
  return flows;
}

}  // namespace

std::vector<Pair> pairs(const Flows& flows, IpFamily family) {
  std::vector<Pair> out;
  for (const auto& address : flows.addresses) {
    if (address.family() != family) continue;
    if (flows.clients.empty()) out.push_back({std::nullopt, address});
    for (const auto& client : flows.clients) {
      if (client.address.family() == family) out.push_back({client, address});
    }
  }
  return out;
}

std::vector<Pair> pairs(const Flows& flows) {
  auto out = pairs(flows, IpFamily::v4);
  const auto v6 = pairs(flows, IpFamily::v6);
  out.insert(out.end(), v6.begin(), v6.end());
  return out;
}

std::vector<std::uint16_t> all_tcp(const Flows& flows) {
  auto out = flows.tcp;
  out.insert(out.end(), flows.ctcp.begin(), flows.ctcp.end());
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<std::vector<IpAddress>, std::string> look_up(const std::string& name) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* answer = nullptr;
  if (const int error = ::getaddrinfo(name.c_str(), nullptr, &hints, &answer); error != 0) {
    return fail(std::string{error == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(error)});
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{answer, &::freeaddrinfo};
  std::vector<IpAddress> found;
  for (const auto* entry = answer; entry != nullptr; entry = entry->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, entry->ai_addr, std::min<std::size_t>(entry->ai_addrlen, sizeof(storage)));
    const auto address = Endpoint::from_sockaddr(storage).address;
    if (!address.empty()) found.push_back(address);
  }
  return found;
}

Result<void, UserError> set_addresses(Flows& flows, const std::vector<std::string>& texts, const Lookup& lookup) {
  flows.addresses.clear();
  flows.names.clear();
  for (const auto& text : texts) {
    if (const auto address = IpAddress::parse(text)) {
      SB_CHECK(add_address(flows, *address, shown(text)));
      continue;
    }
    if (!headend::valid_host_name(text)) {
      return fail_user(shown(text) + " is neither an IP address nor a host name; give the headend's with --address");
    }
    const auto found = lookup(text);
    if (!found || found->empty()) {
      return fail_user(
          "the headend's name " + text +
          " has no address here: " + (found ? std::string{"the answer was empty"} : found.error()) +
          "; firewall rules need addresses: give them with --address, or run this where the name is known");
    }
    for (const auto& address : *found) SB_CHECK(add_address(flows, address, text));
    if (!contains(flows.names, text)) flows.names.push_back(text);
  }
  if (flows.addresses.empty()) return fail_user("the headend has no address; give one with --address");
  return {};
}

Result<void, UserError> set_clients(Flows& flows, const std::vector<std::string>& texts) {
  flows.clients.clear();
  for (const auto& text : texts) {
    const auto prefix = IpPrefix::parse(text);
    if (!prefix) return fail_user("--clients: " + shown(text) + " is not a prefix such as 10.1.0.0/16");
    if (flows.clients.size() == kMaxClients) {
      return fail_user("--clients: at most " + std::to_string(kMaxClients) + " prefixes");
    }
    const IpPrefix network{prefix->first(), prefix->length};
    if (!contains(flows.clients, network)) flows.clients.push_back(network);
  }
  if (pairs(flows).empty()) {
    return fail_user("--clients: the headend has no address of the same family; add prefixes of the other one");
  }
  return {};
}

Result<Flows, UserError> from_profile(const profile::Profile& profile, const Lookup& lookup) {
  Flows flows;
  SB_CHECK(set_addresses(flows, profile.headend.addresses, lookup));
  const auto& transports = profile.transports;
  return with_transports(std::move(flows), transports.order, profile.headend.ike_port, profile.headend.nat_t_port,
                         transports.ctcp_ports, transports.tcp_port, transports.tls_port);
}

Result<Flows, UserError> from_headend(const headend::Config& config, const Lookup& lookup) {
  Flows flows;
  SB_CHECK(set_addresses(flows, config.addresses, lookup));
  const auto& transports = config.transports;
  return with_transports(std::move(flows), transports.enabled, config.ike_port, config.nat_t_port,
                         transports.ctcp_ports, transports.tcp_port, transports.tls_port);
}

Result<Flows, UserError> from_addresses(const std::vector<std::string>& addresses, const Lookup& lookup) {
  profile::Profile defaults;
  defaults.headend.addresses = addresses;
  return from_profile(defaults, lookup);
}

}  // namespace switchback::firewall
