// The listening end without state: SYNs are answered from a keyed hash, and a connection begins with its first octets.
#pragma once

#include <cstdint>
#include <optional>

#include "common/base/ip_address.h"
#include "common/base/secret.h"
#include "common/base/time.h"
#include "transports/ctcp/segment.h"

namespace switchback::transports::ctcp {

/// What both ends know of each other after the handshake.
struct Handshake {
  std::uint32_t local_isn = 0, remote_isn = 0;
  std::uint16_t peer_mss = kDefaultMss;
  /// Shift of the windows that the peer advertises, and of ours; nothing if either end does not scale.
  std::optional<std::uint8_t> peer_window_scale;
  bool sack = false;
  bool timestamps = false;
  std::uint32_t timestamp_offset = 0;  // ours: added to milliseconds of the clock
  std::uint32_t peer_timestamp = 0;    // the latest seen
  std::uint32_t peer_window = 0;       // octets
  /// The SYN was one that our engine builds: nothing on the way has terminated the connection.
  bool peer_is_engine = false;
};

/// Our window scale, and the window that our SYNs carry. The pair is how ends of ours know that a SYN was not built by
/// a proxy or another TCP; both are ordinary values.
inline constexpr std::uint8_t kOurWindowScale = 8;
inline constexpr std::uint16_t kOurSynWindow = 64512;

/// Milliseconds of the monotonic clock plus an offset, RFC 7323 §5.4.
[[nodiscard]] std::uint32_t timestamp_at(Instant now, std::uint32_t offset) noexcept;

/// SYN cookies (RFC 4987 §3.6). The answer's sequence number holds time, MSS and 24 bits of HMAC-SHA-256 over the
/// addresses, ports and the initiator's sequence number; its timestamp holds what options were agreed, as Linux does.
/// Nothing is kept for a SYN nor for the ACK that follows: the first segment with payload proves the address and makes
/// the connection, and tells by its octets whether it is classic or resilient. One instance per port, one thread.
class SynCookies {
 public:
  /// Cookies are good for one to two of these.
  static constexpr std::chrono::seconds kLifetime{64};

  /// @param key  32 secret octets @param mss  what we accept, for the answers
  SynCookies(Secret key, std::uint16_t mss) noexcept : key_{std::move(key)}, mss_{mss} {}

  /// The SYN-ACK for a SYN; nothing if it is not one to answer (other flags, payload).
  [[nodiscard]] std::optional<OutSegment> answer(const TcpSegmentView& syn, const AddressPair& path, Instant now) const;
  /// What was agreed with the sender of the first payload, if it acknowledges a cookie of ours.
  [[nodiscard]] std::optional<Handshake> accept(const TcpSegmentView& first, const AddressPair& path,
                                                Instant now) const;

 private:
  struct Mac {
    std::uint32_t low24;
    std::uint32_t timestamp_offset;
  };
  [[nodiscard]] Mac mac(const AddressPair& path, std::uint32_t remote_isn, std::uint64_t count,
                        std::uint8_t mss_index) const;

  Secret key_;
  std::uint16_t mss_;
};

/// The RST that answers a segment for which there is no connection (RFC 9293 §3.10.7.1); nothing for an RST. For the
/// shell to use sparingly: it tells the peers of a restarted headend at once.
[[nodiscard]] std::optional<OutSegment> reset_for(const TcpSegmentView& segment) noexcept;

}  // namespace switchback::transports::ctcp
