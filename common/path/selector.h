// The path selector: which paths are opened, which one carries the session, when it is left and for which. Pure:
// signals, answers and `now` go in; actions, events and the next deadline come out. docs/path-selector.md draws its
// states.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "common/base/time.h"
#include "common/path/control.h"
#include "common/path/events.h"
#include "common/path/history.h"
#include "common/path/measure.h"
#include "common/path/stall.h"
#include "common/path/states.h"
#include "common/path/types.h"

namespace switchback::path {

inline constexpr std::size_t kMaxCandidates = 16;
/// Of all states together; what would exceed it is not opened.
inline constexpr std::size_t kMaxPaths = 48;

struct SelectorConfig {
  /// In the order of preference. The families of one transport are equally good: v6 gets a small head start, and
  /// nothing moves between them as long as the one in use works. What exceeds kMaxCandidates is ignored.
  std::vector<Candidate> candidates;
  std::optional<TransportKind> forced;  // only this one is ever tried
  /// Whether the peer sends reports. A standard peer does not: the shell turns SendProbe into an IKE liveness check on
  /// that path, and whatever is authentic counts as a sign that data arrives.
  bool peer_reports = true;
  NetworkId network;
  std::uint64_t first_probe_id = 1;
  Timings timings;
};

/// Start the transport of the candidate, towards its remote address; report handle_path_opened or handle_path_failed.
struct OpenPath {
  PathId path;
  Candidate candidate;
};
/// The path is of no use any more: release what belongs to it. Nothing is expected in return.
struct ClosePath {
  PathId path;
  Reason reason = Reason::none;
};
/// Complete IKE_AUTH on this path; report handle_authenticated or handle_path_failed.
struct Authenticate {
  PathId path;
};
/// Send a Probe with these fields on this path.
struct SendProbe {
  PathId path;
  std::uint64_t id = 0;
  Claim claim;
};
/// Send data on this path from now on, and make it formal (MOBIKE). `from` keeps receiving until it is closed.
struct MoveTo {
  PathId path;
  std::optional<PathId> from;
};
/// Send data on this path too; the peer's replay window drops what comes twice. It need not be validated yet.
struct StartTwin {
  PathId path;
};
struct StopTwin {
  PathId path;
};
/// Much of what is sent on this path does not arrive, though probes do: PmtuSearch::handle_large_lost().
struct CheckMtu {
  PathId path;
};
using Action = std::variant<OpenPath, ClosePath, Authenticate, SendProbe, MoveTo, StartTwin, StopTwin, CheckMtu>;

/// Running totals of a path since it was opened, as the packet thread counts them.
struct Activity {
  std::uint64_t sent_packets = 0;      // of data; control messages apart
  std::uint64_t received_packets = 0;  // authentic, control messages included
  std::uint64_t received_octets = 0;
  std::uint64_t sent_all = 0;  // data and control messages; 0: not known
};

/// What `status` shows of a path.
struct PathStatus {
  PathId path;
  Candidate candidate;
  PathState state = PathState::gone;
  bool twin = false;
  std::optional<Duration> srtt;
  Duration rtt_variation{};
  std::optional<double> loss_out, loss_in;  // 0 to 1
  double goodput_in = 0;                    // octets per second
  std::uint64_t probes = 0, answers = 0;
  std::array<std::uint64_t, kSignals> signals{};  // counts since the path was opened
};

class Selector {
 public:
  Selector(SelectorConfig config, History history);

  // ---- inputs. Ids that are unknown or gone are ignored everywhere: answers may come late.
  void handle_start(Instant now);
  /// The transport is open: an IKE_SA_INIT came back, a connection stands.
  void handle_path_opened(PathId path, Instant now);
  /// It could not be opened, IKE_AUTH failed there, or the system will not send on it any more.
  void handle_path_failed(PathId path, Instant now);
  /// IKE_AUTH is complete; ESP works from now on.
  void handle_authenticated(PathId path, Instant now);
  /// An answer that came by `path`. One that came by another path than its probe is ignored.
  void handle_probe_answer(PathId path, const ProbeAnswer& answer, Instant now);
  /// @param received_packets  how many authentic packets this path had brought when the report came
  void handle_report(PathId path, const Report& report, std::uint64_t received_packets, Instant now);
  /// Something seen outside the cryptography. @param count  how often since the last call
  void handle_signal(PathId path, Signal signal, std::uint32_t count, Instant now);
  /// Call it every 50 ms or so while there is traffic.
  void handle_activity(PathId path, const Activity& activity, Instant now);
  /// Link or addresses changed; `v4` and `v6`: whether there is a route to the peer by that family now.
  void handle_network_changed(NetworkId network, bool v4, bool v6, Instant now);
  /// What the authenticated peer offers; candidates of other transports are not tried any more.
  void handle_offer(std::span<const TransportKind> offered, Instant now);
  /// Something that is no fault of the path rules the transport out on this network: native ESP behind a NAT. Holds
  /// until handle_network_changed(). A path in use goes on until there is another one.
  void handle_unusable(TransportKind transport, Instant now);
  /// The user wants that transport now. It is opened beside the one in use, and data moves there once it is validated;
  /// then it is preferred to all others until it stalls. What does not work out within 10 s is `declined`.
  void handle_request(TransportKind transport, Instant now);
  void handle_stop(Instant now);
  void handle_deadline(Instant now);

  // ---- outputs, to be drained after every input
  [[nodiscard]] std::optional<Action> poll_action();
  [[nodiscard]] std::optional<Event> poll_event();
  [[nodiscard]] std::optional<Instant> next_deadline() const;

  [[nodiscard]] SelectorState state() const noexcept { return state_.get(); }
  /// The path that data goes on; it may be suspect or stalled.
  [[nodiscard]] std::optional<PathId> active() const noexcept;
  [[nodiscard]] std::optional<PathId> twin() const noexcept { return twin_; }
  /// Number of the present choice of path in use and twin; what every Claim of ours carries.
  [[nodiscard]] std::uint32_t decision() const noexcept { return decision_; }
  [[nodiscard]] std::uint64_t moves() const noexcept { return moves_; }
  [[nodiscard]] std::vector<PathStatus> paths() const;
  [[nodiscard]] const EventLog& log() const noexcept { return log_; }
  [[nodiscard]] const History& history() const noexcept { return history_; }

 private:
  static constexpr std::size_t kProbesRemembered = 16;
  struct SentProbe {
    std::uint64_t id = 0;
    std::uint32_t decision = 0;
    Instant at{};
    enum : std::uint8_t { waiting, overdue, answered } state = answered;
    std::uint64_t sent_all = 0;  // on the path, when it was sent
  };
  struct SignalWindow {
    Instant begun{};
    std::uint32_t count = 0;
    std::uint64_t total = 0;
  };
  struct Path {
    PathId id;
    std::size_t candidate = 0;
    Tracked<PathState> state{PathState::opening};
    Reason reason = Reason::none;  // why it was tried
    Instant since{};               // in its state
    Duration opened_in{};          // zero where there was nothing to wait for
    bool dead = false;             // the system refuses to send: no probes, no recovery

    std::array<SentProbe, kProbesRemembered> probes{};
    std::size_t next_slot = 0;
    std::optional<Instant> next_probe;
    Duration probe_interval{};             // while validating; doubles
    std::uint32_t missed = 0;              // in a row
    std::uint32_t asked = 0, answers = 0;  // since the path entered its state
    std::uint64_t asked_total = 0, answers_total = 0;
    std::uint32_t told = 0;  // newest decision that the peer is known to have heard on this path

    RttEstimator rtt;
    LossMeter loss_out, loss_in;
    LossMeter loss_probed;  // outwards, by answers to probes: reports stop where nothing arrives
    std::optional<Instant> mtu_doubted;
    GoodputMeter goodput;
    Activity activity;
    std::uint64_t reported = 0;  // received_count of the peer's newest report
    std::optional<Instant> unconfirmed_since, last_data;

    std::array<SignalWindow, kSignals> signals{};
    std::optional<Signal> suspicion;
    std::optional<Instant> verdict_at;
    std::optional<Instant> ailing_since;  // of this suspicion: the oldest data that was not confirmed then

    [[nodiscard]] bool tried() const noexcept {
      return state.any_of(PathState::opening, PathState::answered, PathState::validating);
    }
    [[nodiscard]] bool carries() const noexcept {
      return state.any_of(PathState::active, PathState::suspect, PathState::stalled);
    }
  };
  struct Entry {  // a candidate and what is remembered of it
    Candidate candidate;
    std::size_t rank = 0;  // of its transport; less is better
    bool offered = true, unusable = false;
    std::uint32_t stalls = 0;
    std::optional<Instant> left_alone_until, failed_at;
    Duration retry_interval{};  // in the background, from failed_at
    Duration outage_pause{};    // in an outage, from failed_at
  };
  struct Request {
    TransportKind transport{};
    Instant until{};
    bool begun = false;  // its candidates were opened
  };

  // Inputs end here: everything that is due is done, rules first that free the way for others.
  void work(Instant now);
  void expire(Path& path, Instant now);
  void watch(Path& path, Instant now);
  void authenticate(Instant now);
  void choose(Instant now);
  void fulfil(Instant now);
  void climb(Instant now);
  void give_up_or_retry(Instant now);
  void race(Instant now);
  void send_probes(Instant now);

  void start_race(Instant now, bool own_too, Duration stagger);
  void open(std::size_t candidate, Reason reason, Instant now);
  void enter(Path& path, PathState next, Instant now);
  void enter(SelectorState next);
  void validated(Path& path, Instant now);
  void raise(Path& path, Signal signal, std::uint32_t count, Instant now);
  void suspect(Path& path, Signal signal, const Figures& figures, Instant now);
  void clear(Path& path, Instant now);
  void stall(Path& path, Instant now);
  void lose(Path& path, EventKind kind, Reason reason, Instant now);
  void close_tried(Instant now, bool worse_only);
  void move_to(Path& path, Reason reason, Instant now);
  void doubt_mtu(Path& path, const LossMeter& loss, Instant now);
  void decline(Instant now);
  void start_twin(Path& path, Instant now);
  void stop_twin(Instant now);
  void decide(Instant now);
  void record(const Path& path, EventKind kind, Instant now, Reason reason, const Figures& figures = {},
              std::optional<Signal> signal = {});

  [[nodiscard]] Path* find(PathId id) noexcept;
  [[nodiscard]] Path* carrier() noexcept;
  [[nodiscard]] const Path* carrier() const noexcept;
  [[nodiscard]] const Path* best_standby(bool better_only) const noexcept;
  [[nodiscard]] bool usable(const Entry& entry) const noexcept;
  [[nodiscard]] std::size_t rank(const Entry& entry) const noexcept;
  [[nodiscard]] std::size_t rank(const Path& path) const noexcept { return rank(entries_[path.candidate]); }
  [[nodiscard]] bool requested(const Path& path) const noexcept {
    return request_ && entries_[path.candidate].candidate.transport == request_->transport;
  }
  [[nodiscard]] bool busy(Instant now) const noexcept;
  [[nodiscard]] Instant outage_retry_at(const Entry& entry) const noexcept;
  [[nodiscard]] Instant authenticate_until() const noexcept;
  [[nodiscard]] bool to_be_retried(std::size_t candidate) const noexcept;
  [[nodiscard]] bool nothing_answers() const noexcept;
  [[nodiscard]] bool being_tried(std::size_t candidate, bool standby_too) const noexcept;
  [[nodiscard]] std::optional<std::size_t> next_to_climb(const Path& active) const noexcept;
  [[nodiscard]] Instant climb_at(const Entry& entry) const noexcept;
  [[nodiscard]] std::optional<Instant> head_start_until() const noexcept;
  [[nodiscard]] Instant up_at(const Path& better) const noexcept;
  [[nodiscard]] bool anything_tried() const noexcept;
  [[nodiscard]] std::optional<Instant> move_allowed_at() const noexcept;
  [[nodiscard]] Duration validate_timeout(const Path& path) const noexcept;
  [[nodiscard]] Duration patience(const Path& path) const noexcept;
  [[nodiscard]] Duration silence_limit(const Path& path) const noexcept;
  [[nodiscard]] Duration probe_interval(const Path& path, Instant now) const noexcept;
  [[nodiscard]] std::optional<Instant> path_deadline(const Path& path) const;
  [[nodiscard]] Claim claim_of(const Path& path) const noexcept;
  [[nodiscard]] Figures figures_of(const Path& path) const noexcept;

  SelectorConfig config_;
  History history_;
  Tracked<SelectorState> state_{SelectorState::idle};
  bool authenticated_ = false;
  bool v4_ = true, v6_ = true;
  std::vector<Entry> entries_;
  std::deque<Path> paths_;  // references stay valid while paths are added
  std::optional<PathId> twin_, authenticating_;
  Instant authenticate_since_{};
  std::optional<Request> request_;
  std::optional<TransportKind> preferred_;  // by a request that was fulfilled
  bool busy_ = true;                        // data was sent of late; as of the last input
  bool held_ = false;
  std::uint32_t next_path_ = 1;
  std::uint64_t next_probe_id_;
  std::uint32_t decision_ = 0;

  std::deque<std::size_t> queue_;  // candidates of the race that have not been started
  std::optional<Instant> next_start_;
  Reason race_reason_ = Reason::start;
  Duration race_stagger_{};
  Instant outage_since_{};

  std::uint64_t moves_ = 0;
  std::optional<Instant> last_move_;
  std::deque<Instant> recent_moves_;

  std::deque<Action> actions_;
  std::deque<Event> events_;
  EventLog log_;
};

}  // namespace switchback::path
