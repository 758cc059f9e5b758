// All clients on one socket and one thread: runs phases, and says what came of each.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/deadline_queue.h"
#include "common/crypto/random.h"
#include "tools/load/client.h"
#include "tools/load/credentials.h"
#include "tools/load/headend_watch.h"
#include "tools/load/schedule.h"
#include "tools/load/wire.h"

namespace switchback::load {

struct FleetOptions {
  IpPrefix sources;
  std::size_t sessions = 0;  // at most
  unsigned per_user = 1;
  std::optional<IpAddress> echo;  // what active sessions ask
  std::size_t payload = 56;       // octets of an echo request behind its ICMP header; at least 8
};

/// What became of a phase.
struct PhaseResult {
  std::string text;
  bool reached = true;  // it did what it had to: all up, nobody lost
  double seconds = 0;
  std::size_t up = 0;  // sessions at its end
  Tally tally;
  double busiest_second = 0;  // handshakes in the best of its seconds
  /// storm and restart: when so many of the sessions were up again, since the first of them went down.
  std::optional<Duration> half_back, all_back;
  /// Of the active sessions: the share of echo requests that were answered, the worst session's, and the median.
  std::optional<double> worst_share, median_share;
  std::optional<HeadendSample> before, after;
  std::uint64_t rss_peak = 0;
  WireCounters wire;
};

struct Progress {
  std::string_view phase;
  double done = 0;  // 0 to 1, of the phase's time or its goal, whichever is more
  std::size_t up = 0;
  std::uint64_t handshakes = 0, failures = 0;
};

class Fleet final : private Context {
 public:
  Fleet(FleetOptions options, Users users, Wire wire, std::optional<HeadendWatch> watch);
  ~Fleet() override;

  /// @param progress  called some times a second; false ends the run
  [[nodiscard]] PhaseResult run(const Phase& phase, const std::function<bool(const Progress&)>& progress);
  /// Sends a DELETE for every session.
  void leave();

 private:
  struct Doing;
  void send_ike(const AddressPair& path, ByteView message) override;
  void send_packet(const AddressPair& path, ByteView packet) override;
  void add_ike(IkeSpi own, std::size_t client) override { by_ike_[own] = client; }
  void remove_ike(IkeSpi own) override { by_ike_.erase(own); }
  void add_esp(Spi inbound, std::size_t client) override { by_esp_[inbound] = client; }
  void remove_esp(Spi inbound) override { by_esp_.erase(inbound); }
  void came_up(std::size_t client, Instant now) override;
  void went_down(std::size_t client, Instant now) override;

  void begin(Doing& doing, Instant now);
  /// Does what is due; false when the activity is over.
  [[nodiscard]] bool step(Doing& doing, Instant now, WallTime wall);
  void turn(Instant now, WallTime wall);
  void wait(Instant until);
  void take(ByteView datagram, const AddressPair& path, Instant now, WallTime wall);
  void arm(std::size_t client) { deadlines_.set(client, clients_[client].next_deadline()); }
  void judge(const Phase& phase, std::vector<Doing>& all, PhaseResult& result) const;

  FleetOptions options_;
  Users users_;
  Wire wire_;
  std::optional<HeadendWatch> watch_;
  crypto::SystemRandom system_random_;
  packet::PacketPool packets_{4};
  std::vector<Client> clients_;
  std::unordered_map<IkeSpi, std::size_t> by_ike_;
  std::unordered_map<Spi, std::size_t> by_esp_;
  DeadlineQueue<std::size_t> deadlines_;
  std::size_t wanted_ = 0;  // sessions that ramps have asked for
  std::size_t up_ = 0;
  // Of the present phase.
  std::optional<Instant> first_down_;
  std::vector<Instant> ups_;  // when sessions came up, in order
};

}  // namespace switchback::load
