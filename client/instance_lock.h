// One client for each TUN name.
#pragma once

#include <string>

#include "common/base/result.h"
#include "common/base/unique_fd.h"

namespace switchback::client {

/// Holds /run/switchback/client-<tun>.lock with flock(), which the kernel releases when the process ends, however it
/// ends. The file stays: removing it would let two processes hold locks of the same name.
class InstanceLock {
 public:
  /// @param directory  created with mode 0700 if it is missing
  /// Errors: another process holds it, whose id is named; the folder cannot be written.
  [[nodiscard]] static Result<InstanceLock, UserError> acquire(const std::string& directory, const std::string& tun);

 private:
  explicit InstanceLock(UniqueFd fd) noexcept : fd_{std::move(fd)} {}
  UniqueFd fd_;
};

}  // namespace switchback::client
