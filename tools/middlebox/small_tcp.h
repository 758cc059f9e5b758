// An ordinary TCP of its own, with Reno's congestion control and without SACK: what terminates connections in a proxy.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/time.h"
#include "transports/ctcp/segment.h"

namespace switchback::middlebox {

/// Octets in the order in which they were put in, taken off the front.
class OctetQueue {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return octets_.size() - head_; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] ByteView view() const noexcept { return ByteView{octets_}.subspan(head_); }
  void push(ByteView octets) { octets_.insert(octets_.end(), octets.begin(), octets.end()); }
  void pop(std::size_t count) {
    head_ += count;
    if (head_ * 2 < octets_.size()) return;
    octets_.erase(octets_.begin(), octets_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }

 private:
  Bytes octets_;
  std::size_t head_ = 0;
};

struct SmallTcpConfig {
  std::uint16_t local_port = 0, remote_port = 0;
  std::uint32_t isn = 0;
  bool listening = false;
  std::uint16_t segment_octets = 1448;  // longest payload that it sends
  std::uint16_t announced_mss = 1448;
  std::size_t buffer_octets = std::size_t{512} << 10U;  // each way
  bool congestion_control = true;
  Duration coalesce_wait{};       // how long less than a whole segment waits for more octets
  std::uint64_t random_cuts = 0;  // a seed: each segment has a random length; 0: as long as may be
};

/// One connection. handle() segments, write() and read() octets, then poll() what is to be sent.
class SmallTcp {
 public:
  explicit SmallTcp(const SmallTcpConfig& config) noexcept;

  void handle(const transports::ctcp::TcpSegmentView& segment, Instant now);
  void handle_deadline(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept {
    return waiting_since_ ? earliest(timer_, *waiting_since_ + config_.coalesce_wait) : timer_;
  }
  struct Out {
    transports::ctcp::TcpHeader header;
    Bytes payload;
  };
  /// Appends what is due.
  void poll(Instant now, std::vector<Out>& out);

  /// How many octets write() takes now.
  [[nodiscard]] std::size_t room() const noexcept;
  void write(ByteView octets) { unsent_.push(octets); }
  /// Octets received in order; consume() them.
  [[nodiscard]] ByteView readable() const noexcept { return received_.view(); }
  void consume(std::size_t octets);
  [[nodiscard]] std::size_t kept_octets() const noexcept {
    return sent_.size() + unsent_.size() + received_.size() + ahead_octets_;
  }
  /// No more will be written: FIN once all is sent.
  void finish() noexcept { finishing_ = true; }

  [[nodiscard]] bool established() const noexcept { return established_; }
  [[nodiscard]] bool peer_finished() const noexcept { return peer_finished_; }
  [[nodiscard]] bool reset() const noexcept { return reset_; }

 private:
  static constexpr std::uint64_t kTurn = std::uint64_t{1} << 32U;
  static constexpr std::uint8_t kScale = 7;
  static constexpr Duration kSmallestTimeout = std::chrono::milliseconds{200};

  [[nodiscard]] transports::ctcp::TcpHeader header(std::uint8_t flags, std::uint64_t position) const noexcept;
  void acknowledged(std::uint64_t upto, Instant now);
  void take(std::uint64_t begin, ByteView payload);
  void send_piece(std::uint64_t position, std::size_t octets, std::vector<Out>& out) const;
  [[nodiscard]] std::uint64_t in_flight() const noexcept { return next_ - una_; }
  [[nodiscard]] std::uint64_t window() const noexcept;
  [[nodiscard]] bool waits(std::size_t most, Instant now) noexcept;

  SmallTcpConfig config_;
  bool syn_due_ = false, established_ = false, finishing_ = false, fin_sent_ = false, peer_finished_ = false;
  bool reset_ = false, resend_ = false;
  std::uint64_t una_, next_, recover_ = 0;
  std::uint64_t expected_ = 0;  // of the peer
  std::uint64_t peer_window_ = 0;
  std::uint8_t peer_scale_ = 0;
  std::size_t peer_mss_ = 536;
  bool scaling_ = false;
  double congestion_window_, slow_start_threshold_ = 1e9;
  unsigned duplicates_ = 0, acks_due_ = 0, timeouts_ = 0;
  std::optional<Instant> timer_, measured_at_, waiting_since_;
  std::mt19937_64 random_;
  std::size_t cut_ = 0;  // length of the next segment where lengths are random
  std::uint64_t measured_ = 0;
  Duration smoothed_{}, variation_{}, timeout_ = std::chrono::seconds{1};
  OctetQueue sent_, unsent_, received_;
  std::map<std::uint64_t, Bytes> ahead_;
  std::size_t ahead_octets_ = 0;
  bool window_closed_ = false;
};

}  // namespace switchback::middlebox
