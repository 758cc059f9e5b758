// What the doctor has found out about the ways to the headend: plain values, which the diagnosis is made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/time.h"
#include "common/path/control.h"

namespace switchback::client::doctor {

/// What is tested by itself. IKE begins on UDP 500, goes on at 4500, and ESP goes there or as protocol 50.
enum class WayKind : std::uint8_t { udp_500, udp_4500, esp, ctcp_resilient, ctcp_classic, tls, tcp };
inline constexpr std::size_t kWayKinds = 7;
[[nodiscard]] std::string_view to_string(WayKind kind) noexcept;
/// TCP as far as devices on the way can see.
[[nodiscard]] constexpr bool looks_like_tcp(WayKind kind) noexcept { return kind >= WayKind::ctcp_resilient; }
[[nodiscard]] constexpr bool is_kernel_tcp(WayKind kind) noexcept { return kind >= WayKind::tls; }

/// What a plain packet to the port met: a SYN, an empty datagram, an ESP header.
enum class Knock : std::uint8_t {
  untested,
  answered,  // TCP: SYN-ACK
  silent,
  refused,      // TCP: RST. UDP: ICMP port unreachable, from the headend's own address
  unreachable,  // ICMP
  no_route      // this host does not know where to send it
};

struct KnockFacts {
  Knock result = Knock::untested;
  std::optional<Duration> rtt;  // of the handshake
  std::string icmp;             // "administratively prohibited"
  IpAddress icmp_from;          // who sent it
};

/// Packets of which one knows how many there were.
struct Count {
  std::uint32_t sent = 0, arrived = 0;
  [[nodiscard]] std::uint32_t lost() const noexcept { return sent > arrived ? sent - arrived : 0; }
  [[nodiscard]] double loss() const noexcept { return sent == 0 ? 0 : static_cast<double>(lost()) / sent; }
};

/// How the SYN and the segments of a TCP-like path look at one end, as the other end's engine made them or not.
struct TcpEnd {
  bool numbers_known = false;
  std::uint32_t local_isn = 0, remote_isn = 0;
  std::uint16_t mss = 0;  // the other end's SYN said; 0: not known
  std::optional<std::uint8_t> window_scale;
  bool sack = false, timestamps = false;
  std::optional<std::uint8_t> own_window_scale;
  bool engine = false;  // the other end's SYN looks as our engines make it
  std::uint32_t resegmented = 0, resets = 0;
  std::optional<Duration> rtt;  // the kernel's own
  friend bool operator==(const TcpEnd&, const TcpEnd&) = default;
};

/// What the headend says has arrived.
struct Seen {
  Endpoint client, headend;
  std::optional<TcpEnd> tcp;
};

/// Packets of one size after another, with "don't fragment".
struct MtuFacts {
  std::uint16_t link = 0;   // this host's own
  std::uint16_t works = 0;  // largest outer packet that was answered; 0: not tested
  std::uint16_t icmp = 0;   // what a router said; 0: none did
  Count large_back;         // full-sized packets of the headend
  bool searched = false;    // to the end
};

struct BurstFacts {
  Count packets;
  std::uint32_t octets_each = 0;
  std::optional<double> octets_per_second;  // that arrived
};

enum class IkeAnswer : std::uint8_t { untested, answered, silent, refused };

struct WayFacts {
  WayKind kind = WayKind::udp_500;
  Endpoint local, remote;  // local: of its data, with the port
  std::string left_out;    // why it was not tested: not possible on this host
  bool offered = true;     // the headend says that it serves it, or has not said
  KnockFacts knock;
  bool opened = false;
  std::string open_failure;
  IkeAnswer ike = IkeAnswer::untested;
  bool probed = false;                  // in-band, after authentication
  std::uint32_t answered = 0;           // probes, in all
  Count there, back;                    // small probes up to the last that was answered; answers of those that arrived
  std::uint32_t unanswered_at_end = 0;  // probes in a row
  std::optional<Duration> rtt;
  std::optional<TcpEnd> here;
  std::optional<Seen> seen;
  std::uint32_t resets = 0;  // noticed here
  std::string closed;        // why the connection ended meanwhile
  MtuFacts mtu;
  BurstFacts burst;
  /// ctcp classic: probes sent some seconds after a segment had been left out, and after a jump beyond the window.
  Count after_hole, after_jump;
  std::optional<Duration> idle_survived, idle_died;  // --long: the longest pause that it survived, the first it did not
  bool rebound_after_idle = false;

  [[nodiscard]] bool works() const noexcept { return probed && answered > 0; }
  /// IKE came through, as far as that was tried, whatever was said.
  [[nodiscard]] bool reaches() const noexcept {
    return works() || ike == IkeAnswer::answered || ike == IkeAnswer::refused;
  }
};

/// How IKE_AUTH ended.
enum class AuthResult : std::uint8_t {
  not_reached,
  ok,
  refused_us,   // AUTHENTICATION_FAILED from the headend
  not_trusted,  // the headend's proof did not verify here
  no_proposal,
  no_address,
  other
};

/// What a visitor of the port of `tls`, or of port 80, is shown.
struct WebFacts {
  bool tried = false, tls = false;  // tls: the handshake was done
  std::string tls_error;
  int status = 0;  // HTTP; 0: no answer
  std::string location, server;
  std::optional<WallTime> date;
  std::string certificate_subject, certificate_issuer;
  bool ours = false;  // IKE was answered there
};

struct Facts {
  std::vector<std::string> names;  // headend.addresses
  std::string lookup_failure;
  std::vector<IpAddress> addresses;
  std::vector<std::string> no_route;  // "192.0.2.1 (Network is unreachable)"
  std::vector<WayFacts> ways;
  AuthResult auth = AuthResult::not_reached;
  std::string auth_detail;
  bool standard_peer = false;  // speaks no in-band control
  bool classic_configured = false;
  bool behind_nat = false;                // by IKE's own detection
  WallTime clock{};                       // ours
  std::optional<WallTime> headend_clock;  // as it says over the session
  std::optional<WallTime> own_not_before, own_not_after;
  WebFacts tls_web, plain_web;
  bool full = false;  // nothing was cut short by --timeout
};

}  // namespace switchback::client::doctor
