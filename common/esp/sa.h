// One direction of a Child SA: keys, counters, limits and the selectors that its packets must match.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/crypto/aead.h"
#include "common/esp/lifetime.h"
#include "common/esp/replay_window.h"
#include "common/packet/selector_matcher.h"
#include "common/packet/traffic_selector.h"

namespace switchback::esp {

/// Octets that ESP puts before the inner packet: SPI, sequence number, explicit IV (RFC 4303 §2, RFC 4106 §3.1).
inline constexpr std::size_t kHeaderBytes = 8, kIvBytes = 8, kTagBytes = 16, kTrailerBytes = 2;
inline constexpr std::size_t kAlignment = 4;  // RFC 4303 §2.4
/// Most that a packet grows by seal(): header, IV, padding up to 3, trailer, tag.
inline constexpr std::size_t kMaxOverheadBytes = kHeaderBytes + kIvBytes + (kAlignment - 1) + kTrailerBytes + kTagBytes;

/// Everything that makes one SA. `local` and `remote` are the Child SA's selectors as this end sees them, the same for
/// both directions.
struct SaParams {
  Spi spi;
  crypto::AeadKey key;
  bool esn = true;
  LifetimeLimits lifetime;
  packet::TrafficSelectors local, remote;
  Instant installed{};
};

/// Counters of one SA: written by its packet thread only, read by anyone (relaxed). Octets are of inner packets.
struct SaCounters {
  std::atomic<std::uint64_t> packets{0}, bytes{0};  // sealed, or opened
  std::atomic<std::uint64_t> dummies{0};
  std::atomic<std::uint64_t> malformed{0}, replayed{0}, forged{0}, wrong_selector{0};  // inbound
  std::atomic<std::uint64_t> expired{0};    // refused: a hard lifetime was reached
  std::atomic<std::uint64_t> exhausted{0};  // outbound, refused: the sequence number space is used up
  std::atomic<std::uint64_t> highest_sequence{0};
};

/// Sends. Belongs to one packet thread; counters() may go anywhere.
class OutboundSa {
 public:
  /// @param next_sequence  1 but for tests: number of the first packet
  explicit OutboundSa(SaParams params, std::uint64_t next_sequence = 1);
  OutboundSa(SaParams params, std::unique_ptr<crypto::Aead> aead, std::uint64_t next_sequence = 1);

  [[nodiscard]] Spi spi() const noexcept { return spi_; }
  [[nodiscard]] bool esn() const noexcept { return esn_; }
  /// Whether the Child SA may carry this packet outward: source in local, destination in remote selectors.
  [[nodiscard]] bool permits(ByteView inner) const noexcept;
  [[nodiscard]] Lifetime& lifetime() noexcept { return lifetime_; }
  [[nodiscard]] const Lifetime& lifetime() const noexcept { return lifetime_; }
  [[nodiscard]] const std::shared_ptr<SaCounters>& counters() const noexcept { return counters_; }
  /// How many numbers are left: without ESN the last is 2^32 - 1, with it 2^64 - 2.
  [[nodiscard]] std::uint64_t sequence_left() const noexcept { return last_sequence_ - next_sequence_ + 1; }

 private:
  friend struct Codec;

  Spi spi_;
  bool esn_;
  std::array<std::uint8_t, 4> salt_{};
  std::unique_ptr<crypto::Aead> aead_;
  std::uint64_t next_sequence_, last_sequence_;  // next > last: used up
  Lifetime lifetime_;
  packet::SelectorMatcher local_, remote_;
  std::shared_ptr<SaCounters> counters_;
};

/// Receives. Belongs to one packet thread; counters() may go anywhere.
class InboundSa {
 public:
  /// @param highest_sequence  0 but for tests: as if this one had come before
  explicit InboundSa(SaParams params, std::uint64_t highest_sequence = 0);
  InboundSa(SaParams params, std::unique_ptr<crypto::Aead> aead, std::uint64_t highest_sequence = 0);

  [[nodiscard]] Spi spi() const noexcept { return spi_; }
  [[nodiscard]] bool esn() const noexcept { return esn_; }
  [[nodiscard]] Lifetime& lifetime() noexcept { return lifetime_; }
  [[nodiscard]] const Lifetime& lifetime() const noexcept { return lifetime_; }
  [[nodiscard]] const std::shared_ptr<SaCounters>& counters() const noexcept { return counters_; }
  /// Highest authenticated sequence number; 0 until the first packet.
  [[nodiscard]] std::uint64_t highest_sequence() const noexcept { return window_.highest(); }

 private:
  friend struct Codec;

  Spi spi_;
  bool esn_;
  std::array<std::uint8_t, 4> salt_{};
  std::unique_ptr<crypto::Aead> aead_;
  ReplayWindow window_;
  Lifetime lifetime_;
  packet::SelectorMatcher local_, remote_;
  std::shared_ptr<SaCounters> counters_;
};

}  // namespace switchback::esp
