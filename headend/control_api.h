// The commands that a running headend takes over its control socket, as JSON lines.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/time.h"
#include "transports/offload_status.h"

namespace switchback::headend {

/// One path of a session.
struct PathView {
  AddressPair path;
  std::string_view transport, state;  // literals; in_use, twin or standby
  std::optional<Duration> srtt;
  std::optional<double> loss_in, loss_out;  // 0 to 1; in: towards the headend
  double goodput_in = 0, goodput_out = 0;   // inner octets per second
  unsigned mtu = 0;                         // of the outer packet
  bool mtu_found = false;                   // by probes
  std::uint64_t sent_packets = 0, received_packets = 0;
  Duration idle{};
  std::vector<std::pair<std::string_view, std::uint64_t>> signals;  // of what has been seen at all
};

/// Data went elsewhere; the figures are those of the path that was left.
struct MoveView {
  WallTime at{};
  std::optional<AddressPair> from;  // none: it began there
  AddressPair to;
  std::string_view from_transport, to_transport, cause;  // literals
  std::optional<Duration> srtt;
  std::optional<double> loss_in, loss_out;
};

/// One session as `sessions` shows it.
struct SessionView {
  std::uint64_t id = 0;  // what `kick` takes
  std::string user;      // empty before authentication
  std::string identity;
  std::string state;
  std::string transport;  // of the path in use
  AddressPair path;       // in use
  AddressPair ike_path;
  bool in_band = false;  // the client sends control messages: it has more than one path, and says which to use
  std::vector<PathView> paths;
  std::vector<MoveView> moves;  // the last 100
  std::uint64_t moved = 0;      // in all
  std::vector<IpAddress> addresses;
  std::optional<WallTime> since;  // established
  Duration idle{};                // since an authenticated packet last came
  std::uint64_t in_packets = 0, in_octets = 0, out_packets = 0, out_octets = 0;
  std::string ike_suite, esp_suite;
  unsigned children = 0;
};

struct PoolView {
  IpPrefix prefix;
  std::uint64_t capacity = 0, in_use = 0, reserved = 0;
};

/// One transport of the headend.
struct TransportView {
  std::string_view name;  // a literal
  std::string failure;    // why it does nothing any more; empty while it works
  std::vector<Endpoint> listening;
  std::size_t sessions = 0;  // whose data goes by it
  std::vector<std::pair<std::string_view, std::uint64_t>> counters;
};

struct WorkerView {
  std::size_t sessions = 0;  // whose packets it carries
  std::vector<std::pair<std::string_view, std::uint64_t>> counters;
};

/// The whole headend as `status` shows it.
struct StatusView {
  std::string version;
  WallTime started{};
  Duration uptime{};
  std::string identity, tun;
  std::vector<Endpoint> listening;
  std::size_t sessions = 0, established = 0, half_open = 0, users_online = 0;
  std::vector<PoolView> pools;
  bool forwarding = false;
  std::string nat;  // "off", "owned" or "plain"
  std::vector<std::pair<std::string, std::uint64_t>> counters;
  std::vector<TransportView> transports;  // in the order of preference
  std::vector<WorkerView> workers;
  std::vector<transports::OffloadView> offloads;
};

/// What kick and user_removed end.
struct KickTarget {
  std::optional<std::uint64_t> id;
  std::string user;                  // or
  std::optional<IpAddress> address;  // or an inner address
  bool all = false;                  // or
};

/// The running headend, seen from here.
class ControlBackend {
 public:
  virtual ~ControlBackend() = default;
  [[nodiscard]] virtual StatusView status() const = 0;
  [[nodiscard]] virtual std::vector<SessionView> sessions() const = 0;
  /// Ends sessions with a DELETE; returns how many.
  virtual std::size_t kick(const KickTarget& target) = 0;
  /// The store has changed: ends the sessions of revoked users. Returns how many.
  virtual std::size_t users_changed() = 0;

 protected:
  ControlBackend() = default;
  ControlBackend(const ControlBackend&) = default;
  ControlBackend& operator=(const ControlBackend&) = default;
};

/// Answers one request line; never throws, whatever the line. Requests: {"command":"status"}, {"command":"sessions"},
/// {"command":"kick", and one of "id":7, "user":"alice", "address":"10.99.0.2", "all":true},
/// {"command":"users_changed"}. Answers are {"ok":true,…} or {"ok":false,"error":"…"}.
[[nodiscard]] std::string handle_control_request(std::string_view line, ControlBackend& backend);

/// Request lines, for the commands.
[[nodiscard]] std::string status_request();
[[nodiscard]] std::string sessions_request();
[[nodiscard]] std::string kick_request(const KickTarget& target);
[[nodiscard]] std::string users_changed_request();

/// What the commands make of an answer: its error, or how many sessions were ended (0 if it does not say).
struct ControlAnswer {
  bool ok = false;
  std::string error;
  std::size_t ended = 0;
};
[[nodiscard]] ControlAnswer parse_control_answer(std::string_view line);
/// For people: tables made of the answers to status and sessions.
[[nodiscard]] std::string render_status(std::string_view answer);
[[nodiscard]] std::string render_sessions(std::string_view answer);

}  // namespace switchback::headend
