// Segments of one connection between 40000 (inside) and 10000 (outside), for tests of the devices.
#pragma once

#include "tests/support/virtual_clock.h"
#include "tools/middlebox/segment_flow.h"

namespace switchback::test {

using middlebox::Direction;
using middlebox::Output;
using middlebox::Segment;

inline constexpr std::uint32_t kInnerIsn = 1000, kOuterIsn = 0xFFFFFF00;  // the outer one wraps soon

inline Segment segment(Direction direction, std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledgement,
                       std::size_t octets = 0, std::uint16_t window = 65535) {
  Segment made;
  made.direction = direction;
  const bool outward = direction == Direction::outward;
  made.header.source_port = outward ? 40000 : 10000;
  made.header.destination_port = outward ? 10000 : 40000;
  made.header.flags = flags;
  made.header.sequence = sequence;
  made.header.acknowledgement = acknowledgement;
  made.header.window = window;
  made.payload.resize(octets);
  for (std::size_t i = 0; i < octets; ++i) made.payload[i] = static_cast<std::uint8_t>(sequence + i);
  return made;
}

/// Hands segments to a device and shows what comes out.
class DeviceBench {
 public:
  explicit DeviceBench(middlebox::Device& device) : device_{device} {
    using namespace transports::ctcp;
    give(segment(Direction::outward, kSyn, kInnerIsn, 0));
    give(segment(Direction::inward, kSyn | kAck, kOuterIsn, kInnerIsn + 1));
    give(segment(Direction::outward, kAck, kInnerIsn + 1, kOuterIsn + 1));
  }
  /// Data from inside, at an offset behind the SYN.
  Output data(std::uint32_t offset, std::size_t octets, std::uint32_t acknowledged = 0) {
    return give(segment(Direction::outward, transports::ctcp::kAck, kInnerIsn + 1 + offset,
                        kOuterIsn + 1 + acknowledged, octets));
  }
  /// An ACK from outside.
  Output ack(std::uint32_t offset, std::uint16_t window = 65535) {
    return give(segment(Direction::inward, transports::ctcp::kAck, kOuterIsn + 1, kInnerIsn + 1 + offset, 0, window));
  }
  Output give(Segment one) {
    Output out;
    device_.handle(std::move(one), clock.now(), out);
    return out;
  }
  Output wait(Duration time) {
    clock.advance(time);
    Output out;
    if (const auto due = device_.next_deadline(); due && *due <= clock.now()) device_.handle_deadline(clock.now(), out);
    return out;
  }
  VirtualClock clock;

 private:
  middlebox::Device& device_;
};

inline bool decided(const Output& out, std::string_view what) {
  for (const auto& decision : out.decisions) {
    if (decision.what == what) return true;
  }
  return false;
}

}  // namespace switchback::test
