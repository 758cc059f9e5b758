// switchback-load: many clients against one headend.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <fstream>

#include "tools/load/fleet.h"
#include "tools/load/flood.h"
#include "tools/load/report.h"

namespace switchback::load {
namespace {

enum Status { kDone = 0, kNotReached = 1, kUsage = 2 };

std::atomic<bool> interrupted{false};

int complain(const UserError& error, Status status) {
  std::fprintf(stderr, "switchback-load: %s\n", error.message.c_str());
  return status;
}

struct RunOptions {
  std::string profiles, sources, echo, headend_pid, json;
  std::vector<std::string> phases;
  unsigned per_user = 1, liveness = 30;
  std::size_t payload = 56;
};

struct Prepared {
  std::vector<Phase> phases;
  FleetOptions fleet;
  UserOptions users;
};

Result<Prepared, UserError> prepare(const RunOptions& options) {
  Prepared made;
  bool asks = false;
  for (const auto& text : options.phases) {
    SB_TRY(auto phase, parse_phase(text));
    for (const auto& activity : phase.activities) asks = asks || activity.kind == Kind::active;
    made.phases.push_back(std::move(phase));
  }
  SB_TRY(made.fleet.sessions, check_plan(made.phases));
  const auto sources = IpPrefix::parse(options.sources);
  if (!sources) return fail_user("--sources: \"" + options.sources + "\" is no prefix: write 10.64.0.0/16, say");
  if (!source_address(*sources, made.fleet.sessions - 1)) {
    return fail_user("--sources: " + options.sources + " has fewer than " + std::to_string(made.fleet.sessions) +
                     " addresses: give a larger prefix");
  }
  made.fleet.sources = *sources;
  made.fleet.per_user = options.per_user;
  made.fleet.payload = options.payload;
  if (!options.echo.empty()) {
    made.fleet.echo = IpAddress::parse(options.echo);
    if (!made.fleet.echo) return fail_user("--echo: \"" + options.echo + "\" is no IP address");
  } else if (asks) {
    return fail_user(
        "--echo is missing: active sessions need an address behind the tunnel that answers, the headend's "
        "inner one (the first of its pool), say");
  }
  made.users.profiles = options.profiles;
  made.users.most = (made.fleet.sessions + options.per_user - 1) / options.per_user;
  made.users.family = sources->address.family();
  made.users.shared = options.per_user > 1;
  made.users.liveness = options.liveness;
  return made;
}

int write_json(const std::string& file, const std::string& text) {
  std::ofstream out{file};
  out << text << '\n';
  out.close();
  if (!out) return complain({"cannot write " + file}, kUsage);
  return kDone;
}

int run(const RunOptions& options) {
  const auto prepared = prepare(options);
  if (!prepared) return complain(prepared.error(), kUsage);
  auto users = load_users(prepared->users);
  if (!users) return complain(users.error(), kUsage);
  if (users->configs.size() < prepared->users.most) {
    return complain(
        {"--profiles: " + std::to_string(prepared->fleet.sessions) + " sessions need " +
         std::to_string(prepared->users.most) + " profiles, there are " + std::to_string(users->configs.size()) +
         ": make more with `switchback-headend user add --from NAMES --out DIR`"},
        kUsage);
  }
  auto wire = Wire::open(prepared->fleet.sources);
  if (!wire) return complain(wire.error(), kUsage);
  std::optional<HeadendWatch> watch;
  std::uint64_t empty_rss = 0;
  if (!options.headend_pid.empty()) {
    auto made = HeadendWatch::create(options.headend_pid);
    if (!made) return complain(made.error(), kUsage);
    watch = std::move(*made);
    if (const auto sample = watch->sample()) empty_rss = sample->rss_bytes;
  }

  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  Fleet fleet{prepared->fleet, std::move(*users), std::move(*wire), std::move(watch)};
  std::vector<PhaseResult> results;
  std::size_t wanted = 0;
  bool reached = true;
  for (const auto& phase : prepared->phases) {
    for (const auto& activity : phase.activities) {
      if (activity.kind == Kind::ramp) wanted = std::max(wanted, activity.sessions);
    }
    std::printf("%s begins\n", phase.text.c_str());
    std::fflush(stdout);
    results.push_back(fleet.run(phase, [&](const Progress& progress) {
      if (terminal) std::fputs(render_progress(progress).c_str(), stderr);
      return !interrupted;
    }));
    if (terminal) std::fputs("\r\033[K", stderr);
    std::fputs(render_phase(results.back(), wanted).c_str(), stdout);
    std::fflush(stdout);
    reached = reached && results.back().reached;
    if (interrupted) break;
  }
  fleet.leave();
  if (!options.json.empty()) {
    if (const int failed = write_json(options.json, render_json(results, empty_rss)); failed != kDone) return failed;
  }
  return reached ? kDone : kNotReached;
}

struct FloodArguments {
  std::string to, sources;
  double rate = 1000;
  unsigned seconds = 10;
};

int flood(const FloodArguments& arguments) {
  FloodOptions options;
  const auto endpoint = Endpoint::parse(arguments.to);
  const auto address = IpAddress::parse(arguments.to);
  if (!endpoint && !address) return complain({"--to: \"" + arguments.to + "\" is no address, or ADDRESS:PORT"}, kUsage);
  options.headend = endpoint ? *endpoint : Endpoint{*address, 500};
  const auto sources = IpPrefix::parse(arguments.sources);
  if (!sources) return complain({"--sources: \"" + arguments.sources + "\" is no prefix"}, kUsage);
  options.sources = *sources;
  options.rate = arguments.rate;
  options.seconds = arguments.seconds;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  const auto result = run_flood(options, [&](const FloodResult& so_far) {
    Progress progress;
    progress.phase = "flood";
    progress.done = so_far.seconds / options.seconds;
    if (terminal) std::fputs(render_progress(progress).c_str(), stderr);
    return !interrupted;
  });
  if (terminal) std::fputs("\r\033[K", stderr);
  if (!result) return complain(result.error(), kUsage);
  std::printf("flood: %llu IKE_SA_INIT in %.1f s, %llu not taken by this machine's kernel\n",
              static_cast<unsigned long long>(result->sent), result->seconds,
              static_cast<unsigned long long>(result->refused));
  return kDone;
}

int dispatch(int argc, char** argv) {
  CLI::App app{
      "Puts the load of many clients on a headend and says how it bears it.\n"
      "FOR YOUR OWN HEADEND: it takes as many sessions as you have profiles for, and its flood is an attack on "
      "anybody\n"
      "else. Both are best run in network namespaces, or in a network of their own.",
      "switchback-load"};
  app.require_subcommand(1);
  app.set_version_flag("--version", SB_VERSION);

  RunOptions options;
  auto* running = app.add_subcommand("run", "Connect real clients, over UDP, and go through phases one after another");
  running
      ->add_option("--profiles", options.profiles,
                   "Directory of profiles that `switchback-headend user add --from NAMES --out DIR` made, or one")
      ->required()
      ->type_name("DIR");
  running
      ->add_option("--sources", options.sources,
                   "Each client has an address of its own in this prefix. The kernel must take them for its own: "
                   "`ip route add local PREFIX dev lo`; and the headend needs a route back")
      ->required()
      ->type_name("PREFIX");
  running
      ->add_option("--per-user", options.per_user,
                   "Sessions of one user; beyond one they are no devices' first contact")
      ->capture_default_str()
      ->check(CLI::Range(1U, 1000U))
      ->type_name("N");
  running->add_option("--echo", options.echo, "What active sessions send ICMP echo requests to, through the tunnel")
      ->type_name("ADDR");
  running->add_option("--payload", options.payload, "Octets in an echo request")
      ->capture_default_str()
      ->check(CLI::Range(std::size_t{8}, std::size_t{1300}))
      ->type_name("N");
  running
      ->add_option("--liveness", options.liveness,
                   "Seconds of silence until a client asks whether the headend is there, as the profile's timers say")
      ->capture_default_str()
      ->check(CLI::Range(1U, 3600U))
      ->type_name("S");
  running
      ->add_option("--headend-pid", options.headend_pid,
                   "Process number of the headend, if it runs on this machine, or a file that holds it: reports its "
                   "memory and processor time")
      ->type_name("PID|FILE");
  running->add_option("--json", options.json, "Write what was measured to this file")->type_name("FILE");
  running
      ->add_option("phases", options.phases,
                   "ramp=N@R      until N sessions are up, R a second begun\n"
                   "hold=T        T seconds of keepalives and liveness checks\n"
                   "active=M@P,T  M sessions send P echo requests a second each, for T seconds\n"
                   "churn=R,T     R sessions a second end and connect anew, for T seconds\n"
                   "storm=R,T     R sessions a second are forgotten and connect anew, once each; T seconds at most\n"
                   "restart=T     until every session was lost and is up again: somebody restarts the headend\n"
                   "Several side by side with + between them: active=50@20,30+storm=500,30")
      ->required()
      ->type_name("PHASE");

  FloodArguments attack;
  auto* flooding = app.add_subcommand(
      "flood", "Send IKE_SA_INIT requests with made-up IPv4 source addresses: only where you own every one of them");
  flooding->add_option("--to", attack.to, "The headend: an address, or ADDRESS:PORT [port 500]")
      ->required()
      ->type_name("ADDR");
  flooding->add_option("--sources", attack.sources, "Prefix of the made-up addresses")->required()->type_name("PREFIX");
  flooding->add_option("--rate", attack.rate, "Requests a second")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 1e7))
      ->type_name("R");
  flooding->add_option("--seconds", attack.seconds, "How long")
      ->capture_default_str()
      ->check(CLI::Range(1U, 86400U))
      ->type_name("S");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kDone : kUsage;
  }
  for (const int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, [](int) { interrupted = true; });
  }
  return running->parsed() ? run(options) : flood(attack);
}

}  // namespace
}  // namespace switchback::load

int main(int argc, char** argv) {
  try {
    return switchback::load::dispatch(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "switchback-load: %s\n", error.what());
    return 2;
  }
}
