#include "client/instance_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <cctype>
#include <cerrno>

namespace switchback::client {

Result<InstanceLock, UserError> InstanceLock::acquire(const std::string& directory, const std::string& tun) {
  const auto path = directory + "/client-" + tun + ".lock";
  const auto reason = [] { return std::generic_category().message(errno); };
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_user("cannot make the folder " + directory + " (" + reason() + "): run as root");
  }
  UniqueFd fd{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd) return fail_user("cannot open " + path + " (" + reason() + "): run as root");
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_user("cannot lock " + path + ": " + reason());
    std::array<char, 16> text{};
    const auto count = ::pread(fd.get(), text.data(), text.size() - 1, 0);
    std::string pid;
    for (ssize_t i = 0; i < count && std::isdigit(static_cast<unsigned char>(text[static_cast<std::size_t>(i)])); ++i) {
      pid += text[static_cast<std::size_t>(i)];
    }
    return fail_user("a client for " + tun + " is running already" + (pid.empty() ? "" : " (process " + pid + ")") +
                     ": end it with `switchback-client disconnect --tun " + tun +
                     "`, or choose another name with --tun");
  }
  const auto pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) {
    return fail_user("cannot write " + path + ": " + reason());
  }
  return InstanceLock{std::move(fd)};
}

}  // namespace switchback::client
