#include "headend/store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <type_traits>
#include <utility>

#include "common/base/unique_fd.h"

namespace switchback::headend {
namespace {

constexpr int kApplicationId = 0x53574248;  // "SWBH", so that another program's database is not taken for ours
constexpr int kSchemaVersion = 1;

constexpr const char* kSchema = R"(
CREATE TABLE users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  created INTEGER NOT NULL,
  revoked INTEGER,
  psk BLOB
);
CREATE UNIQUE INDEX users_by_name ON users (name) WHERE revoked IS NULL;
CREATE INDEX users_by_any_case ON users (name COLLATE NOCASE) WHERE revoked IS NULL;
CREATE TABLE certificates (
  sha256 BLOB PRIMARY KEY,
  user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  serial TEXT NOT NULL,
  not_after INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX certificates_by_user ON certificates (user);
CREATE TABLE leases (
  address BLOB PRIMARY KEY,
  user INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  last_used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX leases_by_user ON leases (user);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
)";

std::int64_t to_seconds(WallTime time) { return time.time_since_epoch().count(); }
WallTime from_seconds(std::int64_t seconds) { return WallTime{std::chrono::seconds{seconds}}; }

void bind_bytes(SQLite::Statement& statement, int index, ByteView bytes) {
  statement.bind(index, bytes.data(), static_cast<int>(bytes.size()));
}

ByteView bytes_of(const SQLite::Column& column) {
  return {static_cast<const std::uint8_t*>(column.getBlob()), static_cast<std::size_t>(column.getBytes())};
}

/// What failed and what to do about it, by SQLite's own code.
tl::unexpected<UserError> failed(const std::string& doing, const std::string& path, const std::exception& error) {
  const auto* known = dynamic_cast<const SQLite::Exception*>(&error);
  const char* remedy = "check --dir, and run as the user who ran init";
  switch (known == nullptr ? SQLITE_ERROR : known->getErrorCode() & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: remedy = "another program holds it: try again, or end that program"; break;
    case SQLITE_FULL:
    case SQLITE_IOERR: remedy = "check the disk and its free space"; break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: remedy = "restore it from a backup"; break;
    default: break;
  }
  return fail_user("cannot " + doing + " the database " + path + ": " + error.what() + "; " + remedy);
}

}  // namespace

struct Store::Impl {
  Impl(std::string file, int flags, std::chrono::milliseconds patience = {})
      : path{std::move(file)}, database{path, flags, static_cast<int>(patience.count())} {
    database.exec(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON; PRAGMA secure_delete=ON");
  }

  /// Runs `work` and turns SQLite's exceptions into an error that names the file.
  template <class Work>
  auto guarded(Work&& work) -> Result<std::invoke_result_t<Work>, UserError> {
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<Work>>) {
        work();
        return {};
      } else {
        return work();
      }
    } catch (const std::exception& error) {
      return failed("use", path, error);
    }
  }

  /// A statement that is prepared once, for what is asked at every session's start. Reset after each use.
  class Kept {
   public:
    Kept(SQLite::Database& database, std::unique_ptr<SQLite::Statement>& slot, const char* sql) {
      if (!slot) slot = std::make_unique<SQLite::Statement>(database, sql);
      statement_ = slot.get();
    }
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;
    ~Kept() {
      try {
        statement_->reset();
        statement_->clearBindings();
      } catch (const std::exception&) {
        // reset() repeats the error of the last step, which was thrown already.
      }
    }
    SQLite::Statement& operator*() const noexcept { return *statement_; }
    SQLite::Statement* operator->() const noexcept { return statement_; }

   private:
    SQLite::Statement* statement_;
  };

  /// Before a write of a lease: while they are gathered, the first opens their transaction.
  void begin_gathered() {
    if (!gathering || transaction) return;
    database.exec("BEGIN IMMEDIATE");
    transaction = true;
  }

  std::string path;
  SQLite::Database database;
  std::unique_ptr<SQLite::Statement> owner, put_lease, touch, version;
  bool gathering = false, transaction = false;
};

Store::Store(std::unique_ptr<Impl> impl) noexcept : impl_{std::move(impl)} {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store, UserError> Store::create(const std::string& path) {
  // SQLite would create the file with the umask's mode; it gives -wal and -shm the mode of the main file.
  const UniqueFd file{::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file) {
    return fail_user("cannot create the database " + path + ": " +
                     std::error_code{errno, std::system_category()}.message());
  }
  try {
    auto impl = std::make_unique<Impl>(path, SQLite::OPEN_READWRITE);
    SQLite::Transaction transaction{impl->database};
    impl->database.exec(kSchema);
    impl->database.exec("PRAGMA application_id=" + std::to_string(kApplicationId));
    impl->database.exec("PRAGMA user_version=" + std::to_string(kSchemaVersion));
    transaction.commit();
    return Store{std::move(impl)};
  } catch (const std::exception& error) {
    return failed("create", path, error);
  }
}

Result<Store, UserError> Store::open(const std::string& path, std::chrono::milliseconds patience) {
  try {
    auto impl = std::make_unique<Impl>(path, SQLite::OPEN_READWRITE, patience);
    const int application = impl->database.execAndGet("PRAGMA application_id").getInt();
    const int version = impl->database.execAndGet("PRAGMA user_version").getInt();
    if (application != kApplicationId) {
      return fail_user(path + " is not a switchback database: check --dir, or restore state.db from a backup");
    }
    if (version != kSchemaVersion) {
      return fail_user(path + " has format " + std::to_string(version) + ", this program knows format " +
                       std::to_string(kSchemaVersion) + ": use the switchback-headend that made it, or a newer one");
    }
    // Databases of before have no such index; without it a name is looked for in every row. Older programs do not mind.
    if (!impl->database.execAndGet("SELECT count(*) FROM sqlite_master WHERE name = 'users_by_any_case'").getInt()) {
      impl->database.exec(
          "CREATE INDEX IF NOT EXISTS users_by_any_case ON users (name COLLATE NOCASE) WHERE revoked IS NULL");
    }
    return Store{std::move(impl)};
  } catch (const std::exception& error) {
    return failed("open", path, error);
  }
}

namespace {

UserId insert_user(SQLite::Database& database, std::string_view name, WallTime now, const Secret* key) {
  SQLite::Statement insert{database, "INSERT INTO users (name, created, psk) VALUES (?, ?, ?)"};
  insert.bind(1, std::string{name});
  insert.bind(2, to_seconds(now));
  if (key != nullptr) bind_bytes(insert, 3, key->view());
  insert.exec();
  return UserId{database.getLastInsertRowid()};
}

void insert_certificate(SQLite::Database& database, UserId user, const CertificateRecord& certificate) {
  SQLite::Statement insert{database, "INSERT INTO certificates (sha256, user, serial, not_after) VALUES (?, ?, ?, ?)"};
  bind_bytes(insert, 1, certificate.sha256);
  insert.bind(2, user.value);
  insert.bind(3, certificate.serial);
  insert.bind(4, to_seconds(certificate.not_after));
  insert.exec();
}

tl::unexpected<UserError> name_taken(std::string_view name) {
  return fail_user("user \"" + std::string{name} + "\" exists already: remove it first, or choose another name");
}

}  // namespace

Result<UserId, UserError> Store::add_user(std::string_view name, const CertificateRecord& certificate, WallTime now) {
  SB_TRY(const auto present, find_user(name));
  if (present) return name_taken(name);
  return impl_->guarded([&] {
    SQLite::Transaction transaction{impl_->database};
    const auto user = insert_user(impl_->database, name, now, nullptr);
    insert_certificate(impl_->database, user, certificate);
    transaction.commit();
    return user;
  });
}

Result<UserId, UserError> Store::add_user(std::string_view name, const Secret& pre_shared_key, WallTime now) {
  SB_TRY(const auto present, find_user(name));
  if (present) return name_taken(name);
  return impl_->guarded([&] { return insert_user(impl_->database, name, now, &pre_shared_key); });
}

Result<std::vector<UserId>, UserError> Store::add_users(const std::vector<NewUser>& users, WallTime now) {
  // Among themselves, too: every insertion is seen by the next question, and undone with the transaction.
  const std::string* taken = nullptr;
  auto added = impl_->guarded([&] {
    std::vector<UserId> ids;
    SQLite::Transaction transaction{impl_->database};
    SQLite::Statement present{impl_->database, "SELECT 1 FROM users WHERE name = ? COLLATE NOCASE AND revoked IS NULL"};
    for (const auto& user : users) {
      present.bind(1, user.name);
      if (present.executeStep()) {
        taken = &user.name;
        return ids;  // rolls back
      }
      present.reset();
      ids.push_back(insert_user(impl_->database, user.name, now, user.certificate ? nullptr : &user.pre_shared_key));
      if (user.certificate) insert_certificate(impl_->database, ids.back(), *user.certificate);
    }
    transaction.commit();
    return ids;
  });
  if (taken != nullptr) return name_taken(*taken);
  return added;
}

Result<UserId, UserError> Store::remove_user(std::string_view name, WallTime now) {
  SB_TRY(const auto user, find_user(name));
  if (!user) {
    return fail_user("there is no user \"" + std::string{name} + "\": `switchback-headend user list` shows them");
  }
  return impl_->guarded([&] {
    SQLite::Transaction transaction{impl_->database};
    SQLite::Statement revoke{impl_->database,
                             "UPDATE users SET revoked = ?, psk = CASE WHEN psk IS NULL THEN NULL "
                             "ELSE x'' END WHERE id = ?"};
    revoke.bind(1, to_seconds(now));
    revoke.bind(2, user->id.value);
    revoke.exec();
    SQLite::Statement drop{impl_->database, "DELETE FROM leases WHERE user = ?"};
    drop.bind(1, user->id.value);
    drop.exec();
    transaction.commit();
    return user->id;
  });
}

Result<void, UserError> Store::discard_user(UserId id) {
  return impl_->guarded([&] {
    SQLite::Statement drop{impl_->database, "DELETE FROM users WHERE id = ?"};
    drop.bind(1, id.value);
    drop.exec();
  });
}

namespace {

constexpr const char* kSelectUsers =
    "SELECT id, name, created, revoked, psk IS NOT NULL, "
    "(SELECT max(not_after) FROM certificates WHERE user = users.id) FROM users ";

UserRecord read_user(SQLite::Database& database, SQLite::Statement& row) {
  UserRecord user;
  user.id = UserId{row.getColumn(0).getInt64()};
  user.name = row.getColumn(1).getString();
  user.created = from_seconds(row.getColumn(2).getInt64());
  if (!row.getColumn(3).isNull()) user.revoked = from_seconds(row.getColumn(3).getInt64());
  user.credential = row.getColumn(4).getInt() != 0 ? Credential::pre_shared_key : Credential::certificate;
  if (!row.getColumn(5).isNull()) user.certificate_expires = from_seconds(row.getColumn(5).getInt64());
  SQLite::Statement leases{database, "SELECT address FROM leases WHERE user = ? ORDER BY length(address), address"};
  leases.bind(1, user.id.value);
  while (leases.executeStep()) user.addresses.push_back(IpAddress::from_bytes(bytes_of(leases.getColumn(0))));
  return user;
}

}  // namespace

Result<std::optional<UserRecord>, UserError> Store::find_user(std::string_view name) {
  return impl_->guarded([&]() -> std::optional<UserRecord> {
    SQLite::Statement row{impl_->database,
                          std::string{kSelectUsers} + "WHERE name = ? COLLATE NOCASE AND revoked IS NULL"};
    row.bind(1, std::string{name});
    if (!row.executeStep()) return std::nullopt;
    return read_user(impl_->database, row);
  });
}

Result<std::vector<UserRecord>, UserError> Store::users(bool with_revoked) {
  return impl_->guarded([&] {
    std::vector<UserRecord> list;
    SQLite::Statement row{impl_->database, std::string{kSelectUsers} + (with_revoked ? "" : "WHERE revoked IS NULL ") +
                                               "ORDER BY name, id"};
    while (row.executeStep()) list.push_back(read_user(impl_->database, row));
    return list;
  });
}

Result<std::optional<Store::CertificateOwner>, UserError> Store::certificate_owner(ByteView sha256) {
  return impl_->guarded([&]() -> std::optional<CertificateOwner> {
    const Impl::Kept row{impl_->database, impl_->owner,
                         "SELECT users.id, users.name, users.revoked IS NOT NULL FROM certificates "
                         "JOIN users ON users.id = certificates.user WHERE certificates.sha256 = ?"};
    bind_bytes(*row, 1, sha256);
    if (!row->executeStep()) return std::nullopt;
    return CertificateOwner{UserId{row->getColumn(0).getInt64()}, row->getColumn(1).getString(),
                            row->getColumn(2).getInt() != 0};
  });
}

Result<std::vector<PreSharedKey>, UserError> Store::pre_shared_keys() {
  return impl_->guarded([&] {
    std::vector<PreSharedKey> list;
    SQLite::Statement row{impl_->database, "SELECT id, name, psk FROM users WHERE psk IS NOT NULL AND revoked IS NULL"};
    while (row.executeStep()) {
      list.push_back(
          {UserId{row.getColumn(0).getInt64()}, row.getColumn(1).getString(), Secret{bytes_of(row.getColumn(2))}});
    }
    return list;
  });
}

Result<std::vector<UserId>, UserError> Store::revoked_users() {
  return impl_->guarded([&] {
    std::vector<UserId> list;
    SQLite::Statement row{impl_->database, "SELECT id FROM users WHERE revoked IS NOT NULL"};
    while (row.executeStep()) list.emplace_back(row.getColumn(0).getInt64());
    return list;
  });
}

Result<std::vector<LeaseRecord>, UserError> Store::leases() {
  return impl_->guarded([&] {
    std::vector<LeaseRecord> list;
    SQLite::Statement row{impl_->database, "SELECT address, user FROM leases ORDER BY last_used, address"};
    while (row.executeStep()) {
      list.push_back({IpAddress::from_bytes(bytes_of(row.getColumn(0))), UserId{row.getColumn(1).getInt64()}});
    }
    return list;
  });
}

Result<void, UserError> Store::remember_lease(const IpAddress& address, UserId user, WallTime now) {
  return impl_->guarded([&] {
    impl_->begin_gathered();
    const Impl::Kept put{impl_->database, impl_->put_lease,
                         "INSERT OR REPLACE INTO leases (address, user, last_used) VALUES (?, ?, ?)"};
    bind_bytes(*put, 1, address.bytes());
    put->bind(2, user.value);
    put->bind(3, to_seconds(now));
    put->exec();
  });
}

Result<void, UserError> Store::touch_lease(const IpAddress& address, WallTime now) {
  return impl_->guarded([&] {
    impl_->begin_gathered();
    const Impl::Kept put{impl_->database, impl_->touch, "UPDATE leases SET last_used = ? WHERE address = ?"};
    put->bind(1, to_seconds(now));
    bind_bytes(*put, 2, address.bytes());
    put->exec();
  });
}

void Store::gather_leases() { impl_->gathering = true; }

Result<void, UserError> Store::write_leases() {
  impl_->gathering = false;
  if (!std::exchange(impl_->transaction, false)) return {};
  auto committed = impl_->guarded([&] { impl_->database.exec("COMMIT"); });
  if (!committed) (void)impl_->guarded([&] { impl_->database.exec("ROLLBACK"); });
  return committed;
}

Result<void, UserError> Store::forget_lease(const IpAddress& address) { return forget_leases({address}); }

Result<void, UserError> Store::forget_leases(const std::vector<IpAddress>& addresses) {
  return impl_->guarded([&] {
    SQLite::Transaction transaction{impl_->database};
    SQLite::Statement drop{impl_->database, "DELETE FROM leases WHERE address = ?"};
    for (const auto& address : addresses) {
      bind_bytes(drop, 1, address.bytes());
      drop.exec();
      drop.reset();
    }
    transaction.commit();
  });
}

Result<std::optional<std::string>, UserError> Store::setting(std::string_view key) {
  return impl_->guarded([&]() -> std::optional<std::string> {
    SQLite::Statement row{impl_->database, "SELECT value FROM settings WHERE key = ?"};
    row.bind(1, std::string{key});
    if (!row.executeStep()) return std::nullopt;
    return row.getColumn(0).getString();
  });
}

Result<void, UserError> Store::set_setting(std::string_view key, std::string_view value) {
  return impl_->guarded([&] {
    SQLite::Statement put{impl_->database, value.empty() ? "DELETE FROM settings WHERE key = ?1"
                                                         : "INSERT OR REPLACE INTO settings VALUES (?1, ?2)"};
    put.bind(1, std::string{key});
    if (!value.empty()) put.bind(2, std::string{value});
    put.exec();
  });
}

std::int64_t Store::outside_version() {
  try {
    const Impl::Kept row{impl_->database, impl_->version, "PRAGMA data_version"};
    return row->executeStep() ? row->getColumn(0).getInt64() : -1;
  } catch (const std::exception&) {
    return -1;
  }
}

}  // namespace switchback::headend
