#include "headend/transport_setup.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "common/base/unique_fd.h"
#include "headend/files.h"

namespace switchback::headend {
namespace {

using transports::TransportConfig;

std::string reason(int error) { return std::generic_category().message(error); }

std::vector<std::uint16_t> ports_of(const Config& config, std::string_view name) {
  if (name == "udp") return {config.ike_port, config.nat_t_port};
  if (name == "ctcp") return config.transports.ctcp_ports;
  if (name == "tls") return {config.transports.tls_port};
  if (name == "tcp") return {config.transports.tcp_port};
  return {0};  // esp has none
}

std::string_view port_key(std::string_view name) {
  if (name == "ctcp") return "transports.ctcp_ports";
  return name == "tls" ? "transports.tls_port" : "transports.tcp_port";
}

Result<std::shared_ptr<const transports::TlsConfig>, UserError> tls_config(const Config& config) {
  const auto& from = config.transports;
  auto made = std::make_shared<transports::TlsConfig>();
  SB_TRY(made->certificate_chain, read_file(from.tls_certificate_file, "the certificate of tls"));
  SB_TRY(auto key, read_file(from.tls_private_key_file, "the key of tls"));
  made->private_key = Secret{as_bytes(key)};
  wipe({reinterpret_cast<std::uint8_t*>(key.data()), key.size()});
  made->server_name = config.identity;
  if (!from.tls_page_file.empty()) {
    SB_CHECK(read_file(from.tls_page_file, "the page of tls"));  // told here rather than to a browser
    made->decoy.page_file = from.tls_page_file;
  }
  made->decoy.upstream = from.tls_upstream;
  return std::shared_ptr<const transports::TlsConfig>{std::move(made)};
}

/// 0, or why nobody may listen there. Connections that an earlier run has left behind do not count.
int listen_error(const Endpoint& local) {
  const bool v6 = local.address.is_v6();
  const UniqueFd fd{::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return errno;
  const int on = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (v6) (void)::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  sockaddr_storage name{};
  const auto length = local.to_sockaddr(name);
  return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), length) == 0 ? 0 : errno;
}

Result<void, UserError> check_ports(const Config& config, const TransportConfig& transport) {
  for (const auto& local : transport.local) {
    const int error = listen_error(local);
    if (error == 0) continue;
    const auto where = config.layout.config() + ": " + std::string{port_key(transport.name)} +
                       ": cannot listen on TCP " + local.to_string() + " for " + transport.name + ": ";
    const auto or_off = "remove \"" + transport.name + "\" from transports.enabled";
    switch (error) {
      case EADDRINUSE:
        return fail_user(where +
                         "another program has the port (\"ss -ltnp\" shows it); stop it, give another port here, or " +
                         or_off);
      case EACCES:
      case EPERM: return fail_user(where + reason(error) + "; run as root (CAP_NET_BIND_SERVICE), or " + or_off);
      case EADDRNOTAVAIL:
        return fail_user(
            where + "this host does not have the address; correct headend.listen (\"ip address\" shows what there is)");
      default: return fail_user(where + reason(error) + "; " + or_off);
    }
  }
  return {};
}

/// @param what  "raw" or "packet"
Result<void, UserError> check_permitted(const Config& config, std::string_view transport, std::string_view what,
                                        int family, int type, int protocol) {
  const UniqueFd fd{::socket(family, type | SOCK_CLOEXEC, protocol)};
  if (fd) return {};
  return fail_user(config.layout.config() + ": transports.enabled: " + std::string{transport} + " needs " +
                   std::string{what} + " sockets, which are not permitted here (" + reason(errno) +
                   "): run as root with CAP_NET_RAW, or remove \"" + std::string{transport} + "\" from the list");
}

}  // namespace

Result<std::vector<TransportConfig>, UserError> make_transports(const Config& config,
                                                                std::span<const IpAddress> listen) {
  std::vector<TransportConfig> made;
  for (const auto& name : config.transports.enabled) {
    TransportConfig transport;
    transport.name = name;
    transport.headend = true;
    transport.ike_port = config.ike_port;
    for (const auto& address : listen) {
      for (const auto port : ports_of(config, name)) transport.local.push_back({address, port});
    }
    // Each session may have a connection in use and some that stand by.
    transport.max_connections = std::max(transport.max_connections, 2 * config.max_sessions);
    transport.max_connections_per_address = config.max_connections_per_address;
    transport.ctcp_resilient = config.transports.has_ctcp_mode("resilient");
    transport.ctcp_classic = config.transports.has_ctcp_mode("classic");
    if (name == "tls") {
      SB_TRY(transport.tls, tls_config(config));
    }
    made.push_back(std::move(transport));
  }
  return made;
}

Result<void, UserError> check_transports(const Config& config, std::span<const TransportConfig> wanted) {
  for (const auto& transport : wanted) {
    if (transport.name == "udp") continue;  // its own errors are clear
    const bool v4 = std::any_of(transport.local.begin(), transport.local.end(),
                                [](const Endpoint& local) { return local.address.is_v4(); });
    if (transport.name == "esp") {
      SB_CHECK(check_permitted(config, "esp", "raw", v4 ? AF_INET : AF_INET6, SOCK_RAW, IPPROTO_ESP));
      continue;
    }
    SB_CHECK(check_ports(config, transport));
    // Protocol 0: nothing is received by it, whatever is on the wire.
    if (transport.name == "ctcp") SB_CHECK(check_permitted(config, "ctcp", "packet", AF_PACKET, SOCK_RAW, 0));
  }
  return {};
}

path::Offer make_offer(const Config& config) {
  path::Offer offer;
  std::uint8_t preference = 0;
  for (const auto& name : config.transports.enabled) {
    const auto kind = path::transport_from(name);
    if (!kind) continue;
    path::OfferedTransport entry;
    entry.transport = *kind;
    entry.preference = preference++;
    auto ports = ports_of(config, name);
    if (*kind == path::TransportKind::udp) ports = {config.nat_t_port};  // where it stays after IKE_SA_INIT
    if (*kind == path::TransportKind::ctcp) {
      entry.resilient = config.transports.has_ctcp_mode("resilient");
      entry.classic = config.transports.has_ctcp_mode("classic");
    }
    for (const auto port : ports) {
      entry.port = port;
      offer.transports.push_back(entry);
    }
  }
  return offer;
}

}  // namespace switchback::headend
