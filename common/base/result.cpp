#include "common/base/result.h"

#include <cerrno>

namespace switchback {

tl::unexpected<std::error_code> fail_errno() noexcept {
  return tl::unexpected<std::error_code>(std::error_code(errno, std::system_category()));
}

}  // namespace switchback
