#include "client/resolv_conf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>

#include "common/base/unique_fd.h"

namespace switchback::client {
namespace {

constexpr std::size_t kMaxServers = 3;  // MAXNS of resolv.h
constexpr std::size_t kMaxDomains = 32;
constexpr std::size_t kMaxFile = std::size_t{64} << 10U;
constexpr std::string_view kHeader = "# switchback-client ";

std::string reason(int error) { return std::generic_category().message(error); }

tl::unexpected<UserError> cannot(std::string_view what, const std::string& path, int error) {
  return fail_user("cannot " + std::string{what} + " " + path + ": " + reason(error));
}

std::string header_line(std::string_view tun) {
  return std::string{kHeader} + std::string{tun} + " has taken over this file; the original comes back with its end.\n";
}

bool is_domain(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  });
}

/// Whole content of an open file, bounded.
std::optional<std::string> read_all(int fd) {
  std::string text;
  text.resize(kMaxFile);
  std::size_t got = 0;
  while (got < text.size()) {
    const auto count = ::read(fd, text.data() + got, text.size() - got);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::nullopt;
    if (count == 0) break;
    got += static_cast<std::size_t>(count);
  }
  text.resize(got);
  return text;
}

/// Content behind the name; empty if there is none.
std::string content_of(const std::string& path) {
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return {};
  return read_all(fd.get()).value_or(std::string{});
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return ::fsync(fd) == 0;
}

Result<void, UserError> write_in_place(const std::string& path, std::string_view text) {
  const UniqueFd fd{::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC)};
  if (!fd || !write_all(fd.get(), text)) return cannot("write", path, errno);
  return {};
}

/// Under a new name first, so that nobody ever reads half a file.
Result<void, UserError> write_by_rename(const std::string& path, std::string_view text) {
  auto temporary = path + ".XXXXXX";
  const UniqueFd fd{::mkostemp(temporary.data(), O_CLOEXEC)};
  if (!fd) return cannot("create a file beside", path, errno);
  if (::fchmod(fd.get(), 0644) == 0 && write_all(fd.get(), text) && ::rename(temporary.c_str(), path.c_str()) == 0) {
    return {};
  }
  const int error = errno;
  ::unlink(temporary.c_str());
  return cannot("replace", path, error);
}

/// Whether something is mounted on exactly this name: such a file can be written, but not renamed.
bool is_mount_point(const std::string& path) {
  struct statx info {};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &info) != 0) {
    return false;
  }
  return (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

std::string aside_name(const std::string& path, std::string_view tun) {
  return path + ".switchback-" + std::string{tun};
}

bool is_ours(const std::string& path, const std::string& tun) {
  const auto text = content_of(path);
  return resolv_conf_owner(text) == tun;
}

}  // namespace

std::string render_resolv_conf(const DnsSettings& settings, std::string_view tun, std::string_view original) {
  auto text = header_line(tun);
  std::size_t count = 0;
  for (const auto& domain : settings.search_domains) {
    if (!is_domain(domain) || count == kMaxDomains) continue;
    text += (count == 0 ? "search " : " ") + domain;
    ++count;
  }
  if (count != 0) text += '\n';
  count = 0;
  for (const auto& server : settings.servers) {
    if (server.empty() || count == kMaxServers) continue;
    text += "nameserver " + server.to_string() + "\n";
    ++count;
  }
  while (!original.empty()) {
    const auto end = original.find('\n');
    const auto line = original.substr(0, end);
    if (line.starts_with("options ") || line.starts_with("options\t")) text += std::string{line} + "\n";
    original.remove_prefix(end == std::string_view::npos ? original.size() : end + 1);
  }
  return text;
}

std::string_view resolv_conf_owner(std::string_view text) {
  if (!text.starts_with(kHeader)) return {};
  const auto rest = text.substr(kHeader.size());
  const auto end = rest.find(' ');
  return end == std::string_view::npos ? std::string_view{} : rest.substr(0, end);
}

bool is_torn_resolv_conf(std::string_view text, std::string_view tun) {
  const auto header = header_line(tun);
  return text.size() < header.size() && std::string_view{header}.starts_with(text);
}

Result<ResolvConfBackup, UserError> back_up_resolv_conf(const std::string& path, const std::string& tun) {
  ResolvConfBackup backup;
  backup.path = path;
  backup.tun = tun;
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return cannot("look at", path, errno);
    return backup;
  }
  const auto text = content_of(path);
  const auto owner = resolv_conf_owner(text);
  if (!owner.empty()) {
    return fail_user("the name servers in " + path + " belong to the tunnel " + std::string{owner} +
                     ": set dns = false in the [tunnel] section of one of the two profiles");
  }

  if (!is_mount_point(path)) {
    // A second name for the same inode (of a symbolic link: the link itself) changes nothing for those who read.
    const auto aside = aside_name(path, tun);
    ::unlink(aside.c_str());
    if (::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), 0) == 0) {
      backup.kind = ResolvConfBackup::Kind::aside;
      backup.aside_path = aside;
      return backup;
    }
  }
  const UniqueFd fd{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
  if (!fd || ::fstat(fd.get(), &info) != 0) return cannot("open for writing", path, errno);
  const auto content = read_all(fd.get());
  if (!content) return cannot("read", path, errno);
  backup.kind = ResolvConfBackup::Kind::copied;
  backup.content = *content;
  backup.mode = info.st_mode & 07777U;
  backup.modified_ns = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  return backup;
}

Result<void, UserError> replace_resolv_conf(const ResolvConfBackup& backup, std::string_view text) {
  if (backup.kind == ResolvConfBackup::Kind::copied) return write_in_place(backup.path, text);
  return write_by_rename(backup.path, text);
}

Result<bool, UserError> restore_resolv_conf(const ResolvConfBackup& backup) {
  const auto text = content_of(backup.path);
  const bool torn = backup.kind == ResolvConfBackup::Kind::copied && is_torn_resolv_conf(text, backup.tun);
  const bool ours = resolv_conf_owner(text) == backup.tun || torn;
  switch (backup.kind) {
    case ResolvConfBackup::Kind::absent:
      if (ours && ::unlink(backup.path.c_str()) != 0 && errno != ENOENT) return cannot("remove", backup.path, errno);
      return ours;
    case ResolvConfBackup::Kind::aside:
      if (!ours) {
        ::unlink(backup.aside_path.c_str());
        return false;
      }
      if (::rename(backup.aside_path.c_str(), backup.path.c_str()) != 0) return cannot("restore", backup.path, errno);
      return true;
    case ResolvConfBackup::Kind::copied: {
      if (!ours) return false;
      const UniqueFd fd{::open(backup.path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC)};
      if (!fd || !write_all(fd.get(), backup.content)) return cannot("restore", backup.path, errno);
      if (::fchmod(fd.get(), backup.mode) != 0) return cannot("restore the mode of", backup.path, errno);
      const timespec modified{backup.modified_ns / 1'000'000'000, backup.modified_ns % 1'000'000'000};
      const std::array<timespec, 2> times{timespec{0, UTIME_OMIT}, modified};
      if (::futimens(fd.get(), times.data()) != 0) return cannot("restore the time of", backup.path, errno);
      return true;
    }
  }
  return false;
}

bool recover_resolv_conf(const std::string& path, const std::string& tun) {
  const auto aside = aside_name(path, tun);
  struct stat info {};
  if (::lstat(aside.c_str(), &info) != 0) return false;
  if (is_ours(path, tun)) return ::rename(aside.c_str(), path.c_str()) == 0;
  ::unlink(aside.c_str());
  return false;
}

}  // namespace switchback::client
