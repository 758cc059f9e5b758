// Two ends of any transport with switchback-middlebox between them, on whole IP packets, in virtual time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "tests/support/virtual_clock.h"
#include "tools/middlebox/box.h"

namespace switchback::test {

/// One end of a transport, as far as the wire shows it.
class WireEnd {
 public:
  virtual ~WireEnd() = default;
  /// Sends an ESP packet. False: it cannot, for not being connected (yet) or for having no room.
  [[nodiscard]] virtual bool send(ByteView esp, Instant now) = 0;
  virtual void handle(ByteView packet, const packet::IpView& ip, Instant now) = 0;
  virtual void handle_deadline(Instant /*now*/) {}
  [[nodiscard]] virtual std::optional<Instant> next_deadline() const { return std::nullopt; }
  /// IP packets that are due.
  [[nodiscard]] virtual std::vector<Bytes> poll(Instant now) = 0;
  /// ESP packets that have come since the last call.
  [[nodiscard]] std::vector<Bytes> take() { return std::exchange(received_, {}); }
  [[nodiscard]] virtual bool connected() const = 0;
  /// Segments with data, and those of them that went for a second time. Datagrams never do.
  struct Sent {
    std::uint64_t all = 0, again = 0;
  };
  [[nodiscard]] virtual Sent sent() const { return {}; }

 protected:
  std::vector<Bytes> received_;
};

/// As the middlebox can tell them apart: by protocol and port. Plain TCP and TLS differ in the port alone. Where the
/// programs use the kernel's TCP for them it is cTCP's engine here, as a reliable stream in order, without congestion
/// control.
enum class Carrier : std::uint8_t { udp, esp, ctcp, tcp, tls };
[[nodiscard]] std::string_view to_string(Carrier carrier) noexcept;

class BoxSim {
 public:
  static constexpr std::size_t kPacketBytes = 600;
  static constexpr Duration kDelay = std::chrono::milliseconds{20};  // each way, between client and middlebox

  /// @param rules  of the middlebox; loss and delay of the line between client and middlebox come on top
  BoxSim(Carrier carrier, middlebox::BoxRules rules, double loss);
  /// Once connected each end sends a packet every `interval` for `time`; then what is under way arrives.
  void run(Duration time, Duration interval = std::chrono::milliseconds{5});

  struct End {
    std::unique_ptr<WireEnd> wire;
    std::uint32_t offered = 0;
    std::set<std::uint32_t> delivered;
    std::map<std::uint32_t, Instant> sent_at;
    std::vector<Duration> added;  // to the delay of the line, by packets received
    Instant last_delivery{};
  };
  [[nodiscard]] bool lives() const;
  /// From the first packet until the last one in the direction that ended first.
  [[nodiscard]] Duration lived() const;
  [[nodiscard]] double share_at_headend() const { return share(headend_, client_); }
  [[nodiscard]] double share_at_client() const { return share(client_, headend_); }
  /// Added latency of both directions.
  [[nodiscard]] Duration added_at(double quantile) const;
  [[nodiscard]] double resent_share() const;

 private:
  static double share(const End& at, const End& from) {
    return from.offered == 0 ? 0 : static_cast<double>(at.delivered.size()) / static_cast<double>(from.offered);
  }
  void settle(Instant until);
  void exchange();
  void offer(End& end);
  void deliver(End& end);

  VirtualClock clock_;
  middlebox::Box box_;
  End client_, headend_;
  Instant begun_{}, ended_{};
};

}  // namespace switchback::test
