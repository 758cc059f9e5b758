// What `switchback-client status` tells, as a value, as JSON and as lines for people.
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

namespace switchback::client {

struct ChildView {
  std::uint32_t inbound = 0, outbound = 0;  // SPIs
  std::string suite;
  std::string state;
  std::string local, remote;  // selectors
  std::uint64_t in_packets = 0, in_bytes = 0, out_packets = 0, out_bytes = 0;
  std::uint64_t replayed = 0, forged = 0, wrong_selector = 0, too_big = 0;
};

struct PathView {
  std::uint32_t id = 0;
  std::string transport, family, state;
  std::string role;           // "in_use", "twin" or "standby"
  std::string local, remote;  // empty while it is being opened
  bool measured = false;      // the peer answers probes: without, there are no figures
  std::optional<double> rtt_ms;
  double rtt_variation_ms = 0;
  std::optional<double> loss_out, loss_in;  // 0 to 1
  double goodput_out = 0, goodput_in = 0;   // inner octets per second
  std::uint16_t outer_mtu = 0;              // found by probes; 0: not searched for
  std::string pmtu_state;
  std::uint64_t probes = 0, answers = 0;
  std::uint64_t sent_packets = 0, received_packets = 0, received_octets = 0;
  std::vector<std::pair<std::string, std::uint64_t>> signals;  // of a stall, by name
};

/// A decision about paths.
struct PathEventView {
  WallTime at{};
  std::string kind, transport, family, from, signal, reason;  // empty where it says nothing
  std::string text;                                           // for people
};

struct StatusView {
  std::string version;
  std::string profile;  // the user's name in it
  std::string tun;
  std::string state;  // "connecting", "up", "reconnecting", "closing"
  std::string transport;
  std::string headend;  // identity
  AddressPair path;
  std::vector<IpPrefix> addresses, routes;
  std::vector<IpAddress> dns;
  std::string dns_method;
  bool blocked_v4 = false, blocked_v6 = false;
  std::uint16_t mtu = 0;
  std::string ike_suite;
  bool behind_nat = false, mobike = false;
  std::optional<WallTime> since;                                               // of the present session
  std::uint64_t sessions = 0;                                                  // established since the start
  std::string last_event;                                                      // the last line that `connect` printed
  std::uint64_t in_packets = 0, in_bytes = 0, out_packets = 0, out_bytes = 0;  // over all sessions
  std::uint64_t no_outbound = 0, esp_replayed = 0, esp_forged = 0, too_big = 0;
  std::vector<ChildView> children;

  std::string path_state;  // of the selector: "racing", "settled", "doubting", "outage" …
  std::vector<std::string> order;
  std::string forced;                                         // a transport, or empty
  std::vector<std::pair<std::string, std::string>> left_out;  // transports that cannot be opened here, and why
  bool standard_peer = false;                                 // it takes no part in choosing paths
  std::uint64_t moves = 0;                                    // over all sessions
  std::vector<PathView> paths;
  std::vector<PathEventView> events;  // the last ones, oldest first
  std::vector<transports::OffloadView> offloads;
};

/// One line of JSON: {"ok":true, …}.
[[nodiscard]] std::string to_json(const StatusView& status);
/// An answer line of the control socket for people; the text of an error if it is one.
[[nodiscard]] std::string render_status(std::string_view answer);

enum class ControlCommand : std::uint8_t { unknown, status, disconnect, use };
struct ControlRequest {
  ControlCommand command = ControlCommand::unknown;
  std::string transport;  // of `use`
};
[[nodiscard]] ControlRequest parse_control_request(std::string_view line);
[[nodiscard]] std::string control_request_line(const ControlRequest& request);
/// The error of an answer line; nothing if all is well.
[[nodiscard]] std::optional<std::string> control_error(std::string_view answer);
[[nodiscard]] std::string control_ok();
[[nodiscard]] std::string control_refusal(std::string_view why);

}  // namespace switchback::client
