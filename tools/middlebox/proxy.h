// A proxy in the middle: ends the connection, makes its own to the other side, and copies octets.
#pragma once

#include "tools/middlebox/segment_flow.h"
#include "tools/middlebox/small_tcp.h"

namespace switchback::middlebox {

struct ProxyRules {
  std::uint16_t segment_octets = 1448;
  bool congestion_control = true;
  Duration coalesce_wait{};       // how long less than a whole segment waits for more
  std::uint64_t random_cuts = 0;  // a seed for segments of random lengths; 0: none
};

/// Transparent: it uses the addresses and ports of both ends. Segments begin and end wherever its own TCP has it.
class Proxy final : public Device {
 public:
  Proxy(const ProxyRules& rules, std::uint32_t isn_to_client, std::uint32_t isn_to_server)
      : rules_{rules}, isn_to_client_{isn_to_client}, isn_to_server_{isn_to_server} {}
  void handle(Segment segment, Instant now, Output& out) override;
  [[nodiscard]] std::optional<Instant> next_deadline() const override;
  void handle_deadline(Instant now, Output& out) override;
  [[nodiscard]] bool dead() const noexcept override { return dead_; }
  [[nodiscard]] std::size_t kept_octets() const noexcept override {
    return front_ ? front_->kept_octets() + back_->kept_octets() : 0;
  }

 private:
  void relay(Instant now, Output& out);
  void emit(SmallTcp& from, Direction direction, Instant now, Output& out);

  ProxyRules rules_;
  std::uint32_t isn_to_client_, isn_to_server_;
  Direction of_client_ = Direction::outward;  // in which the SYN went
  std::optional<SmallTcp> front_, back_;      // towards the client, towards the server
  std::vector<SmallTcp::Out> made_;
  bool dead_ = false;
};

}  // namespace switchback::middlebox
