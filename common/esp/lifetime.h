// How much one key may carry: soft limits ask for a new SA, hard limits end this one (RFC 4301 §4.4.2.1).
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "common/base/time.h"
#include "common/crypto/aead.h"

namespace switchback::esp {

inline constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

/// Counts are of packets and inner octets under one key in one direction; times run from installation. Soft limits must
/// leave time for a rekey before the hard ones.
struct LifetimeLimits {
  std::uint64_t soft_packets = kUnlimited, hard_packets = kUnlimited;
  std::uint64_t soft_bytes = kUnlimited, hard_bytes = kUnlimited;
  Duration soft_time = Duration::max(), hard_time = Duration::max();
};

/// Without ESN the sequence number ends at 2^32 - 1 and IVs must not repeat (RFC 4303 §3.3.3): soft at half, hard at
/// three quarters. AES-GCM loses its confidentiality margin with the number of blocks under one key; 2^34.5 blocks
/// keep an attacker's advantage near 2^-57 (RFC 8446 §5.5 has this bound for TLS), so 256 GiB soft, 384 GiB hard.
/// ChaCha20-Poly1305 has no such limit. Soft after an hour, hard after 70 minutes.
[[nodiscard]] LifetimeLimits default_limits(crypto::AeadAlgorithm algorithm, bool esn) noexcept;

enum class LifetimeEvent : std::uint8_t { soft_reached, hard_reached };

/// Counters of one SA against its limits. Lives on the packet thread.
class Lifetime {
 public:
  Lifetime(const LifetimeLimits& limits, Instant installed) noexcept;

  /// Whether this many more packets may go under this key: the largest count up to `packets`.
  [[nodiscard]] std::uint64_t allowance(std::uint64_t packets) const noexcept;
  void account(std::uint64_t packets, std::uint64_t bytes) noexcept {
    packets_ += packets;
    bytes_ += bytes;
  }
  /// Call now and then (the deadline tells when at the latest): time counts only here.
  void handle_deadline(Instant now) noexcept { now_ = now > now_ ? now : now_; }
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;

  /// Hard limit reached: the SA refuses everything.
  [[nodiscard]] bool expired() const noexcept {
    return packets_ >= limits_.hard_packets || bytes_ >= limits_.hard_bytes || now_ >= hard_at_;
  }
  /// Each event once; hard_reached also stands for a soft_reached not yet taken. Cheap enough for every batch.
  [[nodiscard]] std::optional<LifetimeEvent> poll_event() noexcept;

  [[nodiscard]] std::uint64_t packets() const noexcept { return packets_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  LifetimeLimits limits_;
  Instant now_, soft_at_, hard_at_;
  std::uint64_t packets_ = 0, bytes_ = 0;
  bool soft_told_ = false, hard_told_ = false;
};

}  // namespace switchback::esp
