// cTCP resilient: one TCP connection with datagram semantics at both ends, sans-IO. DESIGN.md §3.2 is its contract.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "common/base/random.h"
#include "common/base/rate_limit.h"
#include "common/base/time.h"
#include "transports/ctcp/receiver.h"
#include "transports/ctcp/segment.h"
#include "transports/ctcp/sender_ring.h"
#include "transports/ctcp/syn_cookie.h"
#include "transports/stream/frame_scanner.h"

namespace switchback::transports::ctcp {

struct EngineConfig {
  std::uint16_t local_port = 0, remote_port = 0;
  /// TCP payload of the largest packet that our path takes: its MTU less IP and TCP headers (RFC 9293 §3.7.1).
  std::uint16_t mss = 1460;
  std::uint32_t window = 4U << 20U;    // octets that we advertise
  std::size_t ring_bytes = 4U << 20U;  // originals kept to be sent again
  Duration keepalive = std::chrono::seconds{20};
  /// A complete stream, as a kernel's TCP would carry it: holes are never given up, re-sends not bounded.
  bool reliable = false;
  /// Frames of a reliable stream in their order; false: each as soon as it is complete, as always without `reliable`.
  bool in_order = true;
};

/// Counts and findings for the path selector; the rest is in sender() and receiver().
struct EngineSignals {
  std::uint64_t frames_sent = 0, frames_received = 0;
  std::uint64_t segments = 0;      // that came and were acceptable
  std::uint64_t window_drops = 0;  // frames refused: beyond the peer's window
  std::uint64_t ring_drops = 0;    // frames refused: too many octets unacknowledged
  std::uint64_t zero_windows = 0;  // times the peer closed its window
  std::uint64_t resets = 0;        // RST at the expected sequence number: a suspicion, never an end
  std::uint64_t remote_fins = 0;
  std::uint64_t forged = 0;         // timestamps that we never sent, acknowledgements of what was never sent
  std::uint64_t out_of_window = 0;  // sequence numbers far off, RST and SYN included
  std::uint64_t challenge_acks = 0;
  std::uint64_t keepalives_sent = 0, keepalives_unanswered = 0;  // the second in a row
  bool proxy_proven = false;
};

enum class EngineState : std::uint8_t { syn_sent, established, closing, closed };
[[nodiscard]] std::string_view to_string(EngineState state) noexcept;

enum class CloseReason : std::uint8_t { none, local, refused, timed_out, not_our_stream };

enum class SendVerdict : std::uint8_t { taken, no_window, no_room, too_big, not_connected };

/// Inputs handle_*, send_frame(), close(); then outputs: poll_frame() until empty, poll_segment() until empty. Views in
/// outputs are borrowed until the next input. An RST or FIN of anyone is a signal; what ends the connection is close(),
/// abort(), or a handshake that fails. One thread.
class TcpEngine {
 public:
  /// The connecting end: the SYN is ready to be polled.
  [[nodiscard]] static TcpEngine connect(const EngineConfig& config, RandomSource& random, Instant now);
  /// The listening end: `agreed` comes from SynCookies::accept(), whose segment is to be handled next.
  [[nodiscard]] static TcpEngine accept(const EngineConfig& config, const Handshake& agreed, Instant now);

  /// @param segment  of this connection's address pair, checksum checked. Borrowed until the next input.
  void handle_segment(const TcpSegmentView& segment, Instant now);
  void handle_deadline(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;

  /// Takes a copy of an IKE message (without marker) or ESP packet, or refuses it: nothing is ever queued. An IKE
  /// message longer than one segment goes in several.
  [[nodiscard]] SendVerdict send_frame(stream::Content content, ByteView payload);
  /// Largest ESP packet for send_frame().
  [[nodiscard]] std::size_t maximum_esp_bytes() const noexcept;
  /// Ends the connection: FIN, sent again a few times.
  void close(Instant now);
  /// Ends it at once, with an RST.
  void abort() noexcept;

  [[nodiscard]] std::optional<OutSegment> poll_segment(Instant now);
  [[nodiscard]] std::optional<stream::Frame> poll_frame() noexcept;

  /// Of a keepalive beyond those that poll_segment() gives, which may be lost: nothing is changed by it. None unless
  /// established.
  [[nodiscard]] std::optional<TcpHeader> bare_header(Instant now);

  /// The SPIs that the framing is found again by; the shell keeps them current.
  [[nodiscard]] stream::SessionMarks& marks() noexcept { return marks_; }

  [[nodiscard]] EngineState state() const noexcept { return state_; }
  [[nodiscard]] CloseReason close_reason() const noexcept { return reason_; }
  [[nodiscard]] const EngineSignals& signals() const noexcept { return signals_; }
  /// What the ends agreed on; complete once established.
  [[nodiscard]] const Handshake& handshake() const noexcept { return agreed_; }
  /// Null before the handshake is done.
  [[nodiscard]] const SenderRing* sender() const noexcept { return sender_.get(); }
  [[nodiscard]] const StreamReceiver* receiver() const noexcept { return receiver_.get(); }
  /// How long octets have been waiting for an acknowledgement that does not move; zero if none do.
  [[nodiscard]] Duration stuck_for(Instant now) const noexcept;

 private:
  TcpEngine(const EngineConfig& config, Instant now);
  void establish(const Handshake& agreed, bool initiator);
  void handle_syn_sent(const TcpSegmentView& segment, Instant now);
  [[nodiscard]] bool acceptable(const TcpSegmentView& segment, std::uint64_t position, Instant now);
  [[nodiscard]] bool timestamps_plausible(const TcpHeader& header) const noexcept;
  void handle_reset(const TcpHeader& header, Instant now);
  void handle_acknowledgement(const TcpSegmentView& segment, std::uint64_t position, Instant now);
  void challenge(Instant now);
  void finish(CloseReason reason) noexcept;
  [[nodiscard]] std::uint32_t next_timestamp(Instant now) noexcept;
  [[nodiscard]] std::uint16_t window_field() const noexcept;
  [[nodiscard]] TcpHeader make_header(std::uint8_t flags, std::uint64_t position, Instant now);
  [[nodiscard]] OutSegment make_syn(Instant now);
  [[nodiscard]] OutSegment make_ack(bool duplicate, Instant now);
  [[nodiscard]] std::optional<OutSegment> poll_established(Instant now);
  [[nodiscard]] Duration probe_interval() const noexcept;
  [[nodiscard]] std::uint64_t end_of_sent() const noexcept;

  EngineConfig config_;
  Handshake agreed_;
  EngineState state_ = EngineState::syn_sent;
  CloseReason reason_ = CloseReason::none;
  std::unique_ptr<SenderRing> sender_;
  std::unique_ptr<StreamReceiver> receiver_;
  stream::SessionMarks marks_;
  bool prefix_due_ = false;
  std::uint16_t segment_bytes_ = 0;  // payload of our largest segment

  std::uint64_t peer_window_ = 0;
  std::uint64_t largest_peer_window_ = 0;
  std::uint32_t first_timestamp_ = 0, last_timestamp_ = 0;  // ours that the peer may echo

  // Handshake and end.
  std::optional<Instant> syn_at_;  // when the next SYN is due
  unsigned syns_sent_ = 0;
  Instant syn_sent_at_{};
  bool reset_due_ = false;
  std::optional<std::uint64_t> fin_;  // position of our FIN
  bool fin_acked_ = false, remote_fin_ = false;
  std::optional<Instant> fin_at_, give_up_at_;

  TokenBucket challenges_{5, 5};  // RFC 5961 §7
  unsigned challenges_due_ = 0;
  bool keepalive_due_ = false;
  Instant last_sent_{};
  unsigned probes_ = 0;  // in a row without an answer
  EngineSignals signals_;
};

}  // namespace switchback::transports::ctcp
