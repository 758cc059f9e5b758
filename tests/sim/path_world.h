// Abstract paths of five transports and two families between a selector and a headend that follows it, in virtual time:
// cuts of each kind, losses, jitter, NATs that forget, restorals. The messages on them are real control messages.
#pragma once

#include <array>
#include <map>
#include <queue>
#include <string>
#include <vector>

#include "common/path/answerer.h"
#include "common/path/follower.h"
#include "common/path/selector.h"
#include "tests/support/seeded_random.h"
#include "tests/support/virtual_clock.h"

namespace switchback::test {

struct Link {
  bool up_out = true, up_in = true;  // client to headend, headend to client
  bool refuses = false;              // a cut that says so: RST or ICMP
  double loss = 0;                   // each direction
  double burst = 1;                  // packets lost in a row, on average; `loss` stays the share of all
  Duration delay = std::chrono::milliseconds{10};
  Duration jitter{};
  bool routed = true, offered = true;  // this host has a way there at all; the headend serves it
  Instant working_since{};
  std::array<bool, 2> losing{};  // within a burst, by direction
  [[nodiscard]] bool works() const noexcept { return up_out && up_in && routed && offered && loss <= 0.1; }
};

class PathWorld {
 public:
  static constexpr std::size_t kLinks = 2 * path::kTransportKinds;  // IPv4, then IPv6
  static constexpr Duration kTick = std::chrono::milliseconds{50};

  explicit PathWorld(std::uint64_t seed, path::SelectorConfig config = default_config(), path::History history = {});
  [[nodiscard]] static path::SelectorConfig default_config();
  /// The same transports, each by both families.
  [[nodiscard]] static path::SelectorConfig dual_config();

  void start();
  void run_until(Instant end);
  void run_for(Duration time) { run_until(clock.now() + time); }

  [[nodiscard]] Link& link(path::TransportKind transport, IpFamily family = IpFamily::v4) {
    return links_[index_of({transport, family})];
  }
  /// Without a family: both.
  void cut(path::TransportKind transport, bool out, bool in, bool says_so, std::optional<IpFamily> family = {});
  void heal(path::TransportKind transport);
  void lossy(path::TransportKind transport, double loss);
  /// Another network with routes of these families; all flows so far are dead.
  void change_network(bool v4, bool v6);
  void offer(const std::vector<path::TransportKind>& kinds);
  /// UDP and ESP: the headend's packets are lost until the client sends. The TCP-like: the flow is gone for good.
  void rebind_nat();
  /// The kernel's connection of the path in use is closed, where it has one.
  void kill_active();
  [[nodiscard]] bool any_works() const;
  [[nodiscard]] std::optional<path::TransportKind> active_transport() const;

  VirtualClock clock;
  SeededRandom random;
  path::Selector selector;
  path::Follower follower;
  bool traffic = true;
  static inline bool trace = false;  // decisions, faults and gaps to standard output

  // What was seen.
  Instant last_out, last_in;     // new data that arrived, each direction
  Duration longest_stuck{};      // without data in a direction although some link worked all that time
  std::uint32_t most_moves = 0;  // within any 60 s, beside those asked for
  std::uint64_t suspicions = 0, twins = 0, events = 0;
  std::string broken;  // an invariant that did not hold; empty is good
  std::vector<path::Event> moves;

 private:
  enum class Kind : std::uint8_t { open, open_ok, refused, auth, auth_ok, data, control };
  struct Message {
    Instant due;
    std::uint64_t order = 0;
    bool out = true;
    path::PathId path;
    Kind kind = Kind::data;
    std::uint64_t number = 0;
    Bytes body;
  };
  struct Later {
    bool operator()(const Message& a, const Message& b) const noexcept {
      return a.due != b.due ? a.due > b.due : a.order > b.order;
    }
  };
  struct Side {  // what one end counts and does on a path
    path::PathTotals totals;
    path::Answerer answerer;
    std::uint64_t data_sent = 0;
  };
  struct Flow {  // both ends' view of one path
    path::Candidate candidate{};
    bool open = false, closed = false;
    bool broken = false;    // a NAT forgot it, and no packet brings it back
    bool unmapped = false;  // a NAT forgot it; the next packet from inside brings it back
    Side client, headend{{}, path::Answerer{follower_config()}, 0};
    [[nodiscard]] bool datagrams() const noexcept {
      return candidate.transport == path::TransportKind::udp || candidate.transport == path::TransportKind::esp;
    }
  };

  [[nodiscard]] static std::size_t index_of(const path::Candidate& candidate) noexcept {
    return static_cast<std::size_t>(candidate.transport) +
           (candidate.family == IpFamily::v6 ? path::kTransportKinds : 0U);
  }
  [[nodiscard]] static path::AnswererConfig follower_config() noexcept {
    path::AnswererConfig config;
    config.probe_every = std::chrono::seconds{5};
    return config;
  }
  template <class Change>
  void change(Link& one, Change&& what) {
    const bool worked = one.works();
    what(one);
    if (!worked && one.works()) one.working_since = clock.now();
  }
  void tick();
  void drain();
  void settle();
  [[nodiscard]] bool loses(Link& one, bool out);
  void send(bool out, path::PathId id, Kind kind, std::uint64_t number = 0, Bytes body = {});
  void send_control(bool out, path::PathId id, const path::ControlMessage& message);
  void deliver(const Message& message);
  void control(bool at_headend, path::PathId id, Flow& flow, const path::ControlMessage& message);
  void check();
  void say(const std::string& what) const;

  std::array<Link, kLinks> links_{};
  std::array<bool, kLinks> used_{};  // there is a candidate for it
  std::map<path::PathId, Flow> flows_;
  std::priority_queue<Message, std::vector<Message>, Later> flying_;
  std::uint64_t order_ = 0, number_out_ = 0, number_in_ = 0, newest_out_ = 0, newest_in_ = 0;
  std::optional<path::PathId> sending_, twin_, authenticating_;
  bool authenticated_ = false;
  std::optional<Instant> next_tick_;
  unsigned ticks_ = 0;
  Instant traffic_since_{};
  std::vector<Instant> move_times_;
};

}  // namespace switchback::test
