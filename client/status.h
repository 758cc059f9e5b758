// What `switchback-client status` tells, as a value, as JSON and as lines for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/time.h"

namespace switchback::client {

struct ChildView {
  std::uint32_t inbound = 0, outbound = 0;  // SPIs
  std::string suite;
  std::string state;
  std::string local, remote;  // selectors
  std::uint64_t in_packets = 0, in_bytes = 0, out_packets = 0, out_bytes = 0;
  std::uint64_t replayed = 0, forged = 0, wrong_selector = 0, too_big = 0;
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
};

/// One line of JSON: {"ok":true, …}.
[[nodiscard]] std::string to_json(const StatusView& status);
/// An answer line of the control socket for people; the text of an error if it is one.
[[nodiscard]] std::string render_status(std::string_view answer);

enum class ControlCommand : std::uint8_t { unknown, status, disconnect };
[[nodiscard]] ControlCommand parse_control_request(std::string_view line);
[[nodiscard]] std::string control_request_line(ControlCommand command);
[[nodiscard]] std::string control_ok();
[[nodiscard]] std::string control_refusal(std::string_view why);

}  // namespace switchback::client
