// cTCP classic: IPsec packets in TCP-looking segments with a 16-octet trailer, never sent again. Pure.
// Sources: Wireshark's tcpencap dissector, and what is publicly documented of an independent implementation's
// behaviour.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/random.h"
#include "common/base/result.h"
#include "common/base/time.h"
#include "common/base/wire_reader.h"
#include "transports/ctcp/segment.h"
#include "transports/ctcp/syn_cookie.h"
#include "transports/stream/framing.h"

namespace switchback::transports::ctcp {

inline constexpr std::size_t kTrailerBytes = 16;
inline constexpr std::size_t kUdpHeaderBytes = 8;
inline constexpr std::uint16_t kIkePort = 500;
/// Offset 8: "!Eli".
inline constexpr std::array<std::uint8_t, 4> kTrailerCookie{0x21, 0x45, 0x6C, 0x69};

enum class ClassicRole : std::uint8_t { client, headend };

/// Octets in front of the payload: a UDP header for IKE, nothing for ESP.
[[nodiscard]] constexpr std::size_t classic_header_bytes(stream::Content content) noexcept {
  return content == stream::Content::ike ? kUdpHeaderBytes : 0;
}
/// The inner UDP header of IKE, ports 500/500, checksum 0. Pre: ike_bytes + 8 fits 16 bits, out.size() >= 8.
void write_classic_header(std::size_t ike_bytes, ByteSpan out) noexcept;
/// @param sequence  for IKE only, the place of the IPv4 identification: any value, counted up
/// @param out  16 octets
void write_trailer(stream::Content content, ClassicRole from, std::uint16_t sequence, ByteSpan out) noexcept;

/// One segment's payload taken apart; the result is borrowed from it. Requires cookie, length octet and protocol, and
/// ignores octets 0 to 7, as saved parts of an IPv4 header. Errors: truncated; bad_value (trailer); bad_length (UDP).
[[nodiscard]] Result<stream::Frame, ParseError> parse_classic(ByteView payload) noexcept;

/// By which of its two modes a connection starts, seen in its first segment with payload. Nothing: neither.
enum class CtcpMode : std::uint8_t { classic, resilient };
[[nodiscard]] std::optional<CtcpMode> detect_mode(ByteView first_payload) noexcept;

enum class ClassicState : std::uint8_t { syn_sent, established, closed };
enum class ClassicClose : std::uint8_t { none, local, refused, reset, finished, timed_out };

struct ClassicCounters {
  std::uint64_t sent = 0, received = 0;
  std::uint64_t malformed = 0;       // payload without our trailer
  std::uint64_t ignored = 0;         // sequence or acknowledgement numbers that cannot be the peer's
  std::uint64_t duplicate_acks = 0;  // pure ACKs in a row for data that a device misses: it will not come again
  std::uint64_t stale_acks = 0;      // of those, in a row now; progress sets it to 0
};

/// Handshake, numbers, keepalives and teardown as the original has them. No octet is kept, none is sent twice.
class ClassicConnection {
 public:
  static constexpr std::chrono::seconds kKeepalive{5};
  static constexpr std::chrono::seconds kHandshakeTimeout{3};
  static constexpr std::uint16_t kWindow = 65535;

  [[nodiscard]] static ClassicConnection connect(std::uint16_t local_port, std::uint16_t remote_port,
                                                 RandomSource& random, Instant now);
  /// @param agreed  from SynCookies::accept(), whose segment is to be handled next
  [[nodiscard]] static ClassicConnection accept(std::uint16_t local_port, std::uint16_t remote_port,
                                                const Handshake& agreed, Instant now);

  /// Returns the frame that the segment carries, borrowed from it; nothing for control segments and what is refused.
  [[nodiscard]] std::optional<stream::Frame> handle_segment(const TcpSegmentView& segment, Instant now);
  void handle_deadline(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;

  /// The TCP header for a packet, whose classic_header_bytes() and trailer the caller writes around it in place; it is
  /// sent at once and counts as sent. Nothing unless established. @param payload_bytes  all of it, trailer included
  [[nodiscard]] std::optional<TcpHeader> next_header(std::size_t payload_bytes, Instant now);
  /// For write_trailer().
  [[nodiscard]] std::uint16_t next_ike_sequence() noexcept { return ++ike_sequence_; }
  /// Control segments: handshake, keepalives, RST.
  [[nodiscard]] std::optional<OutSegment> poll_segment(Instant now);
  /// Of a keepalive beyond those, which may be lost. None unless established.
  [[nodiscard]] std::optional<TcpHeader> bare_header() const noexcept;
  void close() noexcept;

  [[nodiscard]] ClassicState state() const noexcept { return state_; }
  [[nodiscard]] ClassicClose close_reason() const noexcept { return reason_; }
  [[nodiscard]] const ClassicCounters& counters() const noexcept { return counters_; }
  /// Of both SYNs, once established.
  [[nodiscard]] std::uint32_t local_isn() const noexcept { return local_isn_; }
  [[nodiscard]] std::uint32_t remote_isn() const noexcept { return remote_isn_; }

 private:
  ClassicConnection() = default;
  void finish(ClassicClose reason, bool answer) noexcept;
  [[nodiscard]] TcpHeader header(std::uint8_t flags) const noexcept;

  std::uint16_t local_port_ = 0, remote_port_ = 0;
  ClassicState state_ = ClassicState::syn_sent;
  ClassicClose reason_ = ClassicClose::none;
  std::uint64_t next_ = 0;     // ours
  std::uint64_t highest_ = 0;  // end of the peer's data; back only where it cannot have been
  unsigned behind_ = 0;        // segments in a row that end far before it
  std::uint64_t last_ack_ = 0;
  std::uint32_t local_isn_ = 0, remote_isn_ = 0;
  bool ack_due_ = false, reset_due_ = false;
  std::optional<Instant> syn_at_;
  Instant started_{}, last_sent_{};
  unsigned syns_ = 0;
  std::uint16_t ike_sequence_ = 0;
  ClassicCounters counters_;
};

}  // namespace switchback::transports::ctcp
