// The receiving half: what has come, when and what to acknowledge, and frames at once. DESIGN.md §3.2, receiver.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/time.h"
#include "transports/ctcp/range_set.h"
#include "transports/ctcp/segment.h"
#include "transports/stream/frame_scanner.h"

namespace switchback::transports::ctcp {

struct ReceiverConfig {
  bool expect_prefix = false;
  bool complete = false;  // no hole is ever given up
  bool in_order = false;  // complete, and frames in order
  bool ack_high = false;  // a proxy or a TCP with congestion control is known to send
  std::uint32_t window = 0;
  std::size_t uncut_bytes = 0;  // see FrameScanner::give
};

/// Plain counts, for the owner's thread.
struct ReceiverCounters {
  std::uint64_t segments = 0, duplicate_segments = 0, out_of_order = 0;
  std::uint64_t outside_window = 0;
  std::uint64_t holes_given_up = 0;
};

class StreamReceiver {
 public:
  static constexpr Duration kDelayedAck = std::chrono::milliseconds{20};
  static constexpr Duration kHoleFloor = std::chrono::milliseconds{250};
  static constexpr std::size_t kMaximumRanges = 1024;
  static constexpr unsigned kMaximumDuplicates = 8;  // duplicate ACKs owed at a time

  /// @param first  position of the stream's first octet
  StreamReceiver(std::uint64_t first, const ReceiverConfig& config);

  /// Takes a segment's payload, of which everything outside the window is ignored. @param srtt  for the give-up time
  void handle_data(std::uint64_t begin, ByteView payload, const stream::SessionMarks& marks, Duration srtt,
                   Instant now);
  /// Takes a FIN at its position; true if it is the next octet, and so valid.
  [[nodiscard]] bool handle_fin(std::uint64_t position) noexcept;
  /// Something unacceptable came that TCP answers with an ACK.
  void want_ack() noexcept { ack_now_ = true; }

  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;
  void handle_deadline(Instant now);

  void start() noexcept { scanner_.start(); }
  [[nodiscard]] std::optional<stream::Frame> poll_frame() noexcept { return scanner_.poll_frame(); }

  /// Whether an ACK without payload is due; `duplicate` ones carry SACK and never ride on data.
  enum class AckDue : std::uint8_t { none, plain, duplicate };
  [[nodiscard]] AckDue ack_due() const noexcept;
  /// An ACK has been sent. @param duplicate  one that answered ack_due() == duplicate
  void ack_sent(bool duplicate) noexcept;
  /// Up to `room` blocks, the latest first (RFC 2018 §4); returns their number.
  std::uint8_t sack_blocks(std::array<SackBlock, 4>& out, std::size_t room) const noexcept;

  [[nodiscard]] std::uint64_t ack_point() const noexcept { return ack_point_; }
  [[nodiscard]] std::uint64_t highest() const noexcept { return highest_; }
  [[nodiscard]] std::uint32_t window() const noexcept { return config_.window; }
  /// From now on holes are passed at once, unless the stream has to be complete: their sender has a congestion control
  /// that they would collapse.
  void prove_proxy() noexcept;
  [[nodiscard]] bool ack_high() const noexcept { return config_.ack_high; }
  /// Segments end within frames that their sender did not cut.
  [[nodiscard]] bool resegmented() const noexcept { return scanner_.counters().cut_frames > 0; }
  [[nodiscard]] bool stream_ok() const noexcept { return scanner_.ok(); }
  /// Runs of octets that are remembered as received.
  [[nodiscard]] std::size_t ranges() const noexcept { return ranges_.size(); }
  [[nodiscard]] const ReceiverCounters& counters() const noexcept { return counters_; }
  [[nodiscard]] const stream::ScannerCounters& scanner_counters() const noexcept { return scanner_.counters(); }

 private:
  [[nodiscard]] std::optional<Instant> give_up_at() const noexcept;
  void move_ack_point() noexcept;
  void give_up_first_hole() noexcept;
  void forget_oldest() noexcept;

  ReceiverConfig config_;
  stream::FrameScanner scanner_;
  std::uint64_t first_;
  std::uint64_t floor_;  // what is before it has come, or is not wanted any more
  std::uint64_t ack_point_;
  std::uint64_t highest_;
  std::uint64_t latest_ = 0;  // where octets last came out of order
  RangeSet ranges_;
  Duration give_up_ = kHoleFloor;
  bool ack_now_ = false;
  unsigned duplicates_owed_ = 0;
  unsigned unacknowledged_ = 0;  // segments in order since the last ACK
  std::optional<Instant> delayed_ack_;
  bool finished_ = false;
  ReceiverCounters counters_;
};

}  // namespace switchback::transports::ctcp
