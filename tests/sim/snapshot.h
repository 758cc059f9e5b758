// Tables that a test compares with what it wrote before.
#pragma once

#include <string>

namespace switchback::test {

/// Checks that the file of that name in tests/sim/snapshots holds `table`; SB_UPDATE_SNAPSHOTS=1 writes it anew.
void compare_with_snapshot(const std::string& name, const std::string& table);

}  // namespace switchback::test
