#include "client/history_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "common/base/log.h"
#include "common/base/unique_fd.h"

namespace switchback::client {
namespace {

/// Far more than History::kMaxNetworks lines need.
constexpr std::size_t kMaxOctets = 16 * 1024;

/// FNV-1a: a name for a file, nothing that must resist anybody.
std::uint64_t hash(std::string_view text) {
  std::uint64_t value = 0xCBF29CE484222325U;
  for (const auto c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return value;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

std::string history_path(const std::string& directory, const std::string& profile, const std::string& headend) {
  std::array<char, 40> name{};
  std::snprintf(name.data(), name.size(), "history-%016llx",
                static_cast<unsigned long long>(hash(profile + '\0' + headend)));
  return directory + "/" + name.data();
}

path::History load_history(const std::string& file) {
  const UniqueFd fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != ::geteuid()) return {};
  std::string text(kMaxOctets, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const auto got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size == text.size()) return {};
  text.resize(size);
  return path::History::parse(text);
}

void save_history(const std::string& file, const path::History& history) {
  const auto temporary = file + ".new";
  ::unlink(temporary.c_str());
  bool saved = false;
  if (const UniqueFd fd{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)}) {
    saved = write_all(fd.get(), history.render()) && ::rename(temporary.c_str(), file.c_str()) == 0;
  }
  if (saved) return;
  const int error = errno;
  ::unlink(temporary.c_str());
  log::debug("history_not_saved", {{"file", file}, {"error", std::strerror(error)}});
}

}  // namespace switchback::client
