// What the devices of a middlebox work on: TCP segments of one flow, in two directions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/time.h"
#include "transports/ctcp/segment.h"

namespace switchback::middlebox {

/// From the inner interface (where clients are) to the outer one, and back.
enum class Direction : std::uint8_t { outward, inward };
[[nodiscard]] constexpr Direction opposite(Direction direction) noexcept {
  return direction == Direction::outward ? Direction::inward : Direction::outward;
}
[[nodiscard]] constexpr std::size_t index(Direction direction) noexcept { return static_cast<std::size_t>(direction); }
[[nodiscard]] constexpr std::string_view to_string(Direction direction) noexcept {
  return direction == Direction::outward ? "outward" : "inward";
}

/// A TCP segment on its way through. `original` is the IP packet as it came; it is empty for what a device makes
/// itself. A device that changes header or payload (not its size) says so by `changed`.
struct Segment {
  Direction direction = Direction::outward;
  transports::ctcp::TcpHeader header;
  Bytes payload;
  Bytes original;
  bool changed = false;
  [[nodiscard]] transports::ctcp::TcpSegmentView view() const noexcept { return {header, payload}; }
};

/// Something that a device decided, for the log. All but the numbers are literals.
struct Decision {
  std::string_view what;  // "drop", "hold", "dupack", "kill", "gap_open", "gap_fill", "invalid", "rebind", …
  std::string_view why;
  Direction direction = Direction::outward;
  std::uint32_t sequence = 0;
  std::uint64_t count = 0;  // octets or packets, as `what` has it
};

/// What comes out of a device for one input.
struct Output {
  std::vector<Segment> forward;
  std::vector<Decision> decisions;
};

/// What one flow meets. One instance for each flow, made at its first packet. Pure: the time is handed in.
class Device {
 public:
  virtual ~Device() = default;
  virtual void handle(Segment segment, Instant now, Output& out) = 0;
  [[nodiscard]] virtual std::optional<Instant> next_deadline() const { return std::nullopt; }
  virtual void handle_deadline(Instant /*now*/, Output& /*out*/) {}
  /// The device forwards nothing of this flow any more.
  [[nodiscard]] virtual bool dead() const noexcept { return false; }
  /// Octets of packets that it keeps now.
  [[nodiscard]] virtual std::size_t kept_octets() const noexcept { return 0; }
};

/// Positions in the octet stream of one direction, counted from its SYN, so that they never wrap.
class SequenceSpace {
 public:
  [[nodiscard]] bool known() const noexcept { return known_; }
  void begin(std::uint32_t isn) noexcept {
    known_ = true;
    last_ = kTurn + isn;
  }
  /// Unwrapped, nearest to the last one asked for.
  [[nodiscard]] std::uint64_t position(std::uint32_t wire) noexcept {
    const auto at = transports::ctcp::unwrap(wire, last_);
    if (at > last_) last_ = at;
    return at;
  }

 private:
  static constexpr std::uint64_t kTurn = std::uint64_t{1} << 32U;
  bool known_ = false;
  std::uint64_t last_ = kTurn;
};

/// Octets of sequence space that a segment takes (RFC 9293 §3.4).
[[nodiscard]] inline std::uint32_t sequence_octets(const Segment& segment) noexcept {
  using namespace transports::ctcp;
  return static_cast<std::uint32_t>(segment.payload.size()) + (segment.header.has(kSyn) ? 1U : 0U) +
         (segment.header.has(kFin) ? 1U : 0U);
}

/// RST towards the receiver of `seen`, as if its peer had sent it.
[[nodiscard]] Segment reset_onward(const Segment& seen);
/// RST towards the sender of `seen`, as if its peer had sent it.
[[nodiscard]] Segment reset_back(const Segment& seen);

}  // namespace switchback::middlebox
