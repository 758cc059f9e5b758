// The end that counts.
#pragma once

#include <cstdint>

#include "common/base/result.h"

namespace switchback::bench {

/// Counts what arrives at a UDP port of any address and answers questions about it, until it is killed.
[[nodiscard]] Result<void, UserError> serve(std::uint16_t port);

}  // namespace switchback::bench
