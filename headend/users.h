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

/// `user list` for people, and as JSON.
[[nodiscard]] std::string user_list_text(const std::vector<UserRecord>& users);
[[nodiscard]] std::string user_list_json(const std::vector<UserRecord>& users);

/// "2026-01-31T12:00:00Z"
[[nodiscard]] std::string iso_time(WallTime time);

}  // namespace switchback::headend
