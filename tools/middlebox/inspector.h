// Firewalls and intrusion prevention that want a TCP stream without holes: holding, discarding, or watching.
#pragma once

#include <array>
#include <limits>
#include <map>

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
  bool compare = false;      // drops a retransmission whose octets differ from the first copy
};

class Inspector final : public Device {
 public:
  explicit Inspector(const InspectorRules& rules) noexcept : rules_{rules} {}
  void handle(Segment segment, Instant now, Output& out) override;
  [[nodiscard]] std::optional<Instant> next_deadline() const override;
  void handle_deadline(Instant now, Output& out) override;
  [[nodiscard]] bool dead() const noexcept override { return dead_; }

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
    Segment latest;  // for what is sent on behalf of this sender
  };
  static constexpr std::size_t kCopiedOctets = std::size_t{64} << 10U;

  [[nodiscard]] bool acknowledges_unseen(const Segment& segment, Output& out);
  void in_order(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out);
  void past_gap(Half& half, std::uint64_t begin, Segment segment, Instant now, Output& out);
  void advance(Half& half, Direction direction, Instant now, Output& out);
  void duplicate_ack(const Half& half, const Segment& segment, Output& out);
  [[nodiscard]] bool differs(const Half& half, std::uint64_t begin, ByteView payload) const;
  void remember(Half& half, std::uint64_t begin, ByteView payload);
  void expire(Half& half, Direction direction, std::string_view why, Instant now, Output& out);

  InspectorRules rules_;
  std::array<Half, 2> halves_;
  bool dead_ = false;
};

}  // namespace switchback::middlebox
