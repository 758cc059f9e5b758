// The headend's configuration: errors are fit for a terminal, and what is accepted is something to start with.
#include <cstdlib>

#include "headend/config.h"
#include "tests/fuzz/user_error.h"

using namespace switchback;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto config = headend::parse_config(as_text({data, size}), "headend.toml", {"/etc/switchback"});
  if (!config) {
    test::judge_error(config.error(), "headend.toml:");
    return 0;
  }
  const bool usable = !config->identity.empty() && !config->addresses.empty() && !config->listen.empty() &&
                      config->ike_port != 0 && config->nat_t_port != 0 && config->ike_port != config->nat_t_port &&
                      (config->pool || config->pool6) && !config->routes.empty() && !config->ike_proposals.empty() &&
                      !config->esp_proposals.empty() && config->new_sessions_per_second > 0 && config->max_sessions > 0;
  if (!usable) std::abort();
  return 0;
}
