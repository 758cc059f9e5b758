// A SYN proxy: answers the SYN itself, and bothers the server only once the client has shown that it is there.
#pragma once

#include "tools/middlebox/segment_flow.h"

namespace switchback::middlebox {

/// As Linux's SYNPROXY: the client's SYN-ACK has window 0, an ACK opens it when the server has answered, and from then
/// on the server's sequence numbers and timestamps are translated. Linux keeps no state before the client's ACK; that
/// does not show on the wire. What it announces is set by its administrator and not by the server.
class SynProxy final : public Device {
 public:
  SynProxy(std::uint32_t isn, std::uint32_t timestamp) noexcept : isn_{isn}, timestamp_{timestamp} {}
  void handle(Segment segment, Instant now, Output& out) override;

 private:
  static constexpr std::uint16_t kMss = 1460;
  static constexpr std::uint8_t kScale = 7;
  enum class State : std::uint8_t { idle, greeted, asking, joined };

  void from_client(Segment segment, Output& out);
  void from_server(Segment segment, Output& out);
  [[nodiscard]] Segment made(Direction direction, std::uint8_t flags) const;

  std::uint32_t isn_, timestamp_;
  State state_ = State::idle;
  Direction of_client_ = Direction::outward;
  transports::ctcp::TcpHeader client_;  // its SYN, with the latest window and timestamp
  std::uint32_t offset_ = 0;            // server's sequence numbers less ours
  std::uint32_t timestamp_offset_ = 0;
};

}  // namespace switchback::middlebox
