// Firewalls and intrusion prevention that want a TCP stream without holes: holding, discarding, or watching.
#pragma once

#include <array>
#include <limits>
#include <map>
#include <optional>

#include "tools/middlebox/keeper.h"
#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

/// How an inspector treats what is past a hole, and what it does about a hole that stays.
struct InspectorRules {
  enum class PastGap : std::uint8_t {
    pass,     // forwards it at once and remembers the hole
    hold,     // keeps it until the hole is filled
    discard,  // drops it
  };
  enum class Expiry : std::uint8_t {
    drop_queue,  // forgets what it held; the hole stays (ASA)
    reset,       // RST to both ends, nothing more of the flow (IOS, IPS)
    silence,     // nothing more of the flow
    skip,        // believes that the hole is empty and goes on behind it
  };
  enum class Unseen : std::uint8_t {
    pass,
    discard,  // ASA's invalid-ack, connection tracking
    skip,     // takes an ACK past the hole for the proof that the hole is empty (Suricata)
  };
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

  PastGap past_gap = PastGap::pass;
  std::size_t queue_segments = kUnlimited;           // held past a hole; more are dropped
  std::size_t queue_octets = std::size_t{1} << 20U;  // past a hole, held or passed; reached: expiry
  Duration gap_timeout = std::chrono::seconds{4};
  Expiry expiry = Expiry::drop_queue;
  bool duplicate_acks = false;  // answers each segment past a hole on behalf of the receiver
  Unseen ack_of_unseen = Unseen::discard;
  bool discard_old = false;  // drops what it has forwarded before
  enum class Inconsistent : std::uint8_t {
    ignore,
    discard,     // drops a retransmission whose octets differ from the first copy (ASA's check-retransmission)
    first_copy,  // writes the first copy over them (Snort in-line)
  };
  Inconsistent inconsistent = Inconsistent::ignore;
  bool discard_past_window = false;      // data that begins past the receiver's window (ASA's seq-past-window)
  std::size_t window_most = kUnlimited;  // believes in no window larger than this, from where the stream is whole
  /// Acknowledges to the sender what has come without a hole, as if it were the receiver, and sees it through to it.
  bool ack_on_behalf = false;
};

class Inspector final : public Device {
 public:
  explicit Inspector(const InspectorRules& rules) noexcept : rules_{rules} {}
  void handle(Segment segment, Instant now, Output& out) override;
  [[nodiscard]] std::optional<Instant> next_deadline() const override;
  void handle_deadline(Instant now, Output& out) override;
  [[nodiscard]] bool dead() const noexcept override { return dead_; }
  [[nodiscard]] std::size_t kept_octets() const noexcept override;

 private:
  struct Half {
    SequenceSpace space;
    std::uint64_t expected = 0;                     // end of what came without a hole
    std::map<std::uint64_t, std::uint64_t> passed;  // ranges past a hole that were forwarded: begin → end
    std::multimap<std::uint64_t, Segment> held;     // by position
    std::size_t past_octets = 0;
    std::optional<Instant> gap_since;
    std::map<std::uint64_t, Bytes> copies;  // of what was forwarded, for comparing; by position, bounded
    std::size_t copied = 0;
    Segment latest;                     // for what is sent on behalf of this sender
    std::optional<std::uint8_t> scale;  // of the windows that this sender announces, from its SYN
    std::optional<std::uint64_t> edge;  // how far the receiver lets this sender go
    Keeper keeper;
    std::uint64_t told = 0;  // how far this sender was acknowledged on behalf of the receiver
    std::uint16_t told_window = 0;
  };
  static constexpr std::size_t kCopiedOctets = std::size_t{64} << 10U;
  static constexpr std::size_t kPlacesMost = 4096;  // held segments, and ranges past a hole

  void handshake(Half& half, Segment segment, Output& out);
  [[nodiscard]] bool acknowledges_unseen(const Segment& segment, Output& out);
  void learn_window(const Segment& segment);
  [[nodiscard]] bool past_window(const Half& half, std::uint64_t begin) const noexcept;
  /// What the receiver's own ACK means beside those on its behalf. Whether the segment goes no further.
  [[nodiscard]] bool behind_what_was_told(Segment& segment, Instant now, Output& out);
  void acknowledge(Half& half, const Segment& segment, Output& out);
  void send_again(const Half& half, Direction direction, Output& out);
  [[nodiscard]] Segment answer(const Half& half, const Segment& to, std::uint32_t echo) const;
  [[nodiscard]] bool consistent(Half& half, std::uint64_t begin, Segment& segment, Output& out);
  void forward(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out);
  void in_order(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out);
  void past_gap(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out);
  void advance(Half& half, Direction direction, Instant now, Output& out);
  void duplicate_ack(const Half& half, const Segment& segment, Output& out);
  /// Whether the payload differs from what was forwarded before; `corrected` is made to agree with that.
  [[nodiscard]] bool differs(const Half& half, std::uint64_t begin, ByteView payload, ByteSpan corrected) const;
  void remember(Half& half, std::uint64_t begin, ByteView payload);
  void expire(Half& half, Direction direction, std::string_view why, Instant now, Output& out);

  InspectorRules rules_;
  std::array<Half, 2> halves_;
  bool dead_ = false;
};

}  // namespace switchback::middlebox
