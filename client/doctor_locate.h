// What the doctor's search for lost packets asks for, finds, and keeps while it runs.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/doctor_facts.h"
#include "client/locate_estimate.h"
#include "client/locate_trail.h"
#include "common/io/hop_limited.h"
#include "common/path/control.h"
#include "common/path/limited_probes.h"

namespace switchback::client::doctor {

struct LocateRequest {
  std::vector<WayKind> ways;  // the best first; the first that works is measured
  Duration length = std::chrono::seconds{60};
  std::function<bool()> interrupted = [] { return false; };
  /// How far it has come, about once a second.
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

/// One direction of what was measured.
struct LocatedDirection {
  locate::Evidence evidence;
  locate::Findings findings;
  std::string no_hops;  // why routers could not be asked; empty: they were
};

struct LocateResult {
  std::string failure;  // nothing was measured: why
  WayKind way = WayKind::udp_4500;
  Endpoint local, remote;
  Duration took{};
  std::uint64_t packets = 0;   // that were sent from here
  bool interrupted = false;    // before it was as exact as it would have become
  LocatedDirection out, back;  // towards the headend; from it
};

/// Of a search under way.
struct Locating {
  std::size_t way = 0;
  std::uint64_t trace = 0;  // id that the headend's packets and reports have

  // Towards the headend: packets of ours that expire on the way.
  struct Pending {
    std::uint8_t limit = 0;
    std::optional<Instant> sent;  // once it has left
  };
  std::map<std::uint64_t, Pending> pending;  // by token
  std::uint64_t next_token = 1;
  path::LimitedProbes probes;
  std::optional<io::IcmpSocket> icmp;
  std::uint64_t limited_sent = 0;
  bool possible = true;  // the transport sends such packets on this path

  /// While the length of the way is looked for: who answered, and what arrived, by hop limit.
  std::map<std::uint64_t, std::uint8_t> reaching;  // probes with a hop limit, by id
  std::array<bool, path::kMaxTraceHops + 1> out_answered{}, out_reached{}, back_answered{}, back_reached{};

  // From the headend: the newest report, and when it came.
  std::optional<path::TraceReport> report;
  Instant reported{};
  std::uint32_t reports = 0;
  std::map<std::uint8_t, path::TraceHop> told;  // by hop limit: what the trail has been told of
  Instant told_at{};

  std::optional<locate::Trail> out, back;
};

}  // namespace switchback::client::doctor
