#include "headend/config.h"

namespace switchback::headend {
namespace {

/// A TOML basic string. Inputs are names and addresses that were validated; escaping is for what validation let pass.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

template <class List, class ToText>
std::string list_of(const List& list, ToText to_text) {
  std::string out = "[";
  for (const auto& element : list) {
    if (out.size() > 1) out += ", ";
    out += quoted(to_text(element));
  }
  return out + "]";
}

}  // namespace

std::string render_config(const ConfigChoices& choices) {
  const auto same = [](const std::string& text) { return text; };
  const auto text_of = [](const auto& value) { return value.to_string(); };
  const auto routes =
      choices.routes.empty() ? std::string{R"(["0.0.0.0/0", "::/0"])"} : list_of(choices.routes, text_of);
  const auto pool_line = [](std::string_view key, const std::optional<IpPrefix>& pool, std::string_view example) {
    return pool ? std::string{key} + " = " + quoted(pool->to_string()) + "\n"
                : "# " + std::string{key} + " = " + quoted(example) + "\n";
  };

  std::string out;
  out +=
      R"(# Configuration of the Switchback headend. `switchback-headend run --dir` reads it at the start and, as far as
# said below, again on SIGHUP. docs/headend.md explains every key. Values shown behind "#" are the defaults.
version = 1

[headend]
# Who this headend is: what its certificate names and clients check. Changing it takes a new certificate.
identity = )" +
      quoted(choices.identity) + R"(
# Where clients find it: addresses or host names, tried in this order. Goes into profiles made from now on.
addresses = )" +
      list_of(choices.addresses, same) + R"(
# Local addresses to listen on.
# listen = ["0.0.0.0", "::"]
# UDP ports. Clients need to know others than these; their profiles say so.
# ike_port = 500
# nat_t_port = 4500

[transports]
# What clients may come by, in the order that they are told to prefer; what is not named is off. udp: the ports above;
# esp: IP protocol 50, for clients without NAT, with IKE on udp; ctcp: TCP segments from userspace, for networks that
# let only TCP out; tls: TLS 1.3 over the kernel's TCP, looks like HTTPS; tcp: the kernel's TCP (RFC 9329).
# enabled = ["udp", "esp", "ctcp", "tls", "tcp"]
# TCP ports of ctcp, at most ten. Profiles made from now on have them; clients learn them again when they connect.
# ctcp_ports = [10000]
# Its modes, the preferred one first: resilient (survives devices that track TCP) and classic (the Cisco format).
# ctcp_modes = ["resilient", "classic"]
# TCP ports of the other two. If a web server has 443 already, move one of them, or let the web server pass TLS on.
# tcp_port = 4500
# tls_port = 443
# What tls shows: a certificate that browsers know makes it look ordinary. PEM files; without them those of [pki].
# tls_certificate = "pki/headend.crt"
# tls_private_key = "pki/headend.key"
# What a web browser gets to see there: a page, or what an HTTP server (not HTTPS) at that address answers.
#tls_page = "page.html"
#tls_upstream = "127.0.0.1:8080"

[network]
# The tunnel's interface here, and the largest inner packet; sessions whose path takes less get less by themselves.
# tun = "swb-head0"
# mtu = 1438
# Inner addresses. The first of each pool is the headend's own. Absent: clients get none of that family.
)";
  out += pool_line("pool", choices.pool, "10.99.0.0/16");
  out += pool_line("pool6", choices.pool6, "fd12:3456:789a::/64");
  out +=
      R"(# What clients reach through the tunnel. Everything, or only some networks ("split tunnel"). Read again on SIGHUP.
routes = )" +
      routes + R"(
# DNS servers and search domains that clients are given. Read again on SIGHUP.
dns = )" +
      list_of(choices.dns, text_of) + R"(
search_domains = []
# Let the kernel forward between the tunnel and other networks (sysctl net.ipv4.ip_forward and
# net.ipv6.conf.all.forwarding; put back at the end).
forwarding = true
# Hide clients behind this host's address when they go beyond it (nftables masquerade). With false, routers in your
# network need routes for the pools to this host.
nat = true
# Threads that carry packets, 1 to 16, each with a share of the sessions. Absent: 1 on a host with up to two processors,
# else one for each of the others, up to 4.
# workers = 1

[crypto]
# Proposals in strongSwan's syntax, in order of preference. Read again on SIGHUP.
# ike = ["aes128gcm16-aes256gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-modp2048"]
# esp = ["aes128gcm16-aes256gcm16-chacha20poly1305-esn-noesn"]

[pki]
# Files, relative to this one's directory. The private keys must be readable by root alone.
# ca = "pki/ca.crt"
# ca_key = "pki/ca.key"
# certificate = "pki/headend.crt"
# private_key = "pki/headend.key"

[limits]
# Sessions at once, in all and for one user.
# sessions = 10000
# sessions_per_user = 4
# Sessions that are not authenticated yet: in all, from one address, and from how many on every new peer must first
# prove its address with a cookie.
# half_open = 5000
# half_open_per_address = 32
# cookie_threshold = 100
# Connections of each of ctcp, tcp and tls from one address (IPv6: one /64). Where a proxy shares port 443, all of tls
# come from the proxy's address: raise it there.
# connections_per_address = 256
# New sessions that one network (IPv4 /24, IPv6 /48) may start: in the long run, and at once.
# new_sessions_per_second = 20
# new_sessions_burst = 100

[timers]
# Seconds without a packet from a client before it is asked whether it lives; 0: never. Read again on SIGHUP.
# liveness = 30
# Seconds until keys are replaced: of the IKE SA, of ESP. Read again on SIGHUP.
# ike_rekey = 14400
# child_rekey = 3600

[control]
# Where status, sessions, kick and user remove talk to the running headend; the default has the tun's name in it.
# socket = "/run/switchback/headend-swb-head0.sock"
)";
  return out;
}

}  // namespace switchback::headend
