// The path selector's shell: what it wants done is done here, and what happens to paths is told to it.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/config.h"
#include "client/path_lines.h"
#include "client/targets.h"
#include "client/tunnel.h"
#include "common/base/random.h"
#include "common/io/event_loop.h"
#include "common/path/answerer.h"
#include "common/path/offer.h"
#include "common/path/pmtu.h"
#include "common/path/selector.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::client {

/// What the paths need of the session's owner. Calls come from within the members of Paths.
class PathsHost {
 public:
  /// IKE_SA_INIT on that path, then Paths::handle_ike_answered() or handle_ike_failed().
  virtual void begin_ike(path::PathId id, path::TransportKind transport, const AddressPair& ike) = 0;
  /// Forget what begin_ike() began, if anything. The session in use is not meant.
  virtual void drop_ike(path::PathId id) = 0;
  /// IKE_AUTH there, then Paths::handle_authenticated() or handle_ike_failed().
  virtual void authenticate(path::PathId id) = 0;
  /// Data goes there from now on, and so should IKE.
  virtual void data_moved(path::TransportKind transport, const AddressPair& ike) = 0;
  virtual void path_event(const path::Event& event) = 0;

 protected:
  ~PathsHost() = default;
};

/// A decision of the selector with the time of day, for people.
struct DatedEvent {
  WallTime at{};
  path::Event event;
};

/// One session at a time, from the race for its first path to its end. Control thread only.
class Paths {
 public:
  Paths(io::EventLoop& loop, const Config& config, Tunnel& tunnel, PathsHost& host, RandomSource& random);
  ~Paths();
  Paths(const Paths&) = delete;
  Paths& operator=(const Paths&) = delete;

  /// Begins the race. @param tag  of the session to come
  /// @param addresses  the headend's: of each family those first that a way leads to now
  void start(transports::SessionTag tag, std::vector<IpAddress> addresses, Instant now);
  /// Lets go of all paths; the data plane has forgotten the session already. Idempotent.
  void stop(Instant now);
  [[nodiscard]] bool running() const noexcept { return selector_.has_value(); }

  // ---- what IKE says
  void handle_ike_answered(path::PathId id, const AddressPair& ike, bool local_behind_nat, Instant now);
  void handle_ike_failed(path::PathId id, std::string why, Instant now);
  /// The session is authenticated on this path, and its first Child SA installed. @param offer  null: a standard peer,
  /// which knows nothing of paths: only this one is used
  void handle_authenticated(path::PathId id, const path::Offer* offer, Instant now);
  /// MOBIKE, or the peer's NAT, has moved the session of a standard peer.
  void handle_moved(const AddressPair& to, Instant now);

  // ---- what the data plane says
  void handle(const transports::PathOpened& event, Instant now);
  void handle(const transports::PathFailed& event, Instant now);
  void handle(const transports::PathClosed& event, Instant now);
  void handle(const transports::PathSignal& event, Instant now);
  void handle(const transports::PathHint& event, Instant now);
  void handle(const transports::ControlReceived& event, Instant now);
  /// A transport is gone as a whole. False: there is no other.
  [[nodiscard]] bool handle_transport_failed(transports::TransportId transport, const std::string& why, Instant now);

  // ---- what the host's network and people say
  /// Addresses, routes or links changed. @param returned  there was no way to the headend for a while
  void handle_network_changed(bool returned, Instant now);
  /// Data may flow again after a pause: cheap, to be called twice a second or so.
  void look(Instant now);
  /// Move there as soon as it is shown to work; path_event() tells of `moved` or `declined`. Errors: why it cannot be.
  [[nodiscard]] Result<void, UserError> request(path::TransportKind transport, Instant now);

  /// Where ESP of the path goes; empty if it is not open.
  [[nodiscard]] AddressPair data_path(path::PathId id) const;
  /// The path in use; nothing before the first.
  [[nodiscard]] std::optional<AddressPair> in_use() const;
  [[nodiscard]] std::optional<path::TransportKind> transport_in_use() const;
  [[nodiscard]] path::SelectorState state() const noexcept;
  /// The peer takes part: probes, reports, several transports.
  [[nodiscard]] bool peer_takes_part() const noexcept { return authenticated_ && !standard_peer_; }
  /// Every candidate that a way leads to has failed so many times, and at each of its addresses and ports.
  [[nodiscard]] bool exhausted(std::uint32_t times) const noexcept { return targets_.exhausted(times, v4_, v6_); }
  [[nodiscard]] const std::vector<PathFailure>& failures() const noexcept { return failures_; }
  [[nodiscard]] const Targets& targets() const noexcept { return targets_; }
  [[nodiscard]] const std::deque<DatedEvent>& events() const noexcept { return log_; }
  /// Over all sessions.
  [[nodiscard]] std::uint64_t moves() const noexcept;

  /// What `status` shows of one path.
  struct View {
    path::PathStatus status;
    AddressPair data;
    bool in_use = false;
    std::uint16_t outer_mtu = 0;  // 0: not searched for
    std::string pmtu_state;       // of the search; empty without one
    double goodput_out = 0;       // inner octets per second, by the peer's reports
    std::uint64_t sent_packets = 0, received_packets = 0, received_octets = 0;
  };
  [[nodiscard]] std::vector<View> views() const;

 private:
  struct Entry {
    path::PathId id;
    path::Candidate candidate;
    Endpoint target;
    std::uint64_t request = 0;                                 // of open_path(), while it is under way
    AddressPair data, ike;                                     // empty until known
    std::shared_ptr<const transports::PathActivity> activity;  // once the session has the path
    path::Answerer answerer;
    std::optional<path::PmtuSearch> pmtu;
    Instant pmtu_begun{};
    std::string why;  // it failed
    std::array<std::uint64_t, 16>
        probes{};  // the last that were sent: two paths of datagrams may share their addresses
    std::size_t next_probe = 0;
  };

  void drain(Instant now);
  void perform(const path::Action& action, Instant now);
  void note(const path::Event& event);
  void open(const path::OpenPath& action, Instant now);
  void close(path::PathId id);
  void move_to(path::PathId id, Instant now);
  void opened(Entry& entry, Instant now);
  void failed(Entry& entry, std::string why, Instant now);
  void attach(Entry& entry);
  void use(Instant now);
  void relocate(Entry& entry, const AddressPair& to, Instant now);

  void send(Entry& entry, const path::ControlMessage& message, bool dont_fragment = false);
  void send_probe(Entry& entry, const path::SendProbe& action, Instant now);
  void serve(Entry& entry, Instant now);
  void begin_pmtu(Entry& entry, Instant now);
  void apply_mtu(Instant now);
  [[nodiscard]] std::optional<std::uint16_t> outer_mtu(const Entry& entry, Instant now) const;
  [[nodiscard]] path::PathTotals totals(const Entry& entry) const;
  [[nodiscard]] path::Claim claim(const Entry& entry) const noexcept;
  void feed_activity(Instant now);
  void on_timer(Instant now);
  void arm(Instant now);

  [[nodiscard]] Entry* find(path::PathId id) noexcept;
  [[nodiscard]] const Entry* find(path::PathId id) const noexcept;
  /// The newest of these addresses: one that was left goes on receiving while the same is opened again.
  [[nodiscard]] Entry* find(const AddressPair& data) noexcept;
  [[nodiscard]] Entry* find_probed(const AddressPair& data, std::uint64_t probe) noexcept;
  [[nodiscard]] bool shared(const Entry& entry) const noexcept;

  const Config& config_;
  Tunnel& tunnel_;
  PathsHost& host_;
  RandomSource& random_;
  io::EventLoop::Timer timer_;

  std::optional<path::Selector> selector_;
  path::History history_;
  std::string history_file_;
  Targets targets_;
  transports::SessionTag tag_;
  std::map<path::PathId, Entry> entries_;
  std::optional<path::PathId> in_use_, twin_;
  bool authenticated_ = false, standard_peer_ = false, classic_ = false;
  bool v4_ = false, v6_ = false;
  path::NetworkId network_;
  std::uint64_t next_request_ = 1;
  std::uint64_t moves_before_ = 0;  // of sessions that have ended
  std::vector<PathFailure> failures_;
  std::deque<DatedEvent> log_;
  bool draining_ = false;

  std::uint64_t traffic_ = 0;  // a sum that grows with traffic
  Instant last_traffic_{};
  std::optional<std::uint16_t> applied_mtu_;
};

/// Octets of a control message's body that make an outer IP packet of (nearly) that size, never a larger one.
/// @param overhead  of outer IP header, transport and framing
[[nodiscard]] std::uint16_t pmtu_body_octets(std::uint16_t packet_octets, unsigned overhead) noexcept;

}  // namespace switchback::client
