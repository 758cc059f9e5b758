// The client's profile: errors are fit for a terminal, and what is accepted can be written and read again.
#include <algorithm>
#include <cstdlib>

#include "common/profile/profile.h"
#include "tests/fuzz/user_error.h"

using namespace switchback;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto profile = profile::parse(as_text({data, size}), "alice.toml");
  if (!profile) {
    test::judge_error(profile.error(), "alice.toml:");
    return 0;
  }
  const auto once = profile::render(*profile);
  const auto again = profile::parse(as_text(once.view()), "alice.toml");
  if (!again) std::abort();
  const auto twice = profile::render(*again);
  if (!std::equal(once.view().begin(), once.view().end(), twice.view().begin(), twice.view().end())) std::abort();
  return 0;
}
