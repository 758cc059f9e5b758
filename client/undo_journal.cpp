#include "client/undo_journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "client/instance_lock.h"
#include "common/base/log.h"
#include "common/base/unique_fd.h"

namespace switchback::client {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kVersion = 1;
constexpr std::string_view kPrefix = "client-", kSuffix = ".undo";
constexpr std::size_t kMaxJournal = std::size_t{4} << 20U;

std::string reason(int error) { return std::generic_category().message(error); }

json rule_to_json(const io::Rule& rule) {
  json out{{"family", rule.family == IpFamily::v6 ? 6 : 4},
           {"priority", rule.priority},
           {"table", rule.table},
           {"mark", rule.mark},
           {"invert", rule.invert},
           {"ip_protocol", rule.ip_protocol},
           {"destination_port", rule.destination_port}};
  if (rule.suppress_prefix_length) out["suppress_prefix_length"] = *rule.suppress_prefix_length;
  if (rule.to) out["to"] = rule.to->to_string();
  return out;
}

IpPrefix prefix_from(const json& text) {
  const auto prefix = IpPrefix::parse(text.get<std::string>());
  if (!prefix) throw std::invalid_argument("no prefix");
  return *prefix;
}

io::Rule rule_from_json(const json& in) {
  io::Rule rule;
  rule.family = in.at("family").get<int>() == 6 ? IpFamily::v6 : IpFamily::v4;
  rule.priority = in.at("priority").get<std::uint32_t>();
  rule.table = in.at("table").get<std::uint32_t>();
  rule.mark = in.at("mark").get<std::uint32_t>();
  rule.invert = in.at("invert").get<bool>();
  rule.ip_protocol = in.at("ip_protocol").get<std::uint8_t>();
  rule.destination_port = in.at("destination_port").get<std::uint16_t>();
  if (in.contains("suppress_prefix_length")) {
    rule.suppress_prefix_length = in.at("suppress_prefix_length").get<unsigned>();
  }
  if (in.contains("to")) rule.to = prefix_from(in.at("to"));
  return rule;
}

json to_json_step(const UndoStep& step) {
  return std::visit(
      [](const auto& kind) -> json {
        using Kind = std::decay_t<decltype(kind)>;
        if constexpr (std::is_same_v<Kind, RuleStep>) {
          return {{"rule", rule_to_json(kind.rule)}};
        } else if constexpr (std::is_same_v<Kind, RouteStep>) {
          return {{"route",
                   {{"destination", kind.route.destination.to_string()},
                    {"kind", static_cast<int>(kind.route.kind)},
                    {"table", kind.route.table},
                    {"metric", kind.route.metric}}}};
        } else {
          const auto& backup = kind.backup;
          // Octets of a file need not be UTF-8: JSON gets them as numbers.
          return {{"resolv_conf",
                   {{"kind", static_cast<int>(backup.kind)},
                    {"path", backup.path},
                    {"aside_path", backup.aside_path},
                    {"tun", backup.tun},
                    {"content", Bytes(backup.content.begin(), backup.content.end())},
                    {"mode", backup.mode},
                    {"modified_ns", backup.modified_ns}}}};
        }
      },
      step);
}

UndoStep from_json_step(const json& in) {
  if (in.contains("rule")) return RuleStep{rule_from_json(in.at("rule"))};
  if (in.contains("route")) {
    const auto& from = in.at("route");
    io::Route route;
    route.destination = prefix_from(from.at("destination"));
    const int kind = from.at("kind").get<int>();
    if (kind < 0 || kind > static_cast<int>(io::RouteKind::blackhole)) throw std::invalid_argument("no such kind");
    route.kind = static_cast<io::RouteKind>(kind);
    route.table = from.at("table").get<std::uint32_t>();
    route.metric = from.at("metric").get<std::uint32_t>();
    return RouteStep{route};
  }
  const auto& from = in.at("resolv_conf");
  ResolvConfBackup backup;
  const int kind = from.at("kind").get<int>();
  if (kind < 0 || kind > static_cast<int>(ResolvConfBackup::Kind::copied)) throw std::invalid_argument("no such kind");
  backup.kind = static_cast<ResolvConfBackup::Kind>(kind);
  backup.path = from.at("path").get<std::string>();
  backup.aside_path = from.at("aside_path").get<std::string>();
  backup.tun = from.at("tun").get<std::string>();
  const auto content = from.at("content").get<Bytes>();
  backup.content.assign(content.begin(), content.end());
  backup.mode = from.at("mode").get<std::uint32_t>();
  backup.modified_ns = from.at("modified_ns").get<std::int64_t>();
  return ResolvConfStep{backup};
}

}  // namespace

std::string to_json(const std::vector<UndoStep>& steps, const std::string& tun) {
  json out{{"version", kVersion}, {"tun", tun}, {"steps", json::array()}};
  for (const auto& step : steps) out["steps"].push_back(to_json_step(step));
  return out.dump(1);
}

Result<std::vector<UndoStep>, UserError> steps_from_json(const std::string& text) {
  try {
    const auto in = json::parse(text);
    if (in.at("version").get<int>() != kVersion) return fail_user("it is of another version of this program");
    std::vector<UndoStep> steps;
    for (const auto& step : in.at("steps")) steps.push_back(from_json_step(step));
    return steps;
  } catch (const std::exception&) {
    return fail_user("it is not an undo journal");
  }
}

UndoJournal::UndoJournal(std::string directory, std::string tun)
    : directory_{std::move(directory)},
      tun_{std::move(tun)},
      path_{directory_ + "/" + std::string{kPrefix} + tun_ + std::string{kSuffix}} {}

Result<std::vector<UndoStep>, UserError> UndoJournal::read() const {
  const UniqueFd fd{::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (!fd && errno == ENOENT) return std::vector<UndoStep>{};
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return fail_user("cannot read " + path_ + ": " + reason(errno));
  if (static_cast<std::size_t>(info.st_size) > kMaxJournal) return fail_user(path_ + " is too large: remove it");
  std::string text(static_cast<std::size_t>(info.st_size), '\0');
  if (::read(fd.get(), text.data(), text.size()) != info.st_size) return fail_user("cannot read " + path_);
  auto steps = steps_from_json(text);
  if (!steps) {
    return fail_user(path_ + " cannot be used (" + steps.error().message +
                     "): check `ip rule` and /etc/resolv.conf, then remove it");
  }
  return steps;
}

Result<void, UserError> UndoJournal::write() const {
  const auto cannot = [&](const char* what) {
    return fail_user(std::string{"cannot "} + what + " the undo journal " + path_ + ": " + reason(errno));
  };
  if (::mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) return cannot("make the folder of");
  const auto temporary = path_ + ".new";
  {
    const UniqueFd fd{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (!fd) return cannot("create");
    const auto text = to_json(steps_, tun_);
    std::size_t done = 0;
    while (done < text.size()) {
      const auto count = ::write(fd.get(), text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return cannot("write");
      done += static_cast<std::size_t>(count);
    }
    if (::fsync(fd.get()) != 0) return cannot("write");
  }
  if (::rename(temporary.c_str(), path_.c_str()) != 0) return cannot("put in place");
  const UniqueFd folder{::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (folder) ::fsync(folder.get());
  return {};
}

Result<void, UserError> UndoJournal::record(const std::vector<UndoStep>& steps) {
  const auto before = steps_.size();
  steps_.insert(steps_.end(), steps.begin(), steps.end());
  auto written = write();
  if (!written) steps_.resize(before);
  return written;
}

void UndoJournal::forget(const UndoStep& step) {
  const auto found = std::find(steps_.begin(), steps_.end(), step);
  if (found == steps_.end()) return;
  steps_.erase(found);
  if (steps_.empty()) return clear();
  if (const auto written = write(); !written) log::warning("undo_journal", {{"error", written.error().message}});
}

void UndoJournal::clear() {
  steps_.clear();
  ::unlink(path_.c_str());
}

void undo(const UndoStep& step, io::Netlink& netlink) {
  std::visit(
      [&](const auto& kind) {
        using Kind = std::decay_t<decltype(kind)>;
        if constexpr (std::is_same_v<Kind, RuleStep>) {
          if (const auto done = netlink.delete_rule(kind.rule); !done) {
            log::warning("undo_failed", {{"what", "rule"}, {"error", done.error().message()}});
          }
        } else if constexpr (std::is_same_v<Kind, RouteStep>) {
          if (const auto done = netlink.delete_route(kind.route); !done) {
            log::warning("undo_failed", {{"what", "route"}, {"error", done.error().message()}});
          }
        } else {
          const auto done = restore_resolv_conf(kind.backup);
          if (!done) {
            log::warning("undo_failed", {{"what", "resolv.conf"}, {"error", done.error().message}});
          } else if (!*done) {
            log::info("resolv_conf_kept", {{"path", kind.backup.path}, {"reason", "somebody else has written it"}});
          }
        }
      },
      step);
}

Result<std::size_t, UserError> replay_journal(const std::string& directory, const std::string& tun,
                                              io::Netlink& netlink) {
  UndoJournal journal{directory, tun};
  SB_TRY(const auto steps, journal.read());
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) undo(*step, netlink);
  journal.clear();
  return steps.size();
}

void replay_abandoned_journals(const std::string& directory, io::Netlink& netlink) {
  std::error_code error;
  std::vector<std::string> names;
  for (auto entry = fs::directory_iterator{directory, error}; !error && entry != fs::directory_iterator{};
       entry.increment(error)) {
    const auto name = entry->path().filename().string();
    if (name.size() > kPrefix.size() + kSuffix.size() && name.starts_with(kPrefix) && name.ends_with(kSuffix)) {
      names.push_back(name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size()));
    }
  }
  for (const auto& tun : names) {
    const auto lock = InstanceLock::acquire(directory, tun);
    if (!lock) continue;  // it is running, and its journal in use
    const auto undone = replay_journal(directory, tun, netlink);
    if (!undone) {
      log::warning("undo_journal", {{"tun", tun}, {"error", undone.error().message}});
    } else if (*undone != 0) {
      log::info("undone_after_crash", {{"tun", tun}, {"steps", *undone}});
    }
  }
}

}  // namespace switchback::client
