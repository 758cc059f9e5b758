// Models of what stands between the ends of a TCP connection, on segments and a virtual clock.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <vector>

#include "common/base/time.h"
#include "tests/sim/ctcp_reference_tcp.h"

namespace switchback::test {

struct Forward {
  bool to_headend;
  Wire wire;
};

/// Forwards everything; the others change that.
class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual std::vector<Forward> pass(bool to_headend, const Wire& wire, Instant) {
    return {{to_headend, wire}};
  }
  [[nodiscard]] virtual std::optional<Instant> next_deadline() const { return std::nullopt; }
  [[nodiscard]] virtual std::vector<Forward> handle_deadline(Instant) { return {}; }
  unsigned refused = 0;
};

/// A firewall that drops what is invalid: data beyond twice the peer's window after its last ACK, and ACKs of data that
/// it has not seen; the two rules of Linux's connection tracking (6.1 and later) that kill.
class StrictWindow final : public Device {
 public:
  std::vector<Forward> pass(bool to_headend, const Wire& wire, Instant) override {
    using namespace transports::ctcp;
    auto& own = ends_[to_headend ? 0 : 1];
    auto& other = ends_[to_headend ? 1 : 0];
    const auto& h = wire.header;
    if (h.has(kSyn)) {
      own.end = own.acked_by_peer = h.sequence + 1;
      own.scale = h.options.window_scale.value_or(0);
      own.window = h.window;
      own.known = true;
      return {{to_headend, wire}};
    }
    if (!own.known || !h.has(kAck)) return refuse();
    const auto window = std::uint32_t{h.window} << own.scale;
    const auto past = static_cast<std::int32_t>(h.sequence - other_limit(own, other));
    if (past > 0) return refuse();
    if (other.known && static_cast<std::int32_t>(h.acknowledgement - other.end) > 0) return refuse();
    const auto end = h.sequence + static_cast<std::uint32_t>(wire.payload.size()) + (h.has(kFin) ? 1U : 0U);
    if (static_cast<std::int32_t>(end - own.end) > 0) own.end = end;
    if (static_cast<std::int32_t>(h.acknowledgement - other.acked_by_peer) > 0) other.acked_by_peer = h.acknowledgement;
    own.window = std::max(own.window, window);
    return {{to_headend, wire}};
  }

 private:
  struct End {
    bool known = false;
    std::uint32_t end = 0, acked_by_peer = 0, window = 0;
    std::uint8_t scale = 0;
  };
  static std::uint32_t other_limit(const End& own, const End& other) { return own.acked_by_peer + 2 * other.window; }
  std::vector<Forward> refuse() {
    ++refused;
    return {};
  }
  std::array<End, 2> ends_;
};

/// An inspector that wants the stream in order and keeps but a few segments past a gap; the rest it discards.
class ShortQueue final : public Device {
 public:
  ShortQueue(std::size_t segments, bool duplicate_acks) : segments_{segments}, duplicate_acks_{duplicate_acks} {}
  std::vector<Forward> pass(bool to_headend, const Wire& wire, Instant) override {
    using namespace transports::ctcp;
    auto& flow = flows_[to_headend ? 0 : 1];
    const auto& h = wire.header;
    if (h.has(kSyn)) {
      flow.expected = h.sequence + 1;
      return {{to_headend, wire}};
    }
    flow.last_ack = h;
    const auto ahead = static_cast<std::int32_t>(h.sequence - flow.expected);
    std::vector<Forward> out;
    if (wire.payload.empty() || ahead <= 0) {
      out.push_back({to_headend, wire});
      if (!wire.payload.empty() && static_cast<std::int32_t>(end(wire) - flow.expected) > 0) flow.expected = end(wire);
      for (bool found = true; found;) {
        found = false;
        for (auto at = flow.held.begin(); at != flow.held.end(); ++at) {
          if (static_cast<std::int32_t>(at->header.sequence - flow.expected) > 0) continue;
          if (static_cast<std::int32_t>(end(*at) - flow.expected) > 0) flow.expected = end(*at);
          out.push_back({to_headend, *at});
          flow.held.erase(at);
          found = true;
          break;
        }
      }
      return out;
    }
    if (flow.held.size() < segments_) {
      flow.held.push_back(wire);
    } else {
      ++refused;
    }
    if (duplicate_acks_) {
      const auto& back = flows_[to_headend ? 1 : 0].last_ack;
      Wire ack;
      ack.header.source_port = h.destination_port;
      ack.header.destination_port = h.source_port;
      ack.header.flags = kAck;
      ack.header.sequence = h.acknowledgement;
      ack.header.acknowledgement = flow.expected;
      ack.header.window = back.window;
      if (h.options.timestamps) {
        ack.header.options.timestamps = {h.options.timestamps->echo,
                                         back.options.timestamps.value_or(Timestamps{}).echo};
      }
      out.push_back({!to_headend, ack});
    }
    return out;
  }

 private:
  struct Flow {
    std::uint32_t expected = 0;
    std::vector<Wire> held;
    transports::ctcp::TcpHeader last_ack;
  };
  static std::uint32_t end(const Wire& wire) {
    return wire.header.sequence + static_cast<std::uint32_t>(wire.payload.size());
  }
  std::size_t segments_;
  bool duplicate_acks_;
  std::array<Flow, 2> flows_;
};

/// A proxy: terminates the connection and makes its own, copying octets; segments end wherever its own end.
class Proxy final : public Device {
 public:
  Proxy(std::uint16_t client_port, std::uint16_t headend_port, std::size_t segment_bytes)
      : front_{headend_port, client_port, true, 0x11111111, segment_bytes},
        back_{client_port, headend_port, false, 0xFFFFF000, segment_bytes} {}
  std::vector<Forward> pass(bool to_headend, const Wire& wire, Instant now) override {
    (to_headend ? front_ : back_).handle(wire, now);
    return handle_deadline(now);
  }
  std::optional<Instant> next_deadline() const override {
    return earliest(front_.next_deadline(), back_.next_deadline());
  }
  std::vector<Forward> handle_deadline(Instant now) override {
    back_.write(front_.read());
    front_.write(back_.read());
    std::vector<Forward> out;
    for (auto& wire : front_.poll(now)) out.push_back({false, std::move(wire)});
    for (auto& wire : back_.poll(now)) out.push_back({true, std::move(wire)});
    return out;
  }

 private:
  ReferenceTcp front_, back_;
};

}  // namespace switchback::test
