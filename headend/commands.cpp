#include "headend/commands.h"

#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/log.h"
#include "common/io/control_socket.h"
#include "common/io/event_loop.h"
#include "headend/config.h"
#include "headend/store.h"

namespace switchback::headend {
namespace {

constexpr std::chrono::milliseconds kControlTimeout{10'000};
constexpr int kNotRunning = 3;  // as systemctl and init scripts have it for "status"

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void print_line(const std::string& text) { print(text + "\n"); }

/// Asks the running headend; prints the answer as it is or as `render` has it.
Result<int, UserError> ask(const std::string& directory, const std::string& request, bool json,
                           std::string (*render)(std::string_view)) {
  SB_TRY(const auto config, load_config(directory));
  const auto answer = io::control_request(config.control_socket, request, kControlTimeout);
  if (!answer) {
    const bool down = answer.error().code == io::ControlErrc::not_running;
    if (!down) return fail(answer.error().user);
    const std::string message = "the headend is not running (nobody listens on " + config.control_socket + ")";
    if (!json) return fail_user(message + ": start it with `switchback-headend run --dir " + directory + "`");
    print_line(nlohmann::json{{"ok", false}, {"running", false}, {"error", message}}.dump());
    return kNotRunning;
  }
  const auto parsed = parse_control_answer(*answer);
  if (json) {
    print_line(*answer);
    return parsed.ok ? 0 : 1;
  }
  if (!parsed.ok) return fail_user("the headend refused: " + parsed.error);
  print(render(*answer));
  return 0;
}

/// Every connection of tcp and tls is a descriptor, and the usual soft limit is 1024.
void allow_many_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string render_ended(std::string_view answer) {
  const auto ended = parse_control_answer(answer).ended;
  return std::to_string(ended) + (ended == 1 ? " session" : " sessions") + " ended\n";
}

}  // namespace

Result<int, UserError> command_init(const InitOptions& options) {
  SB_TRY(const auto made, init_headend(options, wall_now()));
  std::string text = "created " + options.directory + " for " + made.identity + "\n";
  if (made.pool) text += "  IPv4 pool " + made.pool->to_string() + "\n";
  if (made.pool6) text += "  IPv6 pool " + made.pool6->to_string() + "\n";
  text += "next: switchback-headend user add NAME --dir " + options.directory +
          " --out NAME.toml\n"
          "      switchback-headend run --dir " +
          options.directory + "\n";
  print(text);
  return 0;
}

Result<int, UserError> command_user_add(const std::string& directory, const AddUserOptions& options) {
  SB_TRY(const auto config, load_config(directory));
  SB_TRY(auto store, Store::open(config.layout.database()));
  SB_CHECK(add_user(config, store, options, wall_now()));
  // A running headend finds certificates in the store by itself; pre-shared keys it has to load first.
  if (options.pre_shared_key) {
    (void)io::control_request(config.control_socket, users_changed_request(), kControlTimeout);
  }
  print_line("user " + options.name + " added; give them " + options.out + ", over a safe way: it holds their key");
  return 0;
}

Result<int, UserError> command_users_add(const std::string& directory, const AddUsersOptions& options) {
  SB_TRY(const auto config, load_config(directory));
  SB_TRY(auto store, Store::open(config.layout.database()));
  SB_TRY(const auto count, add_users(config, store, options, wall_now()));
  if (options.each.pre_shared_key) {
    (void)io::control_request(config.control_socket, users_changed_request(), kControlTimeout);
  }
  print_line(std::to_string(count) + (count == 1 ? " user" : " users") + " added; give each of them their file of " +
             options.each.out + ", over a safe way: it holds their key");
  return 0;
}

Result<int, UserError> command_user_list(const std::string& directory, bool json, bool all) {
  SB_TRY(const auto config, load_config(directory));
  SB_TRY(auto store, Store::open(config.layout.database()));
  SB_TRY(const auto users, store.users(all));
  if (json) {
    print_line(user_list_json(users));
  } else {
    print(user_list_text(users));
  }
  return 0;
}

Result<int, UserError> command_user_remove(const std::string& directory, const std::string& name, bool json) {
  SB_TRY(const auto config, load_config(directory));
  SB_TRY(auto store, Store::open(config.layout.database()));
  SB_CHECK(store.remove_user(name, wall_now()));
  const auto answer = io::control_request(config.control_socket, users_changed_request(), kControlTimeout);
  const bool running = answer || answer.error().code != io::ControlErrc::not_running;
  const auto ended = answer ? parse_control_answer(*answer).ended : 0;
  if (json) {
    print_line(nlohmann::json{{"ok", true}, {"user", name}, {"running", running}, {"ended", ended}}.dump());
    return 0;
  }
  std::string text = "user " + name + " removed";
  if (answer) {
    text += ", " + render_ended(*answer);
  } else if (running) {
    text += "; the headend could not be told (" + answer.error().user.message + ") and notices within seconds\n";
  } else {
    text += "; the headend is not running\n";
  }
  print(text);
  return 0;
}

Result<int, UserError> command_run(const std::string& directory, const RunOptions& options) {
  SB_TRY(auto config, load_config(directory));
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads our output may go away
  allow_many_descriptors();
  io::EventLoop loop;
  SB_TRY(const auto server, Server::create(loop, std::move(config), options));

  bool stopping = false;
  const auto stop = [&] {
    if (!stopping) log::info("stopping", {{"sessions", server->status().established}});
    stopping = true;
    ::sd_notify(0, "STOPPING=1");
    server->shut_down([&] { loop.stop(); });
  };
  server->on_failure(stop);
  const auto signals = loop.on_signals({SIGINT, SIGTERM, SIGHUP}, [&](int signal) {
    if (signal != SIGHUP) return stop();
    ::sd_notify(0, "RELOADING=1");
    server->reload();
    ::sd_notify(0, "READY=1");
  });

  const auto summary = server->summary();
  print_line(summary);
  log::info("started", {{"directory", directory}, {"detail", summary}});
  ::sd_notify(0, "READY=1");
  loop.run();
  if (!server->failure().empty()) return fail_user(server->failure());
  log::info("stopped");
  return 0;
}

Result<int, UserError> command_status(const std::string& directory, bool json) {
  return ask(directory, status_request(), json, &render_status);
}

Result<int, UserError> command_sessions(const std::string& directory, bool json) {
  return ask(directory, sessions_request(), json, &render_sessions);
}

Result<int, UserError> command_kick(const std::string& directory, const KickTarget& target, bool json) {
  return ask(directory, kick_request(target), json, &render_ended);
}

KickTarget kick_target(const std::string& text) {
  KickTarget target;
  std::uint64_t id = 0;
  const auto* end = text.data() + text.size();
  if (const auto [last, error] = std::from_chars(text.data(), end, id); error == std::errc{} && last == end) {
    target.id = id;
  } else if (const auto address = IpAddress::parse(text)) {
    target.address = address;
  } else {
    target.user = text;
  }
  return target;
}

}  // namespace switchback::headend
