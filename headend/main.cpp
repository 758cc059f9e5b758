// switchback-headend: the command line.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "common/base/log.h"
#include "headend/commands.h"

#ifndef SB_VERSION
#define SB_VERSION "unknown"
#endif

namespace {

using namespace switchback;
using namespace switchback::headend;

int report(const Result<int, UserError>& result) {
  if (result) return *result;
  std::fprintf(stderr, "switchback-headend: %s\n", result.error().message.c_str());
  return 1;
}

struct Arguments {
  std::string directory = "/etc/switchback";
  bool json = false;

  InitOptions init;
  std::string init_key_type = "ecdsa-p256";

  AddUserOptions add;
  std::string format = "switchback";
  std::string key_type = "ecdsa-p256";
  std::string from;
  std::string name;
  bool all_users = false;

  RunOptions run;
  std::string log_level = "info";
  std::string log_to = "auto";

  std::string target;
  bool all_sessions = false;
};

Result<int, UserError> run_init(Arguments& arguments) {
  arguments.init.directory = arguments.directory;
  SB_TRY(const auto type, parse_key_type(arguments.init_key_type));
  arguments.init.key_type = type;
  return command_init(arguments.init);
}

Result<int, UserError> run_user_add(Arguments& arguments) {
  SB_TRY(const auto format, parse_export_format(arguments.format));
  SB_TRY(const auto type, parse_key_type(arguments.key_type));
  arguments.add.format = format;
  arguments.add.key_type = type;
  if (arguments.from.empty() == arguments.add.name.empty()) {
    return fail_user("say who is added: one NAME, or with --from a file of names");
  }
  if (arguments.from.empty()) return command_user_add(arguments.directory, arguments.add);
  return command_users_add(arguments.directory, {arguments.from, arguments.add});
}

Result<int, UserError> run_headend(const Arguments& arguments) {
  SB_TRY(const auto level, log::parse_level(arguments.log_level));
  // systemd sets JOURNAL_STREAM for services whose stderr goes to the journal.
  const bool journal =
      arguments.log_to == "journald" || (arguments.log_to == "auto" && std::getenv("JOURNAL_STREAM") != nullptr);
  log::configure(level, journal ? log::Sink::journald : log::Sink::standard_error);
  return command_run(arguments.directory, arguments.run);
}

Result<int, UserError> run_kick(const Arguments& arguments) {
  if (arguments.all_sessions != arguments.target.empty()) {
    return fail_user("say whom to kick: a user, a session's number or an inner address; or --all");
  }
  KickTarget target;
  if (arguments.all_sessions) {
    target.all = true;
  } else {
    target = kick_target(arguments.target);
  }
  return command_kick(arguments.directory, target, arguments.json);
}

int dispatch(int argc, char** argv) {
  CLI::App app{"Switchback headend: accepts IPsec VPN clients over UDP, ESP, cTCP, TCP and TLS"};
  app.require_subcommand(1);
  app.set_version_flag("--version", SB_VERSION, "Print the version");
  app.get_formatter()->column_width(34);
  Arguments arguments;
  std::optional<Result<int, UserError>> result;

  const auto with_directory = [&](CLI::App* command) {
    command->add_option("--dir", arguments.directory, "The headend's directory")->capture_default_str();
  };
  const auto with_json = [&](CLI::App* command) {
    command->add_flag("--json", arguments.json, "Print JSON, one line");
  };

  auto* init = app.add_subcommand("init", "Create a headend's directory: CA, certificate, configuration, database");
  with_directory(init);
  init->add_option("--address", arguments.init.addresses,
                   "Where clients find this server: IP address or host name; may repeat")
      ->required()
      ->take_all()
      ->allow_extra_args(false);
  init->add_option("--identity", arguments.init.identity,
                   "What clients check in the certificate; default: the first host name, else the first address");
  init->add_option("--pool", arguments.init.pool, "Inner IPv4 addresses for clients, or none")->capture_default_str();
  init->add_option("--pool6", arguments.init.pool6,
                   "Inner IPv6 addresses for clients, or none; default: random fd…/64");
  init->add_option("--dns", arguments.init.dns, "DNS server for clients; may repeat")
      ->take_all()
      ->allow_extra_args(false);
  init->add_option("--route", arguments.init.routes,
                   "What clients reach through the tunnel; may repeat; default: everything")
      ->take_all()
      ->allow_extra_args(false);
  init->add_option("--key-type", arguments.init_key_type,
                   "Of CA and headend: ecdsa-p256, ecdsa-p384, ed25519 or rsa-3072")
      ->capture_default_str();
  init->callback([&] { result = run_init(arguments); });

  auto* user = app.add_subcommand("user", "Users: add, list, remove");
  user->require_subcommand(1);
  auto* add = user->add_subcommand("add", "Make a user's credentials and write the file that their client needs");
  add->add_option("name", arguments.add.name, "alice, or alice@example.org");
  with_directory(add);
  add->add_option("--from", arguments.from, "Instead of one name: a file of names, one a line; all of them or none");
  add->add_option("--out", arguments.add.out,
                  "File to write, mode 0600 (strongswan, or with --from: a directory); must not exist")
      ->required();
  add->add_option("--format", arguments.format, "switchback, strongswan, mobileconfig (Apple) or p12")
      ->capture_default_str();
  add->add_flag("--psk", arguments.add.pre_shared_key, "A random pre-shared key instead of a certificate");
  add->add_option("--key-type", arguments.key_type, "ecdsa-p256, ecdsa-p384, ed25519 or rsa-3072")
      ->capture_default_str();
  add->add_option("--password-file", arguments.add.password_file, "p12: file with the password in its first line");
  add->callback([&] { result = run_user_add(arguments); });

  auto* list = user->add_subcommand("list", "Who may connect");
  with_directory(list);
  with_json(list);
  list->add_flag("--all", arguments.all_users, "With those that were removed");
  list->callback([&] { result = command_user_list(arguments.directory, arguments.json, arguments.all_users); });

  auto* remove = user->add_subcommand("remove", "Revoke a user's credentials and end their sessions at once");
  remove->add_option("name", arguments.name, "The user")->required();
  with_directory(remove);
  with_json(remove);
  remove->callback([&] { result = command_user_remove(arguments.directory, arguments.name, arguments.json); });

  auto* run = app.add_subcommand("run", "Run the headend in the foreground; SIGHUP re-reads its configuration");
  with_directory(run);
  run->add_option("--log-level", arguments.log_level, "debug, info, warning or error")->capture_default_str();
  run->add_option("--log-to", arguments.log_to, "stderr, journald, or auto")
      ->check(CLI::IsMember({"auto", "stderr", "journald"}))
      ->capture_default_str();
  run->add_option("--keylog", arguments.run.keylog_directory,
                  "DEBUGGING ONLY: write all keys into this directory (0700), as Wireshark's tables");
  run->add_option("--pcap", arguments.run.pcap_file, "DEBUGGING: write inner packets into this capture file");
  run->callback([&] { result = run_headend(arguments); });

  auto* status = app.add_subcommand("status", "Show the running headend");
  with_directory(status);
  with_json(status);
  status->callback([&] { result = command_status(arguments.directory, arguments.json); });

  auto* sessions = app.add_subcommand("sessions", "List the sessions of the running headend");
  with_directory(sessions);
  with_json(sessions);
  sessions->callback([&] { result = command_sessions(arguments.directory, arguments.json); });

  auto* kick = app.add_subcommand("kick", "End sessions; their users may connect again");
  kick->add_option("target", arguments.target, "A user, a session's number, or an inner address");
  kick->add_flag("--all", arguments.all_sessions, "All sessions");
  with_directory(kick);
  with_json(kick);
  kick->callback([&] { result = run_kick(arguments); });

  CLI11_PARSE(app, argc, argv);
  return result ? report(*result) : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return dispatch(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "switchback-headend: %s\n", error.what());
    return 1;
  }
}
