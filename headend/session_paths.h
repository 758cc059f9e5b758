// The paths of one session at the headend: which there are, which carry its data, and what is known of each. The client
// chooses; the headend follows its claims, answers its probes and tells it what has arrived. Pure: the host feeds it
// what came, and does what poll_action() says.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/random.h"
#include "common/base/time.h"
#include "common/esp/sa.h"
#include "common/path/answerer.h"
#include "common/path/control.h"
#include "common/path/follower.h"
#include "common/path/pmtu.h"
#include "common/path/stall.h"
#include "common/path/types.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::headend {

/// Of one session; the least recently heard that carries nothing goes when another comes.
inline constexpr std::size_t kMaxSessionPaths = 8;
/// Moves of one session that are remembered.
inline constexpr std::size_t kMaxMoves = 100;

/// What is the same for all sessions.
struct PathRules {
  /// Octets around one ESP packet, by TransportId: IPv4, IPv6.
  std::array<std::pair<std::uint16_t, std::uint16_t>, transports::kTransportIds> overhead{};
  std::uint16_t tun_mtu = 1438;

  // Times.
  /// Data is looked for so often, for so long after some came. The client expects a report within half a second of data
  /// that it sends; after path::Timings::idle_after without any it sends a probe first, which wakes us.
  Duration look_every = std::chrono::milliseconds{250};
  Duration look_for = std::chrono::seconds{4};
  Duration probe_every = std::chrono::seconds{2};    // our own, on the path in use while data comes: for RTT and loss
  Duration prove_within = std::chrono::seconds{10};  // a new address of the client, by an answer from there
  Duration prove_every = std::chrono::seconds{1};
  Duration distrust =
      std::chrono::minutes{1};  // after one that was not proven: others are proven before data goes there
  Duration forget_after = std::chrono::minutes{3};  // a path that carries nothing and is silent
  Duration pmtu_idle = std::chrono::seconds{60};    // without data: the path's MTU is not asked for again
};

/// Why data went elsewhere.
enum class MoveCause : std::uint8_t {
  established,  // the session began there
  claimed,      // the client moved
  mobike,       // a standard peer moved, by MOBIKE
  rebound,      // a NAT gave the client another address or port
  closed,       // the path in use was closed, and this one is left
  unproven,     // nothing came back from the address that was claimed: the last proven one is used
};
[[nodiscard]] std::string_view to_string(MoveCause cause) noexcept;

/// The figures are those of the path that was left.
struct Move {
  Instant at{};
  std::optional<AddressPair> from;
  AddressPair to;
  MoveCause cause = MoveCause::established;
  std::optional<Duration> srtt;
  std::optional<double> loss_in, loss_out;
};

enum class PathUse : std::uint8_t { standby, in_use, twin };
[[nodiscard]] std::string_view to_string(PathUse use) noexcept;

/// What `sessions` shows of a path.
struct PathFigures {
  AddressPair path;
  PathUse use = PathUse::standby;
  std::optional<Duration> srtt;
  std::optional<double> loss_in, loss_out;  // 0 to 1
  double goodput_in = 0, goodput_out = 0;   // octets per second
  std::uint16_t mtu = 0;                    // of the outer packet, as far as it is known
  bool mtu_found = false;                   // by probes; else that of our own link
  std::uint64_t sent_packets = 0, received_packets = 0;
  Instant heard{};
  std::array<std::uint64_t, path::kSignals> signals{};
};

class SessionPaths {
 public:
  // --- actions, in the order in which they are to be done
  /// DataPlane::add_path(); answer with handle_added() at once.
  struct AddPath {
    AddressPair path;
  };
  struct RemovePath {
    AddressPair path;
  };
  struct UsePaths {
    AddressPair in_use;
    std::optional<AddressPair> twin;
  };
  struct SendControl {
    AddressPair path;
    Bytes body;
    bool dont_fragment = false;
  };
  /// 0: as large as the TUN gives.
  struct SetInnerMtu {
    std::uint16_t inner_mtu = 0;
  };
  /// For the log; it is in moves() already.
  struct Moved {
    Move move;
  };
  using Action = std::variant<AddPath, RemovePath, UsePaths, SendControl, SetInnerMtu, Moved>;

  /// @param rules, random  outlive it
  SessionPaths(const PathRules& rules, RandomSource& random)
      : rules_{&rules}, random_{&random}, first_id_{public_random<std::uint64_t>(random)} {}

  /// A Child SA is installed and data goes along `path`, where IKE_AUTH came from. If the session had lost all its
  /// Child SAs, its paths are made known again.
  void handle_started(const AddressPair& path, Instant now);
  /// The newest inbound SA, for reports. @param counters  may be null
  void handle_inbound_sa(Spi spi, std::shared_ptr<const esp::SaCounters> counters) noexcept;
  /// What AddPath has given. @param link_mtu  of the way there as the kernel knows it
  void handle_added(const AddressPair& path, std::shared_ptr<const transports::PathActivity> activity,
                    std::uint16_t link_mtu, Instant now);
  /// The body of an authentic dummy packet.
  void handle_control(const transports::ControlReceived& received, Instant now);
  /// Authentic data came by a path that the session does not have.
  void handle_seen(const AddressPair& path, Instant now);
  /// The IKE session moved, as data paths, and its peer has proven to be at `to`.
  void handle_ike_moved(const AddressPair& from, const AddressPair& to, bool rebound, Instant now);
  void handle_closed(const AddressPair& path, Instant now);
  void handle_signal(const AddressPair& path, path::Signal signal, std::uint32_t count) noexcept;
  /// ICMP: only so much fits, says somebody. @param link_mtu  what the kernel makes of it
  void handle_mtu_hint(const AddressPair& path, std::uint32_t outer_octets, std::uint16_t link_mtu, Instant now);
  /// About once a second: whether data came is only seen so.
  void handle_tick(Instant now);
  void handle_deadline(Instant now);

  [[nodiscard]] std::optional<Action> poll_action();
  /// Nothing while no data comes and nothing is to be found out.
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept;

  [[nodiscard]] bool started() const noexcept { return started_; }
  /// The peer has sent authentic control messages.
  [[nodiscard]] bool speaks_control() const noexcept { return speaks_control_; }
  [[nodiscard]] const std::optional<AddressPair>& in_use() const noexcept { return used_.in_use; }
  /// As last set; 0: as large as the TUN gives.
  [[nodiscard]] std::uint16_t inner_mtu() const noexcept { return inner_mtu_.value_or(0); }
  [[nodiscard]] const std::optional<AddressPair>& twin() const noexcept { return used_.twin; }
  [[nodiscard]] bool has(const AddressPair& path) const noexcept;
  /// Whether somebody has answered from the path's remote address.
  [[nodiscard]] bool proven(const AddressPair& path) const noexcept;
  /// Has the remote address of a path that data does not use prove itself, for what else is owed only to a proven one.
  void ask_for_proof(const AddressPair& path, Instant now);
  [[nodiscard]] std::vector<AddressPair> paths() const;
  [[nodiscard]] std::vector<PathFigures> figures() const;
  [[nodiscard]] const std::deque<Move>& moves() const noexcept { return moves_; }
  [[nodiscard]] std::uint64_t moved() const noexcept { return moved_; }  // in all
  [[nodiscard]] std::uint64_t malformed() const noexcept { return malformed_; }

 private:
  struct Slot {
    path::PathId id;
    AddressPair path;
    path::Answerer answerer;
    std::shared_ptr<const transports::PathActivity> activity;
    Instant heard{};  // a control message, or data as the last tick found it
    std::array<std::uint64_t, path::kSignals> signals{};
    std::uint16_t link_mtu = 1500;
    std::optional<path::PmtuSearch> pmtu;
    bool mtu_found = false;                 // the search has come to an end once: what it says is used
    std::optional<Instant> prove_by;        // else it is refused
    std::optional<std::uint64_t> proof_id;  // of the last probe that an answer to would prove the address …
    Instant proof_sent{};                   // … and when it left
    bool refused = false;                   // claimed, but nothing ever came back from there
  };
  struct Used {
    std::optional<AddressPair> in_use, twin;
    friend bool operator==(const Used&, const Used&) = default;
  };

  [[nodiscard]] Slot* find(const AddressPair& path) noexcept;
  [[nodiscard]] Slot* find(std::optional<path::PathId> id) noexcept;
  [[nodiscard]] Slot& touch(const AddressPair& path, Instant now);
  void remove(path::PathId id);
  void claim(Slot& slot, const path::Claim& claim, Instant now);
  /// Does what claims, proofs and closed paths amount to.
  void apply(MoveCause cause, Instant now);
  void prove(const IpAddress& address, Instant now);
  /// The one that was heard last of those at proven addresses, or of all that were not refused.
  [[nodiscard]] Slot* heard_last(bool only_proven) noexcept;
  void send(const AddressPair& path, const path::ControlMessage& message, bool dont_fragment = false);
  void send_proof_probe(Slot& slot, Instant now);
  void poll_answerer(Slot& slot, Instant now);
  /// Whether data came since the last time; if so, it is looked for often for a while.
  void look_for_data(Instant now);
  void work_pmtu(Slot& slot);
  void start_pmtu(Slot& slot, Instant now);
  void set_mtu();
  [[nodiscard]] path::PathTotals totals(const Slot& slot) const noexcept;
  [[nodiscard]] const Slot* slot_in_use() const noexcept;
  [[nodiscard]] bool asks_for_mtu(Instant now) const noexcept;
  [[nodiscard]] std::uint16_t overhead(const AddressPair& path) const noexcept;

  const PathRules* rules_;
  RandomSource* random_;
  std::vector<Slot> slots_;
  path::Follower follower_;
  std::optional<path::PathId> base_;  // used where no claim says otherwise: the last that is proven; else none
  Used used_;
  std::vector<IpAddress> proven_;  // the newest last
  bool started_ = false, speaks_control_ = false;
  std::uint32_t last_slot_ = 0;
  std::uint64_t first_id_;  // of probes that measure: what the client sees of them tells nothing of those that prove
  Spi inbound_spi_;
  std::shared_ptr<const esp::SaCounters> inbound_;
  Instant distrust_until_{};         // somebody claimed an address that nobody answered from
  std::optional<Instant> prove_at_;  // when the address of the path in use is probed again
  std::optional<Instant> look_at_;   // for data, while some came lately
  Instant data_at_{};                // when data was last found to have come
  std::uint64_t data_octets_ = 0;    // that had come by then, on all paths that there have ever been
  std::optional<std::uint16_t> inner_mtu_;
  std::vector<Action> actions_;
  std::size_t next_action_ = 0;
  std::deque<Move> moves_;
  std::uint64_t moved_ = 0, malformed_ = 0;
};

/// Largest inner packet for outer packets of `outer` octets; 0: the TUN's own.
[[nodiscard]] std::uint16_t session_inner_mtu(unsigned outer, unsigned overhead, unsigned tun_mtu) noexcept;

}  // namespace switchback::headend
