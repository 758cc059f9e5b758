#include "client/dns.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "common/base/log.h"
#include "common/base/time.h"
#include "common/base/unique_fd.h"

namespace switchback::client {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxServers = 8, kMaxDomains = 32;

std::string text_of(const std::string& path) {
  std::ifstream in{path};
  std::string text;
  for (std::string line; text.size() < 65536 && std::getline(in, line);) text += line + "\n";
  return text;
}

/// Reads what a child says until it closes its end or the time is over. False: the time is over.
bool collect(int fd, std::string& said, Instant until) {
  std::array<char, 512> buffer{};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - monotonic_now()).count();
    pollfd ready{fd, POLLIN, 0};
    const int got = left <= 0 ? 0 : ::poll(&ready, 1, static_cast<int>(left));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    const auto count = ::read(fd, buffer.data(), buffer.size());
    if (count <= 0) return true;
    for (const char c : std::string_view{buffer.data(), static_cast<std::size_t>(count)}) {
      if (said.size() < 200) said += std::isprint(static_cast<unsigned char>(c)) != 0 ? c : ' ';
    }
  }
}

}  // namespace

Result<void, UserError> run_program(const std::string& path, const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_user("cannot run " + path + ": " + std::strerror(errno));
  UniqueFd reader{ends[0]}, writer{ends[1]};

  std::vector<std::string> words{path};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::string path_variable = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale = "LC_ALL=C";
  std::array<char*, 3> environment{path_variable.data(), locale.data(), nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, writer.get(), STDERR_FILENO);
  // The loop's signal mask and handlers are not the child's business, and Ctrl-C at the terminal is for us alone.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, path.c_str(), &actions, &attributes, argv.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return fail_user("cannot run " + path + ": " + std::strerror(error));
  writer = UniqueFd{};

  std::string said;
  const bool in_time = collect(reader.get(), said, monotonic_now() + std::chrono::seconds{5});
  if (!in_time) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) return fail_user(path + " did not answer within 5 s");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail_user(path + " failed: " + (said.empty() ? "no reason given" : said));
}

std::optional<std::string> find_resolved(const DnsPaths& paths) {
  std::error_code error;
  if (!fs::is_directory(paths.resolved_directory, error)) return std::nullopt;
  const auto target = fs::canonical(paths.resolv_conf, error);
  const bool linked = !error && target.string().find("/systemd/resolve/") != std::string::npos;
  const auto text = text_of(paths.resolv_conf);
  const bool stub = text.find("nameserver 127.0.0.53") != std::string::npos ||
                    text.find("nameserver 127.0.0.54") != std::string::npos;
  if (!linked && !stub) return std::nullopt;
  for (const auto& candidate : paths.resolvectl) {
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return std::nullopt;
}

std::vector<std::vector<std::string>> resolvectl_calls(const DnsSettings& settings, const std::string& tun) {
  std::vector<std::string> servers{"dns", tun}, domains{"domain", tun};
  for (const auto& server : settings.servers) {
    if (servers.size() < kMaxServers + 2) servers.push_back(server.to_string());
  }
  for (const auto& domain : settings.search_domains) {
    const bool plain = !domain.empty() && domain.size() <= 253 && domain.front() != '-' && domain.front() != '~' &&
                       domain.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
                           std::string::npos;
    if (plain && domains.size() < kMaxDomains + 2) domains.push_back(domain);
  }
  // "~." sends every name to this link, before all others.
  if (settings.all_names) domains.emplace_back("~.");
  if (domains.size() == 2) domains.emplace_back("");
  return {servers, domains, {"default-route", tun, settings.all_names ? "yes" : "no"}};
}

Result<void, UserError> Dns::apply(const DnsSettings& settings) {
  if (settings == applied_) return {};
  if (settings.servers.empty()) {
    revert();
    return {};
  }
  if (!backup_ && !resolvectl_) resolvectl_ = find_resolved(paths_);
  if (resolvectl_) {
    for (const auto& call : resolvectl_calls(settings, tun_)) {
      if (auto done = run_program(*resolvectl_, call); !done) {
        revert();
        return done;
      }
    }
    applied_ = settings;
    return {};
  }

  std::string original;
  if (!backup_) {
    original = text_of(paths_.resolv_conf);
    SB_TRY(auto backup, back_up_resolv_conf(paths_.resolv_conf, tun_));
    SB_CHECK(journal_.record({ResolvConfStep{backup}}));
    backup_ = std::move(backup);
  } else {
    original = text_of(paths_.resolv_conf);  // ours, with the original's options
  }
  if (auto done = replace_resolv_conf(*backup_, render_resolv_conf(settings, tun_, original)); !done) {
    revert();
    return done;
  }
  applied_ = settings;
  return {};
}

void Dns::revert() {
  if (resolvectl_) {
    if (const auto done = run_program(*resolvectl_, {"revert", tun_}); !done && !applied_.servers.empty()) {
      log::warning("undo_failed", {{"what", "dns"}, {"error", done.error().message}});
    }
    resolvectl_.reset();
  }
  if (backup_) {
    const auto restored = restore_resolv_conf(*backup_);
    if (!restored) {
      log::warning("undo_failed", {{"what", "resolv.conf"}, {"error", restored.error().message}});
    } else {
      if (!*restored) log::info("resolv_conf_kept", {{"reason", "somebody else has written it"}});
      journal_.forget(ResolvConfStep{*backup_});
    }
    backup_.reset();
  }
  applied_ = {};
}

std::string_view Dns::method() const noexcept {
  if (resolvectl_) return "resolved";
  if (backup_) return "resolv.conf";
  return "none";
}

}  // namespace switchback::client
