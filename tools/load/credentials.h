// Who the clients are: profiles as `switchback-headend user add` writes them, as configurations of IKE sessions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/ike/session_config.h"

namespace switchback::load {

struct Users {
  std::vector<std::shared_ptr<const ike::SessionConfig>> configs;  // one for each user
  Endpoint headend;                                                // its IKE port
};

struct UserOptions {
  std::string profiles;    // a profile, or a directory of them
  std::size_t most = 0;    // users that are wanted; others are not read
  IpFamily family{};       // of the headend's address that is used
  bool shared = false;     // several sessions of one user: they do not replace each other
  unsigned liveness = 30;  // seconds of silence until a client asks whether the headend is there
};

/// Errors: no profiles, one that is wrong, profiles of different headends, or a headend that is given by name only.
[[nodiscard]] Result<Users, UserError> load_users(const UserOptions& options);

}  // namespace switchback::load
