// What the commands of switchback-headend do; main.cpp only reads the command line. Each returns the exit code.
#pragma once

#include <string>

#include "common/base/result.h"
#include "headend/control_api.h"
#include "headend/init.h"
#include "headend/server.h"
#include "headend/users.h"

namespace switchback::headend {

[[nodiscard]] Result<int, UserError> command_init(const InitOptions& options);
[[nodiscard]] Result<int, UserError> command_user_add(const std::string& directory, const AddUserOptions& options);
[[nodiscard]] Result<int, UserError> command_users_add(const std::string& directory, const AddUsersOptions& options);
[[nodiscard]] Result<int, UserError> command_user_list(const std::string& directory, bool json, bool all);
[[nodiscard]] Result<int, UserError> command_user_remove(const std::string& directory, const std::string& name,
                                                         bool json);
/// Until a signal ends it.
[[nodiscard]] Result<int, UserError> command_run(const std::string& directory, const RunOptions& options);
[[nodiscard]] Result<int, UserError> command_status(const std::string& directory, bool json);
[[nodiscard]] Result<int, UserError> command_sessions(const std::string& directory, bool json);
[[nodiscard]] Result<int, UserError> command_kick(const std::string& directory, const KickTarget& target, bool json);

/// "7" is a session's number, "10.99.0.2" an inner address, anything else a user.
[[nodiscard]] KickTarget kick_target(const std::string& text);

}  // namespace switchback::headend
