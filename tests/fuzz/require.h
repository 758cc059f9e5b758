// What must hold for any input: a fuzz target that finds otherwise ends.
#pragma once

#include <cstdlib>

namespace switchback::test {

inline void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace switchback::test
