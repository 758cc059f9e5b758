#include "tests/sim/snapshot.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace switchback::test {

void compare_with_snapshot(const std::string& name, const std::string& table) {
  const auto file = std::string{SB_SOURCE_DIR} + "/tests/sim/snapshots/" + name;
  if (std::getenv("SB_UPDATE_SNAPSHOTS") != nullptr) {
    std::ofstream{file} << table;
    return;
  }
  std::ifstream stream{file};
  std::ostringstream before;
  before << stream.rdbuf();
  CHECK(table == before.str());
}

}  // namespace switchback::test
