// A selector under any sequence of inputs: its tables hold (they are asserted), its deadlines come to rest, its bounds
// on paths, moves and events hold, and what it asks for is consistent.
#include <algorithm>
#include <cstdlib>
#include <deque>
#include <set>

#include "common/path/selector.h"

using namespace switchback;
using namespace switchback::path;

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

struct Shell {
  Selector selector;
  std::set<PathId> open;
  std::vector<SendProbe> probes;
  std::deque<Instant> moves;
  std::optional<PathId> sending, twin;

  void drain(Instant now) {
    while (const auto action = selector.poll_action()) {
      if (const auto* opened = std::get_if<OpenPath>(&*action)) require(open.insert(opened->path).second);
      if (const auto* closed = std::get_if<ClosePath>(&*action)) {
        require(open.erase(closed->path) == 1);
        require(selector.state() == SelectorState::stopped || (sending != closed->path && twin != closed->path));
      }
      if (const auto* probe = std::get_if<SendProbe>(&*action)) {
        require(open.count(probe->path) == 1);
        probes.push_back(*probe);
        if (probes.size() > 64) probes.erase(probes.begin());
      }
      if (const auto* move = std::get_if<MoveTo>(&*action)) {
        require(open.count(move->path) == 1);
        sending = move->path;
        if (move->from) moves.push_back(now);
      }
      if (const auto* check = std::get_if<CheckMtu>(&*action)) require(open.count(check->path) == 1);
      if (const auto* start = std::get_if<StartTwin>(&*action)) {
        require(!twin && open.count(start->path) == 1);
        twin = start->path;
      }
      if (const auto* stop = std::get_if<StopTwin>(&*action)) {
        require(twin == stop->path);
        twin.reset();
      }
    }
    while (const auto event = selector.poll_event()) require(!describe(*event).empty());
    while (!moves.empty() && now - moves.front() >= Timings{}.moves_period) moves.pop_front();
    require(moves.size() <= Timings{}.moves_most);
    require(selector.paths().size() <= kMaxPaths);
    require(selector.log().all().size() <= EventLog::kKept);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  WireReader input{{data, std::min(size, std::size_t{4096})}};
  SelectorConfig config;
  const unsigned candidates = input.u8() % 12U;
  for (unsigned i = 0; i < candidates; ++i) {
    config.candidates.push_back(
        {TransportKind{static_cast<std::uint8_t>(i % kTransportKinds)}, i % 3 == 0 ? IpFamily::v6 : IpFamily::v4});
  }
  const auto options = input.u8();
  if ((options & 1U) != 0) config.forced = TransportKind::ctcp;
  config.peer_reports = (options & 2U) != 0;
  config.network = NetworkId{1};
  Shell shell{Selector{std::move(config), History{}}, {}, {}, {}, {}, {}};
  auto& selector = shell.selector;
  Instant now{std::chrono::hours{1}};
  selector.handle_start(now);
  shell.drain(now);
  std::uint64_t total = 0;
  while (input.ok() && !input.at_end()) {
    const auto what = input.u8();
    const PathId path{input.u8()};
    const auto value = input.u8();
    switch (what % 16) {
      case 0: selector.handle_path_opened(path, now); break;
      case 1: selector.handle_path_failed(path, now); break;
      case 2: selector.handle_authenticated(path, now); break;
      case 3:
      case 4:
      case 5: {
        if (shell.probes.empty()) break;
        const auto& probe = shell.probes[shell.probes.size() - 1 - value % shell.probes.size()];
        ProbeAnswer answer;
        answer.id = probe.id;
        answer.received_count = total / (1U + value % 4U);
        selector.handle_probe_answer(what % 16 == 5 ? path : probe.path, answer, now);
        break;
      }
      case 6: {
        Report report;
        total += value;
        report.received_count = report.received_then = total / 2;
        report.peer_sent_count = report.sent_count = total;
        report.quiet_us = value * 1000U;
        selector.handle_report(path, report, total, now);
        break;
      }
      case 7: selector.handle_signal(path, Signal{static_cast<std::uint8_t>(value % kSignals)}, 1U + value, now); break;
      case 8:
        total += value;
        selector.handle_activity(path, {total, total / 3, total * 100, total}, now);
        break;
      case 9: selector.handle_network_changed(NetworkId{value}, value % 2 == 0, value % 3 == 0, now); break;
      case 10: {
        const std::array offered{TransportKind::udp, TransportKind{static_cast<std::uint8_t>(value % kTransportKinds)}};
        selector.handle_offer(offered, now);
        break;
      }
      case 11:
        if (value == 255) selector.handle_stop(now);
        break;
      case 12: selector.handle_request(TransportKind{static_cast<std::uint8_t>(value % kTransportKinds)}, now); break;
      case 13:
        if (value % 8 == 0) selector.handle_unusable(TransportKind{static_cast<std::uint8_t>(path.value % 5)}, now);
        break;
      default:
        if (const auto next = selector.next_deadline(); next && value % 4 != 0) {
          now = std::max(now, *next);
        } else {
          now += std::chrono::milliseconds{value * 10};
        }
        selector.handle_deadline(now);
    }
    shell.drain(now);
    for (int i = 0; selector.next_deadline() && *selector.next_deadline() <= now; ++i) {
      require(i < 3);
      selector.handle_deadline(now);
      shell.drain(now);
    }
  }
  return 0;
}
