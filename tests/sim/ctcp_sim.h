// Two cTCP engines, or one and a reference TCP, with a device between them, in virtual time.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "tests/sim/ctcp_devices.h"
#include "tests/support/seeded_random.h"
#include "tests/support/virtual_clock.h"
#include "transports/ctcp/tcp_engine.h"

namespace switchback::test {

struct SimConditions {
  Duration delay = std::chrono::milliseconds{20};  // each way, between client and device
  Duration jitter{};
  double loss = 0;         // between client and device
  double loss_behind = 0;  // between device and headend
  double loss_before = 0;  // into the device, from either end, as switchback-middlebox has it
  double duplication = 0;
};

class CtcpSim {
 public:
  static constexpr std::uint16_t kClientPort = 40000, kHeadendPort = 10000;
  static constexpr std::uint32_t kSpiToHeadend = 0xC0FFEE01, kSpiToClient = 0xDEADBE02;
  static constexpr std::size_t kFrameBytes = 600;

  CtcpSim(std::uint64_t seed, SimConditions conditions, std::unique_ptr<Device> device, bool reliable = false);

  /// Each end sends a frame every `interval` for `time`; afterwards what is under way arrives.
  void run(Duration time, Duration interval = std::chrono::milliseconds{5});
  void settle(Duration time);

  struct End {
    std::optional<transports::ctcp::TcpEngine> engine;
    std::uint32_t offered = 0, taken = 0;
    std::set<std::uint32_t> delivered;
    std::map<std::uint32_t, Instant> sent_at;
    std::vector<Duration> latencies;  // of what it received
    std::uint32_t corrupt = 0;
    Duration longest_silence{};
    Instant last_delivery{};
  };
  /// Delivered share of what the other end offered.
  [[nodiscard]] double share_at_headend() const { return share(headend, client); }
  [[nodiscard]] double share_at_client() const { return share(client, headend); }
  [[nodiscard]] static double milliseconds_at(const End& end, double quantile);

  VirtualClock clock;
  SeededRandom random;
  SimConditions conditions;
  std::unique_ptr<Device> device;
  End client, headend;

 private:
  enum class Hop : std::uint8_t { client_device, device_headend, headend_device, device_client };
  struct Flying {
    Hop hop;
    Wire wire;
  };
  static double share(const End& at, const End& from) {
    return from.offered == 0 ? 0 : static_cast<double>(at.delivered.size()) / static_cast<double>(from.offered);
  }
  void offer(End& from, End& to, std::uint32_t spi);
  void launch(Hop hop, Wire wire);
  void arrive(const Flying& flying);
  void drain(End& end);
  void take(End& end, const transports::ctcp::TcpSegmentView& view);
  bool step(Instant until);

  transports::ctcp::SynCookies cookies_;
  transports::ctcp::EngineConfig client_config_, headend_config_;
  AddressPair headend_path_;
  std::multimap<Instant, Flying> flying_;
};

}  // namespace switchback::test
