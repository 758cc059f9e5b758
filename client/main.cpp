// switchback-client: connect, status, use, disconnect, doctor.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "client/config.h"
#include "client/connect.h"
#include "client/doctor.h"
#include "client/instance_lock.h"
#include "client/status.h"
#include "client/tunnel.h"
#include "common/base/log.h"
#include "common/io/control_socket.h"
#include "common/io/event_loop.h"
#include "common/keylog/keylog.h"

namespace switchback::client {
namespace {

constexpr std::chrono::seconds kControlTimeout{10};

int complain(const UserError& error, ExitStatus status) {
  std::fprintf(stderr, "switchback-client: %s\n", error.message.c_str());
  return static_cast<int>(status);
}

int connect(const ConnectOptions& options) {
  const auto level = log::parse_level(options.log_level);
  if (!level) return complain({"--log-level: " + level.error().message}, ExitStatus::usage);
  const auto sink = parse_sink(options.log_to);
  if (!sink) return complain(sink.error(), ExitStatus::usage);
  log::configure(*level, *sink);

  const auto config = make_config(options);
  if (!config) return complain(config.error(), ExitStatus::usage);
  std::optional<keylog::Keylog> keylog;
  if (!config->keylog_directory.empty()) {
    auto opened = keylog::Keylog::open(config->keylog_directory);
    if (!opened) return complain(opened.error(), ExitStatus::usage);
    keylog = std::move(*opened);
    log::warning("keylog_on", {{"directory", config->keylog_directory},
                               {"meaning", "ANYONE WHO READS THESE FILES CAN DECRYPT THIS SESSION"}});
  }
  if (!config->pcap_file.empty()) {
    log::warning("pcap_on", {{"file", config->pcap_file}, {"meaning", "inner packets are written unencrypted"}});
  }
  std::signal(SIGPIPE, SIG_IGN);

  auto lock = InstanceLock::acquire(config->runtime_directory, config->tun);
  if (!lock) return complain(lock.error(), ExitStatus::running);
  auto tunnel = Tunnel::create(*config, std::move(*lock));
  if (!tunnel) return complain(tunnel.error(), ExitStatus::failure);
  io::EventLoop loop;
  Connector connector{loop, *config, **tunnel, std::move(keylog)};
  const auto status = connector.run();
  if (!connector.error().empty()) return complain({connector.error()}, status);
  return static_cast<int>(status);
}

std::string socket_of(const std::string& given, const std::string& tun) {
  return given.empty() ? io::control_socket_path("client", tun) : given;
}

int show_status(const std::string& socket, bool json, const std::string& tun) {
  const auto answer = io::control_request(socket, control_request_line({ControlCommand::status, {}}), kControlTimeout);
  if (!answer) {
    if (answer.error().code == io::ControlErrc::not_running) {
      if (json) std::printf("{\"ok\":true,\"running\":false,\"tun\":\"%s\",\"state\":\"down\"}\n", tun.c_str());
      return complain({"no client is running for " + tun}, ExitStatus::failure);
    }
    return complain(answer.error().user, ExitStatus::failure);
  }
  std::fputs((json ? *answer + "\n" : render_status(*answer)).c_str(), stdout);
  return static_cast<int>(ExitStatus::success);
}

/// Returns once everything is as it was: the client's lock is free then.
int disconnect(const std::string& socket, const std::string& tun) {
  const auto answer =
      io::control_request(socket, control_request_line({ControlCommand::disconnect, {}}), kControlTimeout);
  if (!answer) {
    if (answer.error().code == io::ControlErrc::not_running) {
      return complain({"no client is running for " + tun}, ExitStatus::failure);
    }
    return complain(answer.error().user, ExitStatus::failure);
  }
  const auto until = monotonic_now() + kControlTimeout;
  while (monotonic_now() < until) {
    if (InstanceLock::acquire(kRuntimeDirectory, tun)) return static_cast<int>(ExitStatus::success);
    timespec pause{0, 50'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return complain({"the client for " + tun + " was told to end, but is still there after 10 s: see its log"},
                  ExitStatus::failure);
}

/// Asks for a move; whether it came about is seen in the output of `connect`, and in the status.
int use(const std::string& socket, const std::string& tun, const std::string& transport) {
  const auto answer =
      io::control_request(socket, control_request_line({ControlCommand::use, transport}), kControlTimeout);
  if (!answer) {
    if (answer.error().code == io::ControlErrc::not_running) {
      return complain({"no client is running for " + tun}, ExitStatus::failure);
    }
    return complain(answer.error().user, ExitStatus::failure);
  }
  if (const auto error = control_error(*answer)) return complain({*error}, ExitStatus::failure);
  return static_cast<int>(ExitStatus::success);
}

}  // namespace

int run(int argc, char** argv) {
  CLI::App app{"Switchback's client: an IPsec tunnel to a headend.", "switchback-client"};
  app.require_subcommand(1);
  app.set_version_flag("--version", SB_VERSION);
  app.set_help_all_flag("--help-all", "Show the help of all commands");

  ConnectOptions options;
  auto* connecting = app.add_subcommand("connect", "Bring the tunnel up and keep it up; runs in the foreground");
  connecting->add_option("--profile", options.profile, "Profile that `switchback-headend user add` wrote")
      ->required()
      ->type_name("FILE.toml");
  connecting
      ->add_option("--transport", options.transport, "auto (the best that works), or only udp, esp, ctcp, tcp or tls")
      ->capture_default_str()
      ->type_name("NAME");
  connecting->add_option("--order", options.order, "Transports to try, best first [the profile's]")
      ->delimiter(',')
      ->type_name("A,B,…");
  connecting->add_option("--ctcp-mode", options.ctcp_mode, "How ctcp is spoken: resilient or classic [the profile's]")
      ->type_name("MODE");
  connecting->add_flag("--stay", options.stay,
                       "Once up, keep to that one path whatever becomes of it: to see what other clients go through");
  connecting->add_option("--tun", options.tun, "Name of the tunnel interface")
      ->capture_default_str()
      ->type_name("NAME");
  connecting->add_option("--local", options.local, "Send from this local address only")->type_name("ADDR");
  connecting->add_option("--pcap", options.pcap, "Write the inner packets to this file (unencrypted!)")
      ->type_name("FILE");
  connecting
      ->add_option("--keylog", options.keylog,
                   "Write the session's keys as Wireshark tables to this directory, for debugging: whoever reads them "
                   "can decrypt everything")
      ->type_name("DIR");
  connecting->add_option("--log-level", options.log_level, "debug, info, warning or error")
      ->capture_default_str()
      ->type_name("LEVEL");
  connecting->add_option("--log-to", options.log_to, "stderr or journald")->capture_default_str()->type_name("SINK");
  connecting
      ->add_option("--control-socket", options.control_socket,
                   "Where status and disconnect find this client [/run/switchback/client-TUN.sock]")
      ->type_name("PATH");

  std::string tun = kDefaultTun, socket;
  bool json = false;
  const auto add_target = [&](CLI::App* command) {
    command->add_option("--tun", tun, "Name of the tunnel interface")->capture_default_str()->type_name("NAME");
    command->add_option("--control-socket", socket, "The client's control socket, if not in the usual place")
        ->type_name("PATH");
  };
  auto* asking = app.add_subcommand("status", "Show what a running client does");
  add_target(asking);
  asking->add_flag("--json", json, "As one line of JSON");
  auto* ending = app.add_subcommand("disconnect", "Take a running client's tunnel down, and wait until it is");
  add_target(ending);
  auto* using_ = app.add_subcommand("use", "Move a running client's session to another transport, without a break");
  std::string transport;
  using_->add_option("transport", transport, "udp, esp, ctcp, tcp or tls")->required()->type_name("TRANSPORT");
  add_target(using_);

  DoctorOptions examination;
  auto* doctoring = app.add_subcommand(
      "doctor",
      "Test every way to the headend and say what is wrong; changes nothing, and works beside a running client");
  doctoring->add_option("--profile", examination.profile, "Profile that `switchback-headend user add` wrote")
      ->required()
      ->type_name("FILE.toml");
  doctoring->add_flag("--json", examination.json, "As one line of JSON");
  doctoring->add_option("--local", examination.local, "Send from this local address only")->type_name("ADDR");
  doctoring->add_option("--timeout", examination.timeout, "Seconds that all tests together may take")
      ->capture_default_str()
      ->check(CLI::Range(5U, 3600U))
      ->type_name("S");
  doctoring->add_flag("--long", examination.idle, "Also wait for minutes, to find devices that forget idle flows");
  auto* locating = doctoring->add_flag("--locate-loss", examination.locate,
                                       "Instead: measure between which routers packets get lost, in which direction, "
                                       "how many, and how sure that is; Ctrl-C ends it with what is known by then");
  doctoring
      ->add_option("--transport", examination.transport,
                   "With --locate-loss: auto (the profile's first that works), udp, esp or ctcp")
      ->capture_default_str()
      ->needs(locating)
      ->type_name("NAME");
  doctoring
      ->add_option("--seconds", examination.seconds, "With --locate-loss: measure for so long, if less is not enough")
      ->capture_default_str()
      ->needs(locating)
      ->check(CLI::Range(5U, 86400U))
      ->type_name("N");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : static_cast<int>(ExitStatus::usage);
  }
  if (connecting->parsed()) return connect(options);
  if (doctoring->parsed()) return static_cast<int>(run_doctor(examination));
  if (const auto valid = check_tun_name(tun); !valid) return complain(valid.error(), ExitStatus::usage);
  if (asking->parsed()) return show_status(socket_of(socket, tun), json, tun);
  if (using_->parsed()) return use(socket_of(socket, tun), tun, transport);
  return disconnect(socket_of(socket, tun), tun);
}

}  // namespace switchback::client

int main(int argc, char** argv) {
  try {
    return switchback::client::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "switchback-client: %s\n", error.what());
    return static_cast<int>(switchback::client::ExitStatus::failure);
  }
}
