#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "common/path/selector.h"

using namespace switchback;
using namespace switchback::path;
using namespace std::chrono_literals;

namespace {

constexpr Candidate kUdp{TransportKind::udp, IpFamily::v4}, kUdp6{TransportKind::udp, IpFamily::v6};
constexpr Candidate kEsp{TransportKind::esp, IpFamily::v4};
constexpr Candidate kCtcp{TransportKind::ctcp, IpFamily::v4}, kTls{TransportKind::tls, IpFamily::v4};

/// A selector driven by hand: actions are collected, time moves from deadline to deadline.
struct Bench {
  Selector selector;
  Instant now{std::chrono::hours{1}};
  std::vector<OpenPath> opened;
  std::vector<ClosePath> closed;
  std::vector<SendProbe> probes;
  std::vector<Event> events;
  std::vector<PathId> mtu_doubts;
  std::optional<PathId> sending, twin, authenticating;

  explicit Bench(SelectorConfig config, History history = {}) : selector{std::move(config), std::move(history)} {}
  void drain() {
    while (const auto action = selector.poll_action()) {
      if (const auto* open = std::get_if<OpenPath>(&*action)) opened.push_back(*open);
      if (const auto* close = std::get_if<ClosePath>(&*action)) closed.push_back(*close);
      if (const auto* probe = std::get_if<SendProbe>(&*action)) probes.push_back(*probe);
      if (const auto* move = std::get_if<MoveTo>(&*action)) sending = move->path;
      if (const auto* start = std::get_if<StartTwin>(&*action)) twin = start->path;
      if (const auto* check = std::get_if<CheckMtu>(&*action)) mtu_doubts.push_back(check->path);
      if (std::holds_alternative<StopTwin>(*action)) twin.reset();
      if (const auto* auth = std::get_if<Authenticate>(&*action)) authenticating = auth->path;
    }
    while (const auto event = selector.poll_event()) events.push_back(*event);
  }
  void start() {
    selector.handle_start(now);
    drain();
  }
  /// Deadlines up to then are dealt with; nothing is answered.
  void pass(Duration time) {
    const auto end = now + time;
    while (selector.next_deadline() && *selector.next_deadline() <= end) {
      REQUIRE(*selector.next_deadline() > now);
      now = *selector.next_deadline();
      selector.handle_deadline(now);
      drain();
    }
    now = end;
  }
  [[nodiscard]] PathId last(const Candidate& candidate) const {
    const auto found =
        std::find_if(opened.rbegin(), opened.rend(), [&](const OpenPath& open) { return open.candidate == candidate; });
    REQUIRE(found != opened.rend());
    return found->path;
  }
  void open_all(PathId path) {
    selector.handle_path_opened(path, now);
    drain();
  }
  /// Answers the newest probe of the path.
  void answer(PathId path) {
    const auto found =
        std::find_if(probes.rbegin(), probes.rend(), [&](const SendProbe& probe) { return probe.path == path; });
    REQUIRE(found != probes.rend());
    ProbeAnswer reply;
    reply.id = found->id;
    selector.handle_probe_answer(path, reply, now);
    drain();
  }
  /// Up and running on the first candidate's path, 10 ms away.
  PathId settle() {
    start();
    const auto path = opened.front().path;
    pass(10ms);
    open_all(path);
    REQUIRE(authenticating == path);
    pass(10ms);
    selector.handle_authenticated(path, now);
    drain();
    pass(10ms);
    answer(path);
    pass(10ms);
    answer(path);
    REQUIRE(selector.state() == SelectorState::settled);
    return path;
  }
  [[nodiscard]] PathState state_of(PathId id) const {
    for (const auto& path : selector.paths()) {
      if (path.path == id) return path.state;
    }
    return PathState::gone;
  }
  [[nodiscard]] bool saw(EventKind kind) const {
    return std::any_of(events.begin(), events.end(), [&](const Event& event) { return event.kind == kind; });
  }
};

SelectorConfig with(std::vector<Candidate> candidates) {
  SelectorConfig config;
  config.candidates = std::move(candidates);
  config.network = NetworkId{1};
  return config;
}

template <class State, std::size_t N>
std::set<std::string> edges(const std::array<Transition<State>, N>& table) {
  std::set<std::string> all;
  for (const auto& row : table) {
    all.insert(std::string{to_string(row.from)} + " --> " + std::string{to_string(row.to)});
  }
  return all;
}

std::vector<std::string> section(const std::string& heading) {
  std::ifstream file{std::string{SB_SOURCE_DIR} + "/docs/path-selector.md"};
  std::vector<std::string> lines;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("## ", 0) == 0) inside = line == "## " + heading;
    if (inside) lines.push_back(line);
  }
  return lines;
}

std::set<std::string> drawn(const std::string& heading) {
  std::set<std::string> all;
  for (const auto& line : section(heading)) {
    if (line.find(" --> ") == std::string::npos) continue;
    std::istringstream words{line};
    std::string from, dash, to;
    words >> from >> dash >> to;
    if (to.back() == ':') to.pop_back();
    if (from != "[*]" && to != "[*]") all.insert(from + " --> " + to);
  }
  return all;
}

}  // namespace

TEST_CASE("docs/path-selector.md draws the transition tables", "[path]") {
  CHECK(drawn("The selector") == edges(kSelectorTransitions));
  CHECK(drawn("A path") == edges(kPathTransitions));
}

TEST_CASE("docs/path-selector.md has the table of thresholds as it is in stall.h", "[path]") {
  std::set<std::string> code;
  for (std::size_t i = 0; i < kThresholds.size(); ++i) {
    const auto& row = kThresholds[i];
    REQUIRE(static_cast<std::size_t>(row.signal) == i);
    std::ostringstream line;
    line << "| `" << to_string(row.signal) << "` | " << row.count << " | "
         << std::chrono::duration_cast<std::chrono::milliseconds>(row.within).count() << " | " << to_string(row.verdict)
         << " | " << row.answers << " |";
    code.insert(line.str());
  }
  std::set<std::string> documented;
  for (const auto& line : section("Thresholds")) {
    if (line.rfind("| `", 0) != 0) continue;
    std::size_t end = 0;
    for (int column = 0; column < 6; ++column) end = line.find('|', end) + 1;
    documented.insert(line.substr(0, end));
  }
  CHECK(documented == code);
}

TEST_CASE("candidates start one after another in the order of preference, v6 a little ahead", "[path][rfc8305]") {
  Bench bench{with({kUdp, kUdp6, kCtcp})};
  bench.start();
  REQUIRE(bench.opened.size() == 1);
  CHECK(bench.opened[0].candidate == kUdp6);
  bench.pass(50ms);
  REQUIRE(bench.opened.size() == 2);
  CHECK(bench.opened[1].candidate == kUdp);
  bench.pass(199ms);
  CHECK(bench.opened.size() == 2);
  bench.pass(1ms);
  REQUIRE(bench.opened.size() == 3);
  CHECK(bench.opened[2].candidate == kCtcp);
}

TEST_CASE("a refusal starts the next candidate at once", "[path][rfc8305]") {
  Bench bench{with({kUdp, kCtcp})};
  bench.start();
  bench.pass(5ms);
  bench.selector.handle_path_failed(bench.opened[0].path, bench.now);
  bench.drain();
  CHECK(bench.opened.size() == 2);
}

TEST_CASE("what worked last on this network begins, and only there", "[path]") {
  History history;
  history.worked(NetworkId{1}, kTls);
  Bench here{with({kUdp, kCtcp, kTls}), history};
  here.start();
  CHECK(here.opened.front().candidate == kTls);
  auto config = with({kUdp, kCtcp, kTls});
  config.network = NetworkId{2};
  Bench elsewhere{config, history};
  elsewhere.start();
  CHECK(elsewhere.opened.front().candidate == kUdp);
}

TEST_CASE("a forced transport is the only one ever tried", "[path]") {
  auto config = with({kUdp, kCtcp, kTls});
  config.forced = TransportKind::ctcp;
  Bench bench{config};
  bench.start();
  bench.pass(60s);
  CHECK(bench.opened.size() > 5);
  for (const auto& open : bench.opened) CHECK(open.candidate == kCtcp);
  CHECK(bench.selector.state() == SelectorState::outage);
}

TEST_CASE("a path that carries IKE is not up before a probe went both ways", "[path]") {
  Bench bench{with({kUdp})};
  bench.start();
  bench.open_all(bench.opened[0].path);
  CHECK(bench.probes.empty());
  bench.selector.handle_authenticated(bench.opened[0].path, bench.now);
  bench.drain();
  CHECK(bench.probes.size() == 1);
  CHECK_FALSE(bench.sending.has_value());
  ProbeAnswer foreign;
  foreign.id = 999;
  bench.selector.handle_probe_answer(bench.opened[0].path, foreign, bench.now);
  bench.drain();
  CHECK_FALSE(bench.sending.has_value());
  bench.pass(10ms);
  bench.answer(bench.opened[0].path);
  CHECK(bench.sending == bench.opened[0].path);
  CHECK(bench.selector.history().last_good(NetworkId{1}) == kUdp);
}

TEST_CASE("a reset makes a path suspect, and two answered probes clear it without a move", "[path]") {
  Bench bench{with({kCtcp, kUdp})};
  const auto path = bench.settle();
  bench.pass(2s);
  bench.answer(path);
  bench.selector.handle_signal(path, Signal::reset, 1, bench.now);
  bench.drain();
  CHECK(bench.selector.state() == SelectorState::doubting);
  CHECK(bench.state_of(path) == PathState::suspect);
  CHECK(bench.opened.back().candidate == kUdp);  // side by side
  bench.pass(10ms);
  bench.answer(path);
  CHECK(bench.state_of(path) == PathState::suspect);
  bench.pass(200ms);
  bench.answer(path);
  CHECK(bench.state_of(path) == PathState::active);
  CHECK(bench.selector.state() == SelectorState::settled);
  CHECK(bench.selector.moves() == 0);
  CHECK(bench.state_of(bench.last(kUdp)) == PathState::gone);
}

TEST_CASE("silence makes suspect, data goes on both, the verdict moves it, and the old path has its grace", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  bench.selector.handle_activity(path, {1, 0, 0}, bench.now);
  bench.drain();
  bench.pass(490ms);
  CHECK(bench.selector.state() == SelectorState::settled);
  bench.pass(20ms);
  REQUIRE(bench.selector.state() == SelectorState::doubting);
  const auto second = bench.last(kCtcp);
  bench.open_all(second);
  bench.pass(10ms);
  bench.answer(second);
  CHECK(bench.twin == second);
  CHECK(bench.sending == path);
  CHECK(bench.selector.moves() == 0);
  for (int i = 0; i < 8; ++i) {
    bench.pass(100ms);
    bench.answer(second);
  }
  CHECK(bench.sending == second);
  CHECK_FALSE(bench.twin.has_value());
  CHECK(bench.selector.moves() == 1);
  CHECK(bench.state_of(path) == PathState::grace);
  CHECK(bench.state_of(second) == PathState::active);
  bench.pass(1ms);
  bench.answer(second);
  CHECK(bench.closed.empty());
  bench.pass(11s);
  REQUIRE_FALSE(bench.closed.empty());
  CHECK(bench.closed.front().path == path);
  const auto moved = std::find_if(bench.events.begin(), bench.events.end(),
                                  [](const Event& event) { return event.kind == EventKind::moved && event.from; });
  REQUIRE(moved != bench.events.end());
  // From the first data that nothing confirmed, which is what made the path suspect after `quiet_limit`.
  CHECK(moved->figures.stalled > Duration::zero());
  CHECK(describe(*moved).rfind(
            "moved from udp v4 to ctcp v4: stall, report_missing, count 1 (threshold 1), stalled for ", 0) == 0);
}

TEST_CASE("what the system itself refuses is believed at once", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  bench.selector.handle_path_failed(path, bench.now);
  bench.drain();
  CHECK(bench.state_of(path) == PathState::stalled);
  const auto second = bench.last(kCtcp);
  bench.open_all(second);
  bench.pass(10ms);
  bench.answer(second);
  CHECK(bench.sending == second);
}

TEST_CASE("duplicate ACKs count only within their second", "[path]") {
  Bench bench{with({kCtcp, kUdp})};
  const auto path = bench.settle();
  bench.selector.handle_signal(path, Signal::duplicate_acks, 2, bench.now);
  bench.pass(1100ms);
  bench.answer(path);
  bench.selector.handle_signal(path, Signal::duplicate_acks, 2, bench.now);
  CHECK(bench.state_of(path) == PathState::active);
  bench.selector.handle_signal(path, Signal::duplicate_acks, 1, bench.now);
  CHECK(bench.state_of(path) == PathState::suspect);
  CHECK(bench.selector.paths().front().signals[static_cast<std::size_t>(Signal::duplicate_acks)] == 5);
}

TEST_CASE("reports without progress do not count as a sign of life, reports with progress do", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  Report report;
  for (std::uint64_t i = 1; i <= 20; ++i) {
    bench.selector.handle_activity(path, {i, i, 0}, bench.now);
    bench.drain();
    bench.pass(100ms);
    bench.answer(path);
    report.received_count = i;
    bench.selector.handle_report(path, report, i, bench.now);
    bench.drain();
  }
  CHECK(bench.selector.state() == SelectorState::settled);
  for (std::uint64_t i = 21; i <= 30; ++i) {  // the way out is cut, the way back is not
    bench.selector.handle_activity(path, {i, i, 0}, bench.now);
    bench.pass(100ms);
    bench.selector.handle_report(path, report, i, bench.now);
    bench.drain();
  }
  CHECK(bench.selector.state() == SelectorState::doubting);
  const auto suspected = std::find_if(bench.events.begin(), bench.events.end(),
                                      [](const Event& event) { return event.kind == EventKind::suspected; });
  REQUIRE(suspected != bench.events.end());
  CHECK(suspected->signal == Signal::report_missing);
}

TEST_CASE("another network makes the path suspect and everything is tried afresh", "[path]") {
  Bench bench{with({kUdp, kUdp6, kCtcp})};
  bench.start();
  bench.pass(60ms);
  const auto path = bench.last(kUdp);
  bench.open_all(path);
  bench.selector.handle_authenticated(path, bench.now);
  bench.drain();
  bench.pass(10ms);
  bench.answer(path);
  bench.pass(300ms);
  const auto before = bench.opened.size();
  bench.selector.handle_network_changed(NetworkId{9}, true, false, bench.now);
  bench.drain();
  CHECK(bench.state_of(path) == PathState::suspect);
  bench.pass(500ms);
  REQUIRE(bench.opened.size() > before);
  for (auto i = before; i < bench.opened.size(); ++i) CHECK(bench.opened[i].candidate.family == IpFamily::v4);
}

TEST_CASE("what the peer does not offer is not tried", "[path]") {
  Bench bench{with({kUdp, kCtcp, kTls})};
  const auto path = bench.settle();
  const std::array offered{TransportKind::udp, TransportKind::tls};
  bench.selector.handle_offer(offered, bench.now);
  const auto before = bench.opened.size();
  bench.selector.handle_signal(path, Signal::unreachable, 1, bench.now);
  bench.drain();
  bench.pass(5s);
  CHECK(bench.opened.size() > before);
  for (auto i = before; i < bench.opened.size(); ++i) CHECK_FALSE(bench.opened[i].candidate == kCtcp);
}

TEST_CASE("a transport that is unusable here is not tried until the network changes", "[path]") {
  Bench bench{with({kEsp, kUdp, kCtcp})};
  bench.start();
  bench.pass(250ms);
  const auto path = bench.last(kUdp);
  bench.selector.handle_unusable(TransportKind::esp, bench.now);
  bench.drain();
  CHECK(bench.state_of(bench.last(kEsp)) == PathState::gone);
  bench.open_all(path);
  bench.selector.handle_authenticated(path, bench.now);
  bench.drain();
  bench.answer(path);
  REQUIRE(bench.sending == path);
  auto opened = bench.opened.size();
  for (int i = 0; i < 600; ++i) {
    bench.pass(100ms);
    bench.answer(path);
  }
  CHECK(bench.opened.size() == opened);  // nothing better is left to climb to
  const std::array offered{TransportKind::udp, TransportKind::esp, TransportKind::ctcp};
  bench.selector.handle_offer(offered, bench.now);  // an offer does not make it usable
  bench.pass(100ms);
  CHECK(bench.opened.size() == opened);
  bench.selector.handle_network_changed(NetworkId{2}, true, true, bench.now);
  bench.drain();
  REQUIRE(bench.opened.size() > opened);
  CHECK(bench.opened[opened].candidate == kEsp);
}

TEST_CASE("a transport that is asked for is opened beside, moved to once validated, and kept", "[path]") {
  Bench bench{with({kUdp, kCtcp, kTls})};
  const auto path = bench.settle();
  bench.selector.handle_request(TransportKind::tls, bench.now);
  bench.drain();
  const auto tls = bench.last(kTls);
  CHECK(bench.sending == path);
  CHECK(bench.selector.state() == SelectorState::settled);
  bench.pass(30ms);
  bench.open_all(tls);
  CHECK(bench.sending == path);
  bench.pass(30ms);
  bench.answer(tls);
  CHECK(bench.sending == tls);
  CHECK(bench.selector.moves() == 1);
  const auto moved = std::find_if(bench.events.begin(), bench.events.end(),
                                  [](const Event& event) { return event.kind == EventKind::moved && event.from; });
  REQUIRE(moved != bench.events.end());
  CHECK(moved->reason == Reason::requested);
  const auto opened = bench.opened.size();
  for (int i = 0; i < 600; ++i) {
    bench.pass(100ms);
    bench.answer(tls);
  }
  CHECK(bench.sending == tls);  // although udp ranks higher
  CHECK(bench.opened.size() == opened);
  // Until it stalls: then the usual order holds again.
  bench.selector.handle_path_failed(tls, bench.now);
  bench.drain();
  const auto udp = bench.last(kUdp);
  bench.open_all(udp);
  bench.pass(10ms);
  bench.answer(udp);
  CHECK(bench.sending == udp);
}

TEST_CASE("what is asked for and cannot be had is declined and changes nothing", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  SECTION("it does not open") {
    bench.selector.handle_request(TransportKind::ctcp, bench.now);
    bench.drain();
    bench.selector.handle_path_failed(bench.last(kCtcp), bench.now);
    bench.drain();
  }
  SECTION("it opens and carries nothing") {
    bench.selector.handle_request(TransportKind::ctcp, bench.now);
    bench.drain();
    bench.open_all(bench.last(kCtcp));
    for (int i = 0; i < 40; ++i) {
      bench.pass(100ms);
      bench.answer(path);
    }
  }
  SECTION("there is no such candidate") {
    bench.selector.handle_request(TransportKind::tcp, bench.now);
    bench.drain();
  }
  REQUIRE(bench.saw(EventKind::declined));
  CHECK(describe(bench.events.back()).find("declined") == 0);
  CHECK(bench.sending == path);
  CHECK(bench.selector.moves() == 0);
  CHECK(bench.state_of(path) == PathState::active);
}

TEST_CASE("what is in use already may be asked for, and is kept", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  const auto opened = bench.opened.size();
  bench.selector.handle_request(TransportKind::udp, bench.now);
  bench.drain();
  CHECK(bench.opened.size() == opened);
  CHECK_FALSE(bench.saw(EventKind::declined));
  CHECK(bench.sending == path);
}

TEST_CASE("while the path in use is in doubt data goes on what is open, before it is validated", "[path]") {
  Bench bench{with({kUdp, kCtcp, kTls})};
  const auto path = bench.settle();
  bench.selector.handle_signal(path, Signal::unreachable, 1, bench.now);
  bench.drain();
  CHECK_FALSE(bench.twin.has_value());
  const auto ctcp = bench.last(kCtcp);
  bench.open_all(ctcp);
  CHECK(bench.twin == ctcp);
  CHECK(bench.state_of(ctcp) == PathState::validating);
  const auto probe =
      std::find_if(bench.probes.rbegin(), bench.probes.rend(), [&](const SendProbe& one) { return one.path == ctcp; });
  REQUIRE(probe != bench.probes.rend());
  CHECK(probe->claim.role == Role::twin);  // so that the headend sends there, too
  bench.pass(60ms);
  const auto tls = bench.last(kTls);
  bench.open_all(tls);
  CHECK(bench.twin == ctcp);
  bench.pass(10ms);
  bench.answer(tls);
  CHECK(bench.twin == tls);  // proven is better than hoped for
  CHECK(bench.sending == path);
  CHECK(bench.selector.moves() == 0);
}

TEST_CASE("a path that is validated after losses is not given up for those", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  bench.selector.handle_path_failed(path, bench.now);
  bench.drain();
  const auto ctcp = bench.last(kCtcp);
  bench.open_all(ctcp);
  bench.pass(990ms);  // three probes without an answer
  bench.answer(ctcp);
  CHECK(bench.sending == ctcp);
  bench.pass(100ms);
  CHECK(bench.state_of(ctcp) == PathState::active);
}

TEST_CASE("many lost packets where probes come through make the path MTU be doubted, and soon", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  std::uint64_t data = 0, all = 0, received = 0;
  const auto second = [&](std::uint64_t lost) {
    for (int i = 0; i < 10; ++i) {
      data += 2, all += 2, received += 2;
      bench.selector.handle_activity(path, {data, 0, 0, all}, bench.now);
      bench.drain();
      bench.pass(100ms);
    }
    received -= lost;
    const auto found = std::find_if(bench.probes.rbegin(), bench.probes.rend(),
                                    [&](const SendProbe& probe) { return probe.path == path; });
    ProbeAnswer reply;
    reply.id = found->id;
    reply.received_count = received;
    bench.selector.handle_probe_answer(path, reply, bench.now);
    bench.drain();
  };
  for (int i = 0; i < 4; ++i) second(0);
  CHECK(bench.mtu_doubts.empty());
  second(15);  // the reports of which would not come, as nothing large arrives
  second(15);
  CHECK(bench.mtu_doubts == std::vector{path});
  CHECK(bench.selector.moves() == 0);
}

TEST_CASE("an outage does not lengthen the intervals of calm", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  bench.start();
  bench.pass(250ms);
  const auto ctcp = bench.last(kCtcp);
  bench.open_all(ctcp);
  bench.selector.handle_authenticated(ctcp, bench.now);
  bench.drain();
  bench.answer(ctcp);
  REQUIRE(bench.sending == ctcp);
  bench.selector.handle_path_failed(ctcp, bench.now);
  bench.drain();
  bench.pass(120s);  // everything fails, many times
  REQUIRE(bench.selector.state() == SelectorState::outage);
  while (bench.state_of(bench.last(kCtcp)) != PathState::opening) bench.pass(50ms);
  const auto fresh = bench.last(kCtcp);
  bench.open_all(fresh);
  bench.pass(10ms);
  bench.answer(fresh);
  REQUIRE(bench.sending == fresh);
  const auto opened = bench.opened.size();
  std::size_t tries = 0;
  for (int i = 0; i < 170; ++i) {  // udp was tried within the last 5 s: again after 10 s and its own 3 s
    bench.pass(100ms);
    bench.answer(fresh);
  }
  for (auto i = opened; i < bench.opened.size(); ++i) tries += bench.opened[i].candidate == kUdp ? 1U : 0U;
  CHECK(tries >= 1);
}

TEST_CASE("the last hundred events are kept and the queue is bounded", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  bench.start();
  bench.pass(std::chrono::hours{1});
  CHECK(bench.events.size() > EventLog::kKept);
  CHECK(bench.selector.log().all().size() == EventLog::kKept);
  CHECK(bench.selector.paths().size() <= kMaxPaths);
}

TEST_CASE("after the end nothing is asked any more", "[path]") {
  Bench bench{with({kUdp, kCtcp})};
  const auto path = bench.settle();
  bench.selector.handle_stop(bench.now);
  bench.drain();
  CHECK(bench.closed.back().path == path);
  CHECK_FALSE(bench.selector.next_deadline().has_value());
  bench.selector.handle_deadline(bench.now + std::chrono::hours{1});
  bench.selector.handle_signal(path, Signal::reset, 1, bench.now);
  CHECK_FALSE(bench.selector.poll_action().has_value());
  CHECK(bench.selector.state() == SelectorState::stopped);
}

TEST_CASE("nothing follows the last states, and nothing is its own successor", "[path]") {
  for (const auto& row : kSelectorTransitions) CHECK((row.from != SelectorState::stopped && row.from != row.to));
  for (const auto& row : kPathTransitions) CHECK((row.from != PathState::gone && row.from != row.to));
}
