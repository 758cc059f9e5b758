// Plain packets to the headend's ports, for what only sockets tell: RST, silence, or ICMP with its sender.
#pragma once

#include <span>
#include <vector>

#include "client/doctor_facts.h"

namespace switchback::client::doctor {

struct KnockTarget {
  WayKind kind = WayKind::udp_500;
  Endpoint remote;
};

struct KnockResult {
  KnockFacts facts;
  std::uint16_t icmp_mtu = 0;  // "fragmentation needed" came for a full-sized datagram
};

struct KnockOptions {
  std::uint32_t mark = 0;
  std::optional<IpAddress> local;
  Duration most = std::chrono::milliseconds{2500};
};

/// All at once: a connect() to each TCP port, a few one-octet datagrams (NAT keepalives, RFC 3948 §2.3) to UDP ports,
/// an ESP packet of an SPI that nobody has (1, RFC 4303 §2.1). Results are in the order of the targets. Blocks up to
/// options.most.
[[nodiscard]] std::vector<KnockResult> knock(std::span<const KnockTarget> targets, const KnockOptions& options);

/// Asks a plain web server: GET / of HTTP/1.1. For port 80, and for what answers on the port of `tls` without TLS.
[[nodiscard]] WebFacts ask_plainly(const Endpoint& remote, const KnockOptions& options);
/// Status, Location, Server and Date of an HTTP answer's head, into `facts`. What is not HTTP leaves status 0.
void read_http_head(std::string_view head, WebFacts& facts);

}  // namespace switchback::client::doctor
