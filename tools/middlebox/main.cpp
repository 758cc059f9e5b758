// switchback-middlebox: the device between the ends, for tests and labs.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/time.h"
#include "tools/middlebox/capture.h"
#include "tools/middlebox/wire.h"

namespace switchback::middlebox {
namespace {

volatile std::sig_atomic_t stop_wanted = 0, rebind_wanted = 0;

struct Options {
  WireConfig wire;
  std::vector<std::string> profiles, bypass, edits;
  std::string both, outward, inward, outward_behind, inward_behind;
  std::uint64_t seed = 1;
  std::string log_file, pcap_file;
  std::string expect;
  bool list = false;
};

int complain(const std::string& message, int status) {
  std::fprintf(stderr, "switchback-middlebox: %s\n", message.c_str());
  return status;
}

Result<BoxRules, UserError> rules_of(const Options& options) {
  BoxRules rules;
  rules.seed = options.seed;
  // Edits come first, as firewalls translate before they follow the stream.
  for (const auto& text : options.edits) SB_CHECK(add_profile(rules, "edit=" + text));
  for (const auto& text : options.profiles) SB_CHECK(add_profile(rules, text));
  for (const auto& text : options.bypass) {
    SB_TRY(const auto match, Match::parse(text));
    rules.bypass.push_back(match);
  }
  const auto place = [&](Direction direction, std::size_t where, const std::string& text) -> Result<void, UserError> {
    if (text.empty()) return {};
    SB_TRY(rules.impair[index(direction)][where], parse_impairment(text));
    return {};
  };
  SB_CHECK(place(Direction::outward, 0, options.both));
  SB_CHECK(place(Direction::inward, 0, options.both));
  SB_CHECK(place(Direction::outward, 0, options.outward));
  SB_CHECK(place(Direction::inward, 0, options.inward));
  SB_CHECK(place(Direction::outward, 1, options.outward_behind));
  SB_CHECK(place(Direction::inward, 1, options.inward_behind));
  return rules;
}

void list_profile(std::string_view name, std::string_view alias, std::string_view summary, std::string_view source) {
  const auto names = std::string{name} + (alias.empty() ? "" : ", " + std::string{alias});
  std::printf("%s\n    %s\n    source: %s\n", names.c_str(), std::string{summary}.c_str(), std::string{source}.c_str());
}

void list_profiles() {
  for (const auto& one : device_profiles()) list_profile(one.name, one.alias, one.summary, one.source);
  for (const auto& one : network_profiles()) list_profile(one.name, "", one.summary, one.source);
  std::puts(
      "and with values of their own:\n"
      "    edit=isn,strip=sack/ts/wscale,mss=1200   proxy=SEGMENT_OCTETS   proxy-coalesce=20ms\n"
      "    lose-outward=3/17  lose-inward=3/17      segments with data by their number in the flow, from 1\n"
      "    block  block-icmp  block-rst  block-syn  idle=60s  idle-rst=60s  throttle=1M  rst=100  rst-block=100\n"
      "    nat=ADDRESS[/60s][/at=30s]               another port after a pause, and at a time\n"
      "Behind each but nat= and the names of networks may stand :MATCH, which is any, tcp, udp, esp, icmp, tcp/PORT "
      "or\n"
      "udp/PORT (of the outer end), and with ! in front of it all but that.");
}

/// Of "die<=5": how old the first flow may become. Nothing: `text` is something else.
std::optional<Duration> die_within(std::string_view text) {
  constexpr std::string_view kStart = "die<=";
  if (!text.starts_with(kStart)) return std::nullopt;
  text.remove_prefix(kStart.size());
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size() || !(seconds >= 0 && seconds <= 1e6)) {
    return std::nullopt;
  }
  return Duration{static_cast<Duration::rep>(seconds * 1e9)};
}

int run(const Options& options) {
  if (options.list) {
    list_profiles();
    return 0;
  }
  if (options.wire.inner.empty() || options.wire.outer.empty())
    return complain("give --inner and --outer; see --help", 2);
  const auto within = die_within(options.expect);
  if (!options.expect.empty() && options.expect != "survive" && options.expect != "die" && !within) {
    return complain("--expect is survive, die, or die<=SECONDS", 2);
  }
  auto rules = rules_of(options);
  if (!rules) return complain(rules.error().message, 2);
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> log{nullptr, &std::fclose};
  if (!options.log_file.empty()) {
    log.reset(std::fopen(options.log_file.c_str(), "we"));
    if (!log) return complain("cannot write " + options.log_file + "; choose another file for --log", 2);
  }
  auto wire = Wire::open(options.wire, *std::move(rules));
  if (!wire) return complain(wire.error().message, 1);

  std::optional<Capture> capture;
  if (!options.pcap_file.empty()) {
    auto made =
        Capture::create(options.pcap_file, {options.wire.inner, options.wire.outer}, wall_now(), monotonic_now());
    if (!made) return complain(made.error().message, 2);
    capture.emplace(*std::move(made));
    (*wire)->set_tap([&](std::size_t interface, bool inbound, ByteView packet, Instant now) {
      capture->write(interface, inbound, packet, now);
    });
  }

  // Signals arrive only while it waits, so that none is missed.
  sigset_t blocked, before;
  sigemptyset(&blocked);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaddset(&blocked, signal);
  sigprocmask(SIG_BLOCK, &blocked, &before);
  std::signal(SIGINT, [](int) { stop_wanted = 1; });
  std::signal(SIGTERM, [](int) { stop_wanted = 1; });
  std::signal(SIGUSR1, [](int) { rebind_wanted = 1; });

  std::map<std::pair<std::string_view, std::string_view>, std::uint64_t> totals;
  const auto started = monotonic_now();
  std::optional<Duration> first_kill;  // age of the flow that was killed youngest
  const auto noted = [&](const Box::Note& note) {
    if (note.decision.what == "kill") first_kill = std::min(first_kill.value_or(note.age), note.age);
    ++totals[{note.decision.what, note.decision.why}];
    if (!log) return;
    const nlohmann::json line{{"ms", std::chrono::duration_cast<std::chrono::milliseconds>(note.at - started).count()},
                              {"flow", note.flow.to_string()},
                              {"direction", to_string(note.decision.direction)},
                              {"what", note.decision.what},
                              {"why", note.decision.why},
                              {"sequence", note.decision.sequence},
                              {"count", note.decision.count},
                              {"age_ms", std::chrono::duration_cast<std::chrono::milliseconds>(note.age).count()}};
    std::fprintf(log.get(), "%s\n", line.dump().c_str());
  };
  std::puts("ready");
  std::fflush(stdout);
  const auto ended = (*wire)->run(
      noted,
      [&](Box& box, Instant now) {
        if (rebind_wanted != 0) {
          rebind_wanted = 0;
          box.rebind_all(now);
        }
        return stop_wanted != 0;
      },
      before);
  if (!ended) return complain(ended.error().message, 1);

  if (capture && !capture->finish()) {
    return complain("the packet capture " + options.pcap_file + " is not whole: is the disk full?", 1);
  }
  if (log && std::fflush(log.get()) != 0) {
    return complain("the log " + options.log_file + " is not whole: is the disk full?", 1);
  }

  const auto& counters = (*wire)->counters();
  nlohmann::json summary{{"received", counters.received},
                         {"sent", counters.sent},
                         {"dropped", counters.dropped},
                         {"flows", counters.flows},
                         {"killed", counters.killed},
                         {"passed_whole", (*wire)->passed_whole()},
                         {"send_failed", (*wire)->send_failed()}};
  for (const auto& [what, count] : totals) {
    summary["decisions"][std::string{what.first} + ": " + std::string{what.second}] = count;
  }
  std::printf("%s\n", summary.dump().c_str());
  if (options.expect == "survive" && counters.killed != 0) return 3;
  if (options.expect == "die" && counters.killed == 0) return 3;
  if (within && (!first_kill || *first_kill > *within)) return 3;
  return 0;
}

}  // namespace
}  // namespace switchback::middlebox

int main(int argc, char** argv) {
  using namespace switchback::middlebox;
  CLI::App app{
      "The device in the middle, for tests and labs: forwards between two interfaces of a network namespace whose "
      "kernel\n"
      "does not, loses and delays packets, and treats flows as firewalls, intrusion prevention and proxies do.\n"
      "SIGUSR1 gives every translated flow another port. SIGINT and SIGTERM end it with a summary in JSON.\n"
      "Exit status: 0, 1 it cannot run, 2 wrong usage, 3 --expect was not met."};
  Options options;
  app.add_option("--inner", options.wire.inner, "interface towards the clients");
  app.add_option("--outer", options.wire.outer, "interface towards the headend");
  app.add_option("--profile", options.profiles,
                 "what flows meet, e.g. inspect:tcp/10000 or block:udp; again for more. A flow meets all devices that\n"
                 "match, the first nearest to the inner end; --list shows what there is");
  app.add_option("--edit", options.edits,
                 "TCP headers changed before that: isn,strip=sack/ts/wscale,mss=1200, perhaps with :MATCH");
  app.add_option("--bypass", options.bypass, "flows that no profile looks at (tcp-state-bypass), e.g. tcp/10000");
  app.add_option("--impair", options.both,
                 "both directions, before the devices: loss=3%,delay=20ms,jitter=5ms,rate=10M …");
  app.add_option("--outward", options.outward, "as --impair, from inner to outer only");
  app.add_option("--inward", options.inward, "as --impair, from outer to inner only");
  app.add_option("--outward-behind", options.outward_behind, "as --outward, behind the devices");
  app.add_option("--inward-behind", options.inward_behind, "as --inward, behind the devices");
  app.add_option("--seed", options.seed, "the same seed and traffic give the same fates")->capture_default_str();
  app.add_option("--log", options.log_file, "a JSON line for each decision goes to this file");
  app.add_option("--pcap", options.pcap_file,
                 "what comes and goes, to this file (pcapng): interface and direction tell before from after");
  app.add_option(
      "--expect", options.expect,
      "exit status 3 unless no flow is killed (survive), one is (die), or one is at that age (die<=SECONDS)");
  app.add_flag("--list", options.list, "show the profiles and where they come from");
  CLI11_PARSE(app, argc, argv);
  return run(options);
}
