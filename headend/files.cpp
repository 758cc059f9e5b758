#include "headend/files.h"

#include <fcntl.h>
#include <stdio.h>  // renameat2
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "common/base/unique_fd.h"

namespace switchback::headend {
namespace {

constexpr std::size_t kMaxFileOctets = 1'000'000;

std::string reason(int error) { return std::error_code{error, std::system_category()}.message(); }

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string parent_of(const std::string& path) {
  auto parent = std::filesystem::path{path}.parent_path().string();
  return parent.empty() ? "." : parent;
}

void sync_directory(const std::string& path) {
  if (const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)}; fd) (void)::fsync(fd.get());
}

}  // namespace

Result<std::string, UserError> read_file(const std::string& path, const std::string& what) {
  const auto refuse = [&](const std::string& why) {
    return fail_user("cannot read " + what + " " + path + ": " + why);
  };
  const UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return refuse(reason(errno));
  std::string content(kMaxFileOctets + 1, '\0');  // made at once: no copies of a key are left behind by growing
  std::size_t size = 0;
  while (size < content.size()) {
    const auto count = ::read(fd.get(), content.data() + size, content.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return refuse(reason(errno));
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
  }
  if (size > kMaxFileOctets) return refuse("it is larger than 1 MB, so it must be another file");
  content.resize(size);
  return content;
}

Result<void, UserError> write_new_file(const std::string& path, ByteView content, unsigned mode) {
  std::string temporary = path + ".XXXXXX";
  const UniqueFd fd{::mkostemp(temporary.data(), O_CLOEXEC)};  // 0600 from its first moment
  if (!fd) return fail_user("cannot write " + path + ": " + reason(errno));
  const auto give_up = [&](int error) {
    ::unlink(temporary.c_str());
    return fail_user("cannot write " + path + ": " +
                     (error == EEXIST ? "it exists already; choose another name, or remove it" : reason(error)));
  };
  for (std::size_t done = 0; done < content.size();) {
    const auto count = ::write(fd.get(), content.data() + done, content.size() - done);
    if (count < 0 && errno != EINTR) return give_up(errno);
    if (count > 0) done += static_cast<std::size_t>(count);
  }
  if (::fchmod(fd.get(), mode) != 0 || ::fsync(fd.get()) != 0) return give_up(errno);
  // link() and not rename(): it never replaces.
  if (::link(temporary.c_str(), path.c_str()) != 0) return give_up(errno);
  ::unlink(temporary.c_str());
  sync_directory(parent_of(path));
  return {};
}

Result<StagedDirectory, UserError> StagedDirectory::create(const std::string& place) {
  const auto target = without_trailing_slash(place);
  if (target.empty()) return fail_user("the directory has no name");
  const auto status = std::filesystem::symlink_status(target);
  if (std::filesystem::exists(status)) {
    return fail_user(target + " exists already: choose another directory, or move it away");
  }
  std::string name = target + ".new-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return fail_user("cannot create " + target + ": " + reason(errno));
  return StagedDirectory{name, target};
}

StagedDirectory::StagedDirectory(StagedDirectory&& other) noexcept
    : path_{std::exchange(other.path_, {})}, place_{std::move(other.place_)} {}

StagedDirectory::~StagedDirectory() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Result<void, UserError> StagedDirectory::make_directory(const std::string& name) {
  const auto path = path_ + "/" + name;
  if (::mkdir(path.c_str(), 0700) != 0) return fail_user("cannot create " + path + ": " + reason(errno));
  return {};
}

Result<void, UserError> StagedDirectory::commit() {
  // Of thousands of files each would cost milliseconds to sync: the file system once.
  if (const UniqueFd directory{::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)}; directory) {
    if (::syncfs(directory.get()) != 0) return fail_user("cannot write " + place_ + ": " + reason(errno));
  }
  if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, place_.c_str(), RENAME_NOREPLACE) != 0) {
    return fail_user("cannot create " + place_ + ": " +
                     (errno == EEXIST ? "it exists already; choose another directory" : reason(errno)));
  }
  path_.clear();
  sync_directory(parent_of(place_));
  return {};
}

}  // namespace switchback::headend
