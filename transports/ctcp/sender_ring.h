// What was sent and not acknowledged, and the rules by which the same octets go out again. DESIGN.md §3.2, sender.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/time.h"
#include "transports/ctcp/gap_evidence.h"
#include "transports/ctcp/round_trip.h"

namespace switchback::transports::ctcp {

struct SenderLimits {
  std::size_t bytes = std::size_t{4} << 20U;  // originals kept
  std::size_t segments = 16384;
  /// Every octet is sent again until it is acknowledged, within no budget; never rewinds. For a peer that needs the
  /// whole stream.
  bool reliable = false;
};

/// Plain counts, for the owner's thread.
struct SenderCounters {
  std::uint64_t sent = 0, resent = 0;
  std::uint64_t duplicate_acks = 0;
  std::uint64_t sacked_segments = 0;
  std::uint64_t sack_looks = 0;         // segments looked at for blocks of SACK
  std::uint64_t stalls = 0;             // nothing acknowledged in time
  std::uint64_t over_budget = 0;        // re-sends that the budget refused
  std::uint64_t resends_exhausted = 0;  // a segment sent as often as allowed, still missing
  std::uint64_t go_backs = 0;           // all past a gap sent again
  std::uint64_t rewinds = 0;            // all past a gap given up
};

/// A received acknowledgement, in stream positions.
struct Acknowledgement {
  struct Block {
    std::uint64_t left, right;
    friend bool operator==(const Block&, const Block&) = default;
  };
  std::uint64_t position = 0;
  std::span<const Block> sack;
  bool pure = false;  // no payload, window unchanged: may count as a duplicate, RFC 5681 §2
  std::optional<Duration> echo_age = std::nullopt;  // since the timestamp was sent that it echoes
};

/// Positions are 64-bit stream positions: the wire's sequence number is their low half.
class SenderRing {
 public:
  static constexpr unsigned kQuickResends = 3;  // of one segment, on duplicate ACKs and SACK
  static constexpr unsigned kResends = 10;      // of one segment in all, afterwards one in kLastResort
  static constexpr Duration kStallFloor = std::chrono::milliseconds{40};
  static constexpr Duration kStallCeiling = std::chrono::seconds{3};
  static constexpr Duration kLastResort = std::chrono::seconds{10};
  /// Acknowledgements may be delayed so long, and come in bursts so far apart.
  static constexpr Duration kAckDelay = std::chrono::milliseconds{20};
  static constexpr Duration kScanInterval = std::chrono::milliseconds{4};
  static constexpr unsigned kResendsPerScan = 16;

  SenderRing(std::uint64_t first, SenderLimits limits);

  /// Takes a segment's octets, header and payload in a row; false if there is no room. It is sent by poll_new().
  [[nodiscard]] bool append(ByteView header, ByteView payload);
  /// @param segments  that the octets come in
  [[nodiscard]] bool has_room(std::size_t bytes, std::size_t segments = 1) const noexcept;

  struct Piece {
    std::uint64_t begin;
    ByteView octets;  // borrowed until acknowledged
    bool last;        // nothing new is waiting behind it
  };
  [[nodiscard]] std::optional<Piece> poll_new(Instant now);
  [[nodiscard]] std::optional<Piece> poll_resend(Instant now);

  /// Pre: una() - something old <= position <= highest_sent().
  void handle_ack(const Acknowledgement& ack, Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;
  void handle_deadline(Instant now);

  [[nodiscard]] std::uint64_t una() const noexcept { return una_; }
  [[nodiscard]] std::uint64_t next() const noexcept { return next_; }
  /// The end of all ever sent: beyond next() after a rewind.
  [[nodiscard]] std::uint64_t highest_sent() const noexcept { return highest_sent_; }
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return next_ - una_; }
  [[nodiscard]] Duration srtt() const noexcept { return round_trip_.smoothed(); }
  void sample_rtt(Duration rtt) noexcept { round_trip_.sample(rtt); }
  /// The path was proven to hold a TCP of its own, which discards nothing.
  void forbid_rewind() noexcept { may_rewind_ = false; }
  /// A device on the path is proven to discard what comes past a gap.
  [[nodiscard]] bool discarding() const noexcept { return evidence_.discarding(); }
  /// What is sent now may stay at a device: it is past a gap, or may be without that having shown.
  [[nodiscard]] bool may_be_held() const noexcept {
    return evidence_.discarding() || duplicates_ > 0 || (emitted_ > 0 && at(0).resends > 0);
  }
  /// When the acknowledgement last moved, or the oldest octet outstanding was sent; nothing if none is.
  [[nodiscard]] std::optional<Instant> waiting_since() const noexcept;
  [[nodiscard]] const SenderCounters& counters() const noexcept { return counters_; }

 private:
  struct Sent {
    std::uint64_t begin = 0;
    std::uint32_t bytes = 0;
    std::uint32_t at = 0;  // in memory_
    Instant first{}, last{};
    std::uint8_t resends = 0;
    bool sacked = false;
    bool queued = false;
    bool starts_frame = true;
    bool salvaged = false;  // sent before, at another position
    [[nodiscard]] std::uint64_t end() const noexcept { return begin + bytes; }
  };
  [[nodiscard]] Sent& at(std::size_t index) noexcept { return slots_[(head_ + index) & (slots_.size() - 1)]; }
  [[nodiscard]] const Sent& at(std::size_t index) const noexcept {
    return slots_[(head_ + index) & (slots_.size() - 1)];
  }
  [[nodiscard]] std::optional<std::size_t> place(std::size_t bytes) const noexcept;
  [[nodiscard]] std::optional<Instant> stall_at() const noexcept;
  [[nodiscard]] Duration overdue() const noexcept { return round_trip_.overdue() + kAckDelay; }
  [[nodiscard]] bool gap_in_front() const noexcept;
  [[nodiscard]] double budget() const noexcept;
  void earn(Instant now) noexcept;
  [[nodiscard]] std::size_t index_of(std::uint64_t position) const noexcept;
  void push(const Sent& sent);
  void pop_front() noexcept;
  void queue(Sent& sent, bool free_of_charge);
  void mark_sacked(const Acknowledgement::Block& block, Instant now);
  void advance(const Acknowledgement& ack, Instant now);
  void repair(Instant now);
  void scan(Instant now);
  void recover(bool free_of_charge, Instant now);
  void settle(Instant now);
  void go_back(Instant now);
  [[nodiscard]] bool rewind(std::size_t keep, Instant now);

  SenderLimits limits_;
  std::unique_ptr<std::uint8_t[]> memory_;  // left uninitialised: a quiet connection never touches most of it
  std::size_t write_ = 0;
  std::vector<Sent> slots_;  // a ring: size is a power of two
  std::size_t head_ = 0, count_ = 0, emitted_ = 0;
  std::uint64_t first_, una_, next_, highest_sent_;
  std::vector<std::uint64_t> resend_;  // begins of segments to send again, taken from the front
  std::size_t next_resend_ = 0;

  RoundTrip round_trip_;
  Instant last_advance_{};
  unsigned backoff_ = 0;
  unsigned duplicates_ = 0;
  std::size_t sacked_ = 0;  // of the segments here
  std::vector<Acknowledgement::Block> last_blocks_;
  Instant last_sack_{};
  bool scan_wanted_ = false;
  Instant next_scan_{};

  GapEvidence evidence_;
  Instant filled_at_{};  // when that was sent again which filled the last gap
  std::optional<Instant> settle_at_;
  bool may_rewind_ = true;
  Instant last_rewind_{};

  double tokens_ = 32;  // re-sends
  double extra_ = 0;    // more of them, and their octets, where a device discards
  double extra_octets_ = 0;
  Instant last_earned_{};
  SenderCounters counters_;
};

}  // namespace switchback::transports::ctcp
