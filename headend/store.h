// state.db: users, their certificates, revocations and address leases, in SQLite.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/result.h"
#include "common/base/secret.h"
#include "common/base/time.h"
#include "headend/address_pool.h"

namespace switchback::headend {

enum class Credential : std::uint8_t { certificate, pre_shared_key };

struct CertificateRecord {
  Bytes sha256;  // of the DER, 32 octets
  std::string serial;
  WallTime not_after{};
};

struct UserRecord {
  UserId id;
  std::string name;
  WallTime created{};
  std::optional<WallTime> revoked;
  Credential credential = Credential::certificate;
  std::optional<WallTime> certificate_expires;
  std::vector<IpAddress> addresses;  // reserved to the user
};

struct PreSharedKey {
  UserId user;
  std::string name;
  Secret key;
};

struct NewUser {
  std::string name;
  std::optional<CertificateRecord> certificate;  // or
  Secret pre_shared_key;
};

struct LeaseRecord {
  IpAddress address;
  UserId user;
};

/// One connection, one thread. Several processes may have the file open: the running headend and the user commands.
/// Writes are single rows in WAL mode without an fsync of their own (synchronous=NORMAL), so they take microseconds;
/// what the last second before a power failure wrote may be lost, and nothing else.
class Store {
 public:
  /// A new database, 0600. Errors: the file exists, or cannot be made.
  [[nodiscard]] static Result<Store, UserError> create(const std::string& path);
  /// @param patience  how long each call waits for a database that another process has locked
  /// Errors: no such file, not a state.db, made by a newer version.
  [[nodiscard]] static Result<Store, UserError> open(const std::string& path,
                                                     std::chrono::milliseconds patience = std::chrono::seconds{5});
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  // --- users; names are unique among those not revoked ---
  [[nodiscard]] Result<UserId, UserError> add_user(std::string_view name, const CertificateRecord& certificate,
                                                   WallTime now);
  [[nodiscard]] Result<UserId, UserError> add_user(std::string_view name, const Secret& pre_shared_key, WallTime now);
  /// Many at once, in one transaction: all of them or none. Errors: one of the names is taken, or comes twice.
  [[nodiscard]] Result<std::vector<UserId>, UserError> add_users(const std::vector<NewUser>& users, WallTime now);
  /// Revokes the user with certificate or key, and drops the leases; the row stays, so that it can be told when.
  /// The key itself is deleted. Errors: no such user.
  [[nodiscard]] Result<UserId, UserError> remove_user(std::string_view name, WallTime now);
  /// Undoes add_user() of a moment ago, when the profile could not be written.
  [[nodiscard]] Result<void, UserError> discard_user(UserId id);
  [[nodiscard]] Result<std::optional<UserRecord>, UserError> find_user(
      std::string_view name);  // not revoked; without regard to case, as identities are compared
  [[nodiscard]] Result<std::vector<UserRecord>, UserError> users(bool with_revoked);

  struct CertificateOwner {
    UserId user;
    std::string name;
    bool revoked = false;
  };
  [[nodiscard]] Result<std::optional<CertificateOwner>, UserError> certificate_owner(ByteView sha256);
  [[nodiscard]] Result<std::vector<PreSharedKey>, UserError> pre_shared_keys();
  [[nodiscard]] Result<std::vector<UserId>, UserError> revoked_users();

  // --- leases ---
  /// The longest unused first.
  [[nodiscard]] Result<std::vector<LeaseRecord>, UserError> leases();
  [[nodiscard]] Result<void, UserError> remember_lease(const IpAddress& address, UserId user, WallTime now);
  [[nodiscard]] Result<void, UserError> touch_lease(const IpAddress& address, WallTime now);
  /// From now on what remember_lease() and touch_lease() write becomes one transaction, which write_leases() ends: a
  /// transaction each would be the larger part of what a session's start costs the store. Nothing but these two and
  /// reading in between.
  void gather_leases();
  [[nodiscard]] Result<void, UserError> write_leases();
  [[nodiscard]] Result<void, UserError> forget_lease(const IpAddress& address);
  /// When the address was restored for no pool: the prefix changed.
  [[nodiscard]] Result<void, UserError> forget_leases(const std::vector<IpAddress>& addresses);

  // --- settings that must survive a crash, such as system settings to restore ---
  [[nodiscard]] Result<std::optional<std::string>, UserError> setting(std::string_view key);
  /// An empty value deletes it.
  [[nodiscard]] Result<void, UserError> set_setting(std::string_view key, std::string_view value);

  /// Changes whenever another connection has written; cheap enough for every new session.
  [[nodiscard]] std::int64_t outside_version();

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace switchback::headend
