// In-band control messages: bodies of ESP dummy packets (next header 59, RFC 4303 §2.6). They are encrypted,
// authenticated and replay-protected by the SA, and go exactly where the data goes. docs/protocol.md has every octet.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/strong.h"
#include "common/base/wire_reader.h"

namespace switchback::path {

inline constexpr std::array<std::uint8_t, 4> kControlMagic{'S', 'w', 'B', 'k'};
inline constexpr std::uint8_t kControlVersion = 1;
inline constexpr std::size_t kControlHeaderOctets = 8;  // magic, version, type, length
/// What a body may have at most: a PMTU probe of 9000 octets less the smallest overhead fits.
inline constexpr std::size_t kMaxControlOctets = 9216;
/// Holes that a report lists; older ones are left out, `holes_omitted` tells.
inline constexpr std::size_t kMaxHoles = 16;

enum class ControlType : std::uint8_t {
  probe = 1,
  probe_answer = 2,
  report = 3,
  pmtu_probe = 4,
  pmtu_answer = 5,
  observe = 6,
  observation = 7,
  trace_order = 8,
  trace_packet = 9,
  trace_report = 10
};

/// What the sender does with the path that a message travels on.
enum class Role : std::uint8_t {
  standby = 0,  // open, carries no data
  in_use = 1,   // data goes here; the receiver sends its data here too
  twin = 2,     // data goes here as well as on the path in use
};

/// The sender's present choice. `decision` counts its choices; of two claims, the one with the greater number holds, so
/// that a claim overtaken on another path does not undo a newer one.
struct Claim {
  std::uint32_t decision = 0;
  Role role = Role::standby;
  friend bool operator==(const Claim&, const Claim&) = default;
};

struct Probe {
  std::uint64_t id = 0;
  std::uint64_t sent_at_us = 0;  // the sender's clock; echoed, not interpreted
  std::uint64_t sent_count = 0;  // packets that the sender had sent on this path when it sent this one
  Claim claim;
  friend bool operator==(const Probe&, const Probe&) = default;
};

/// Goes back on the path that the probe came by, at once.
struct ProbeAnswer {
  std::uint64_t id = 0;                // the probe's
  std::uint64_t probe_sent_at_us = 0;  // the probe's
  std::uint64_t received_at_us = 0;    // the answerer's clock, when the probe came
  std::uint64_t answered_at_us = 0;    // the answerer's clock, when this left
  std::uint64_t received_count = 0;    // packets that the answerer has received on this path, the probe included
  std::uint32_t decision = 0;          // the greatest decision that the answerer has heard of
  friend bool operator==(const ProbeAnswer&, const ProbeAnswer&) = default;
};

/// A run of sequence numbers that has not arrived, `length` ≥ 1 numbers from `highest - below` upwards.
struct Hole {
  std::uint32_t below = 0;  // distance of the run's first number from the highest received
  std::uint32_t length = 0;
  friend bool operator==(const Hole&, const Hole&) = default;
};

/// How the TCP header of a TCP-like path looks to the sender of the report. Counts since the path was opened.
struct TcpView {
  std::uint64_t received_octets = 0;      // in order: how far its ACK number has come
  std::uint64_t highest_octet = 0;        // of all that came, in order or not
  std::uint64_t acknowledged_octets = 0;  // of its own, by the ACK numbers that came
  std::uint32_t window = 0;               // last one advertised to it, in octets
  std::uint32_t duplicate_acks = 0;
  std::uint32_t resets = 0;
  std::uint32_t fins = 0;
  std::uint32_t resegmented = 0;  // segments that did not begin at a frame boundary
  friend bool operator==(const TcpView&, const TcpView&) = default;
};

/// What an end has received. Sent every 250 ms while data comes in.
struct Report {
  std::uint32_t number = 0;           // counts the reports on this path, from 1
  Spi spi;                            // inbound SA of the reporter that `highest` and the holes are about
  std::uint64_t highest = 0;          // extended sequence number, over all paths of the SA; 0 if none
  std::uint64_t received_count = 0;   // authentic packets on this path since it was opened
  std::uint64_t received_octets = 0;  // their inner octets
  /// The newest sent_count that came on this path, and received_count at that moment: the pair that loss is figured
  /// from, as a sender report and a receiver report of RTCP are.
  std::uint64_t peer_sent_count = 0;
  std::uint64_t received_then = 0;
  std::uint64_t sent_count = 0;  // packets that the reporter had sent on this path before this one
  std::uint32_t quiet_us = 0;    // since the last authentic packet on this path
  Claim claim;
  bool holes_omitted = false;  // there were more than kMaxHoles
  std::vector<Hole> holes;     // from the newest to the oldest, neither overlapping nor touching
  std::optional<TcpView> tcp;
  friend bool operator==(const Report&, const Report&) = default;
};

/// Padded with zeros so that the outer IP packet has `packet_octets`.
struct PmtuProbe {
  std::uint64_t id = 0;
  std::uint16_t packet_octets = 0;
  std::uint16_t body_octets = 0;  // of this message, padding included; what is built has exactly so many
  friend bool operator==(const PmtuProbe&, const PmtuProbe&) = default;
};

struct PmtuAnswer {
  std::uint64_t id = 0;
  std::uint16_t packet_octets = 0;  // the probe's
  std::uint16_t body_octets = 0;    // as received
  friend bool operator==(const PmtuAnswer&, const PmtuAnswer&) = default;
};

/// Asks what arrived of this path and how it looks from there; for a doctor. Answered by an Observation.
struct Observe {
  std::uint64_t id = 0;
  std::uint16_t answer_octets = 0;  // of the answer's body, by padding; less than it needs: as it is
  friend bool operator==(const Observe&, const Observe&) = default;
};

/// How the TCP headers of a TCP-like path look at an end that builds and reads them itself, or as its kernel says.
struct TcpObservation {
  bool numbers_known = false;  // the two that follow
  std::uint32_t local_isn = 0, remote_isn = 0;
  std::uint16_t mss = 0;                     // as the other end's SYN said; 0: not known
  std::optional<std::uint8_t> window_scale;  // the same; none: not scaled
  bool sack = false, timestamps = false;     // agreed on
  bool engine = false;                       // the other end's SYN was one as engines of ours build it
  std::uint32_t resegmented = 0;             // segments that did not begin at a frame boundary
  std::uint32_t resets = 0;                  // RSTs that came
  std::uint32_t rtt_us = 0;                  // by TCP's own acknowledgements; 0: not known
  friend bool operator==(const TcpObservation&, const TcpObservation&) = default;
};

struct Observation {
  std::uint64_t id = 0;
  Endpoint remote, local;            // the asker and this end, as they stand in the packets that arrive
  std::uint64_t received_count = 0;  // authentic packets on this path, the question included
  std::uint64_t sent_count = 0;      // on this path before this one
  std::uint64_t clock_s = 0;         // this end's calendar: seconds since 1970, UTC
  std::optional<TcpObservation> tcp;
  std::uint16_t body_octets = 0;  // of this message with its padding; 0 when built: without any
  friend bool operator==(const Observation&, const Observation&) = default;
};

/// Largest hop limit of a trace, and so the number of routers that it finds at most.
inline constexpr std::uint8_t kMaxTraceHops = 32;
/// TraceOrder::hop_limit of those that want nothing sent but a report.
inline constexpr std::uint8_t kTraceReportOnly = 255;

/// Asks for one packet back on this path that expires after so many routers, whose ICMP errors go to who sent it: what
/// the asker cannot see of the way to itself. For a doctor.
struct TraceOrder {
  std::uint64_t id = 0;           // of the trace: another one begins anew
  std::uint8_t hop_limit = 0;     // 1 to kMaxTraceHops; 0: a packet that goes all the way; kTraceReportOnly
  std::uint16_t body_octets = 0;  // of this message, by padding; 0 when built: without any
  friend bool operator==(const TraceOrder&, const TraceOrder&) = default;
};

/// The packet that was ordered. Where it arrives, its hop limit was enough.
struct TracePacket {
  std::uint64_t id = 0;
  std::uint8_t hop_limit = 0;  // as ordered
  friend bool operator==(const TracePacket&, const TracePacket&) = default;
};

/// What became of the ordered packets with one hop limit since the trace began.
struct TraceHop {
  std::uint8_t hop_limit = 0;
  std::uint32_t sent = 0, answered = 0;
  std::uint32_t least_rtt_us = 0;  // 0: never answered
  IpAddress from;                  // who answered last; empty: nobody
  friend bool operator==(const TraceHop&, const TraceHop&) = default;
};

/// Comes while orders come, and is never longer than those since the last one were together.
struct TraceReport {
  std::uint64_t id = 0;
  std::uint64_t sent_count = 0;  // ESP packets on this path before this one, without those that expire on the way
  /// Where a TCP of our own repairs losses before they can be counted otherwise: segments with payload, those sent
  /// again and those that came twice included; 0 on other paths.
  std::uint64_t data_segments_sent = 0, data_segments_received = 0;
  bool hops_available = true;  // false: this end cannot send such packets on this path, or cannot hear of them
  std::vector<TraceHop> hops;  // by hop limit; at most kMaxTraceHops
  friend bool operator==(const TraceReport&, const TraceReport&) = default;
};

using ControlMessage = std::variant<Probe, ProbeAnswer, Report, PmtuProbe, PmtuAnswer, Observe, Observation, TraceOrder,
                                    TracePacket, TraceReport>;

inline constexpr std::size_t kProbeOctets = kControlHeaderOctets + 32;
inline constexpr std::size_t kProbeAnswerOctets = kControlHeaderOctets + 48;
inline constexpr std::size_t kReportOctets = kControlHeaderOctets + 68;  // without holes and TCP view
inline constexpr std::size_t kHoleOctets = 8;
inline constexpr std::size_t kTcpViewOctets = 44;
inline constexpr std::size_t kPmtuOctets = kControlHeaderOctets + 12;  // an answer, and a probe without padding
inline constexpr std::size_t kObserveOctets = kControlHeaderOctets + 12;
inline constexpr std::size_t kObservationOctets = kControlHeaderOctets + 96;  // without padding
inline constexpr std::size_t kTraceOctets = kControlHeaderOctets + 12;        // order without padding, and packet
inline constexpr std::size_t kTraceReportOctets = kControlHeaderOctets + 36;  // without hops
inline constexpr std::size_t kTraceHopOctets = 32;
inline constexpr std::size_t kMaxReportOctets = kReportOctets + kMaxHoles * kHoleOctets + kTcpViewOctets;

/// Whether a dummy packet's body is meant for here at all; others (traffic flow confidentiality) are no error.
[[nodiscard]] bool is_control(ByteView body) noexcept;

/// @param body  the whole body of a dummy packet. Errors: truncated, bad_length (not the body's own, or too long),
/// bad_value (magic, reserved or padding octets, roles, holes out of order), too_many (holes), unsupported (version or
/// type: a newer peer's, to be ignored).
[[nodiscard]] Result<ControlMessage, ParseError> parse_control(ByteView body);

/// Appends the message. Pre: at most kMaxHoles holes in order; a PMTU probe's body_octets in [kPmtuOctets,
/// kMaxControlOctets]; an observation's endpoints are of one family, its body_octets 0 or in [kObservationOctets,
/// kMaxControlOctets]; a trace order's body_octets 0 or in [kTraceOctets, kMaxControlOctets], its hop limits as they
/// are defined; a trace report's hops in order, and their addresses of one family.
void build_control(const ControlMessage& message, Bytes& out);

}  // namespace switchback::path
