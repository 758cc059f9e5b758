#include "client/transport_setup.h"

#include <netinet/in.h>

#include <algorithm>

#include "common/packet/pool.h"

namespace switchback::client {
namespace {

using path::TransportKind;

bool wants(const Config& config, TransportKind transport) {
  return std::find(config.order.begin(), config.order.end(), transport) != config.order.end();
}

std::string server_name_of(const Config& config) {
  const auto& profile = config.profile;
  if (profile.transports.tls_server_name) return *profile.transports.tls_server_name;
  for (const auto& name : profile.headend.addresses) {
    if (!IpAddress::parse(name)) return name;
  }
  return {};
}

}  // namespace

TransportSetup make_transports(const Config& config, std::span<const IpFamily> families, std::uint32_t mark) {
  TransportSetup setup;
  std::vector<TransportKind> kinds = config.order;
  if (wants(config, TransportKind::esp) && !wants(config, TransportKind::udp)) kinds.push_back(TransportKind::udp);
  for (const auto kind : kinds) {
    transports::TransportConfig transport;
    transport.name = path::to_string(kind);
    transport.ike_port = config.profile.headend.ike_port;
    transport.mark = mark;
    if (config.local) {
      transport.local.push_back({*config.local, 0});
    } else {
      for (const auto family : families) transport.local.push_back({IpAddress::any(family), 0});
    }
    if (kind == TransportKind::tls) {
      auto tls = std::make_shared<transports::TlsConfig>();
      tls->server_name = server_name_of(config);
      transport.tls = std::move(tls);
    }
    setup.wanted.push_back(std::move(transport));
  }
  return setup;
}

Result<TransportSetup, UserError> keep_openable(TransportSetup setup, const Config& config,
                                                const transports::TransportRegistry& registry) {
  packet::PacketPool pool{4};
  std::vector<transports::TransportConfig> openable;
  for (auto& transport : setup.wanted) {
    const auto kind = path::transport_from(transport.name);
    if (!kind) continue;
    const auto opened = registry.open(transport, pool);
    if (opened) {
      openable.push_back(std::move(transport));
      continue;
    }
    if (config.forced == kind) return tl::unexpected(opened.error());
    setup.left_out.push_back({*kind, opened.error().message});
  }
  // IKE of `esp` goes by `udp`.
  const bool has_udp = std::any_of(openable.begin(), openable.end(), [](const auto& one) { return one.name == "udp"; });
  const auto esp = std::find_if(openable.begin(), openable.end(), [](const auto& one) { return one.name == "esp"; });
  if (!has_udp && esp != openable.end()) {
    openable.erase(esp);
    setup.left_out.push_back({TransportKind::esp, "there is no UDP for its IKE"});
  }
  if (openable.empty()) {
    std::string text = "no transport can be opened on this host:";
    for (const auto& one : setup.left_out)
      text += " " + std::string{path::to_string(one.transport)} + ": " + one.why + ";";
    text.pop_back();
    return fail_user(text);
  }
  setup.wanted = std::move(openable);
  return setup;
}

std::vector<OuterFlow> outer_flows(const Config& config, const TransportPorts& ports,
                                   std::span<const IpAddress> headends) {
  std::vector<OuterFlow> flows;
  for (const auto& headend : headends) {
    if (headend.empty()) continue;
    if (wants(config, TransportKind::udp)) flows.push_back({headend, IPPROTO_UDP, ports.nat_t});
    if (wants(config, TransportKind::udp) || wants(config, TransportKind::esp)) {
      flows.push_back({headend, IPPROTO_UDP, ports.ike});
    }
    if (wants(config, TransportKind::esp)) flows.push_back({headend, IPPROTO_ESP, 0});
    std::vector<std::uint16_t> tcp;
    if (wants(config, TransportKind::ctcp)) tcp.insert(tcp.end(), ports.ctcp.begin(), ports.ctcp.end());
    if (wants(config, TransportKind::tls)) tcp.push_back(ports.tls);
    if (wants(config, TransportKind::tcp)) tcp.push_back(ports.tcp);
    std::sort(tcp.begin(), tcp.end());
    tcp.erase(std::unique(tcp.begin(), tcp.end()), tcp.end());
    for (const auto port : tcp) flows.push_back({headend, IPPROTO_TCP, port});
  }
  return flows;
}

}  // namespace switchback::client
