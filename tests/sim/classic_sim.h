// Two ends of classic cTCP with a device between them, in virtual time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>

#include "tests/sim/ctcp_sim.h"
#include "transports/ctcp/classic.h"

namespace switchback::test {

class ClassicSim {
 public:
  ClassicSim(std::uint64_t seed, SimConditions conditions, std::unique_ptr<Device> device);
  /// Each end sends a packet every `interval` for `time`.
  void run(Duration time, Duration interval = std::chrono::milliseconds{5});

  struct End {
    std::optional<transports::ctcp::ClassicConnection> connection;
    std::uint32_t offered = 0;
    std::set<std::uint32_t> delivered;
    Instant last_delivery{};
  };
  [[nodiscard]] double share_at_headend() const { return share(headend, client); }
  [[nodiscard]] double share_at_client() const { return share(client, headend); }

  VirtualClock clock;
  SeededRandom random;
  SimConditions conditions;
  std::unique_ptr<Device> device;
  End client, headend;

 private:
  static double share(const End& at, const End& from) {
    return from.offered == 0 ? 0 : static_cast<double>(at.delivered.size()) / static_cast<double>(from.offered);
  }
  struct Flying {
    bool at_device, to_headend;
    Wire wire;
  };
  void launch(bool at_device, bool to_headend, Wire wire);
  void arrive(const Flying& flying);
  void drain(End& end);
  void offer(End& from);
  bool step(Instant until);

  transports::ctcp::SynCookies cookies_;
  AddressPair headend_path_;
  std::multimap<Instant, Flying> flying_;
};

}  // namespace switchback::test
