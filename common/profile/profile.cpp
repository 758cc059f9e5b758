#include "common/profile/profile.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "common/base/unique_fd.h"

namespace switchback::profile {
namespace {

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

Result<Profile, UserError> load(const std::string& path) {
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) {
    const auto remedy = errno == ENOENT ? ": give the file that `switchback-headend user add` wrote"
                                        : ": run as the user who owns it, or as root";
    return fail_user("cannot read the profile " + path + " (" + reason(errno) + ")" + remedy);
  }
  // The open descriptor is asked, not the name, so that nothing can be swapped in between.
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail_user("cannot read the profile " + path + ": " + reason(errno));
  if (!S_ISREG(info.st_mode)) return fail_user("the profile " + path + " is not a regular file");
  if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    std::array<char, 8> mode{};
    std::snprintf(mode.data(), mode.size(), "%04o", static_cast<unsigned>(info.st_mode & 07777U));
    return fail_user("the profile " + path + " holds a secret but has mode " + mode.data() +
                     ", which lets others at it: run `chmod 600 " + path + "`");
  }
  if (static_cast<std::size_t>(info.st_size) > toml::kMaxFileOctets) {
    return fail_user("the profile " + path + " is larger than 1 MiB, which no profile is");
  }
  Secret text{static_cast<std::size_t>(info.st_size)};
  std::size_t got = 0;
  while (got < text.size()) {
    const auto count = ::read(fd.get(), text.span().data() + got, text.size() - got);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail_user("cannot read the profile " + path + ": it changed while it was read");
    got += static_cast<std::size_t>(count);
  }
  return parse(as_text(text.view()), path);
}

Result<void, UserError> save(const Profile& profile, const std::string& path, bool replace, bool sync) {
  const auto cannot = [&](const char* what) {
    return fail_user("cannot write the profile " + path + " (" + what + ": " + reason(errno) + ")");
  };
  const auto text = render(profile);
  auto temporary = path + ".XXXXXX";
  const UniqueFd fd{::mkostemp(temporary.data(), O_CLOEXEC)};  // mode 0600 from the start
  if (!fd) return cannot("create");
  const auto write_all = [&]() -> bool {
    auto rest = text.view();
    while (!rest.empty()) {
      const auto count = ::write(fd.get(), rest.data(), rest.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return false;
      rest = rest.subspan(static_cast<std::size_t>(count));
    }
    return !sync || ::fsync(fd.get()) == 0;
  };
  // link() refuses to replace what is there; rename() does replace it. Both are all or nothing.
  const bool written = write_all();
  const bool placed =
      written && (replace ? ::rename(temporary.c_str(), path.c_str()) : ::link(temporary.c_str(), path.c_str())) == 0;
  const int error = errno;
  if (!placed || !replace) ::unlink(temporary.c_str());
  errno = error;
  if (!written) return cannot("write");
  if (!placed && errno == EEXIST) {
    return fail_user("the file " + path + " exists already: remove it or choose another name");
  }
  if (!placed) return cannot("put in place");
  return {};
}

}  // namespace switchback::profile
