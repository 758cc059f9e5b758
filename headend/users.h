// `user add`, `user list`, `user remove`: the people who may connect.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/crypto/certificate.h"
#include "headend/config.h"
#include "headend/store.h"

namespace switchback::headend {

enum class ExportFormat : std::uint8_t { switchback, strongswan, mobileconfig, p12 };
[[nodiscard]] Result<ExportFormat, UserError> parse_export_format(std::string_view text);
[[nodiscard]] Result<crypto::KeyType, UserError> parse_key_type(std::string_view text);

struct AddUserOptions {
  std::string name;
  std::string out;  // a file, or with strongswan a directory; must not exist
  ExportFormat format = ExportFormat::switchback;
  bool pre_shared_key = false;
  crypto::KeyType key_type = crypto::KeyType::ecdsa_p256;
  std::string password_file;  // p12: its first line protects the file; empty: no password
};

/// Makes the credentials, enters the user and writes what the user needs, whole or not at all; nothing of it is
/// entered if the writing fails. Errors: the name is taken or malformed, the CA key cannot be read, `out` exists.
[[nodiscard]] Result<void, UserError> add_user(const Config& config, Store& store, const AddUserOptions& options,
                                               WallTime now);

struct AddUsersOptions {
  std::string from;     // a file of names, one a line; empty lines and those that begin with # do not count
  AddUserOptions each;  // without name; `out` is a directory that must not exist, which gets a file for each user
};

/// As add_user() for each name of a file, all of them or none: a running headend sees them come in groups of some
/// hundreds. @return how many
[[nodiscard]] Result<std::size_t, UserError> add_users(const Config& config, Store& store,
                                                       const AddUsersOptions& options, WallTime now);

/// The names in the text of such a file. Errors, with line: a malformed name, or none at all.
[[nodiscard]] Result<std::vector<std::string>, UserError> parse_names(std::string_view text, std::string_view file);

/// `user list` for people, and as JSON.
[[nodiscard]] std::string user_list_text(const std::vector<UserRecord>& users);
[[nodiscard]] std::string user_list_json(const std::vector<UserRecord>& users);

/// "2026-01-31T12:00:00Z"
[[nodiscard]] std::string iso_time(WallTime time);

}  // namespace switchback::headend
