#include "headend/store.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tests/unit/headend/temporary_directory.h"

using namespace switchback;
using namespace switchback::headend;
using test::TemporaryDirectory;

namespace {

constexpr WallTime kNow{std::chrono::seconds{1'700'000'000}};
CertificateRecord certificate(std::uint8_t mark) { return {Bytes(32, mark), "0a0b", kNow + std::chrono::days{365}}; }
IpAddress address(const char* text) { return IpAddress::parse(text).value(); }

}  // namespace

TEST_CASE("a new database is the owner's alone and is not made over an old one", "[headend][store]") {
  const TemporaryDirectory directory;
  REQUIRE(Store::create(directory.file("state.db")));
  struct stat status {};
  for (const char* name : {"state.db"}) {
    REQUIRE(::stat(directory.file(name).c_str(), &status) == 0);
    CHECK((status.st_mode & 0777U) == 0600U);
  }
  CHECK_FALSE(Store::create(directory.file("state.db")));
}

TEST_CASE("a file that is no database of ours is refused by name", "[headend][store]") {
  const TemporaryDirectory directory;
  const auto path = directory.file("state.db");
  CHECK_FALSE(Store::open(path));
  test::write_text(path, "hello");
  const auto opened = Store::open(path);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().message.find(path) != std::string::npos);
}

TEST_CASE("many users are entered at once, or none of them", "[headend][store]") {
  const TemporaryDirectory directory;
  auto store = Store::create(directory.file("state.db")).value();
  const auto group = [](std::initializer_list<const char*> names) {
    std::vector<NewUser> users;
    std::uint8_t number = 0;
    for (const auto* name : names) users.push_back({name, certificate(++number), {}});
    users.push_back({"with-a-key", std::nullopt, Secret{as_bytes("key")}});
    return users;
  };
  const auto twice = store.add_users(group({"alice", "bob", "Alice"}), kNow);
  REQUIRE_FALSE(twice);
  CHECK(twice.error().message.find("\"Alice\"") != std::string::npos);
  CHECK(store.users(true).value().empty());

  const auto ids = store.add_users(group({"alice", "bob"}), kNow);
  REQUIRE(ids);
  CHECK(ids->size() == 3);
  CHECK(store.certificate_owner(certificate(2).sha256).value()->name == "bob");
  CHECK(store.pre_shared_keys().value().size() == 1);
  CHECK_FALSE(store.add_users({}, kNow).value().size());
}

TEST_CASE("leases that are gathered are there at once, and in the file when they are written", "[headend][store]") {
  const TemporaryDirectory directory;
  const auto path = directory.file("state.db");
  auto store = Store::create(path).value();
  const auto alice = store.add_user("alice", certificate(1), kNow).value();
  auto other = Store::open(path).value();
  REQUIRE(store.write_leases());  // nothing was gathered
  store.gather_leases();
  REQUIRE(store.remember_lease(IpAddress::v4(0x0A630002), alice, kNow));
  REQUIRE(store.remember_lease(IpAddress::v4(0x0A630003), alice, kNow));
  REQUIRE(store.touch_lease(IpAddress::v4(0x0A630002), kNow + std::chrono::seconds{5}));
  CHECK(store.certificate_owner(certificate(1).sha256).value()->user == alice);
  CHECK(store.leases().value().size() == 2);
  CHECK(other.leases().value().empty());
  REQUIRE(store.write_leases());
  const auto written = other.leases().value();
  REQUIRE(written.size() == 2);
  CHECK(written.back().address == IpAddress::v4(0x0A630002));  // touched last
  // Afterwards each is written by itself again.
  REQUIRE(store.touch_lease(IpAddress::v4(0x0A630003), kNow + std::chrono::seconds{9}));
  CHECK(other.leases().value().back().address == IpAddress::v4(0x0A630003));
}

TEST_CASE("users are found by name and by certificate until they are removed", "[headend][store]") {
  const TemporaryDirectory directory;
  auto store = Store::create(directory.file("state.db")).value();
  const auto alice = store.add_user("alice", certificate(1), kNow).value();
  const auto owner = store.certificate_owner(certificate(1).sha256).value();
  REQUIRE(owner);
  CHECK(owner->user == alice);
  CHECK(owner->name == "alice");
  CHECK_FALSE(owner->revoked);
  CHECK_FALSE(store.certificate_owner(certificate(2).sha256).value());
  CHECK(store.find_user("alice").value()->certificate_expires == certificate(1).not_after);
  CHECK_FALSE(store.add_user("alice", certificate(2), kNow));
  // Identities are compared without regard to case, so two users cannot differ in case only.
  CHECK_FALSE(store.add_user("Alice", certificate(2), kNow));
  CHECK_FALSE(store.add_user("ALICE", Secret{as_bytes("key")}, kNow));
  CHECK(store.find_user("aLiCe").value()->name == "alice");

  REQUIRE(store.remove_user("alice", kNow));
  CHECK_FALSE(store.find_user("alice").value());
  CHECK(store.certificate_owner(certificate(1).sha256).value()->revoked);
  CHECK(store.revoked_users().value() == std::vector{alice});
  CHECK_FALSE(store.remove_user("alice", kNow));
  CHECK(store.users(false).value().empty());
  CHECK(store.users(true).value().front().revoked == kNow);
}

TEST_CASE("a removed name can be given again, and the old certificate stays revoked", "[headend][store]") {
  const TemporaryDirectory directory;
  auto store = Store::create(directory.file("state.db")).value();
  const auto old = store.add_user("alice", certificate(1), kNow).value();
  REQUIRE(store.remove_user("alice", kNow));
  const auto fresh = store.add_user("alice", certificate(2), kNow).value();
  CHECK(old != fresh);
  CHECK(store.certificate_owner(certificate(1).sha256).value()->revoked);
  CHECK_FALSE(store.certificate_owner(certificate(2).sha256).value()->revoked);
}

TEST_CASE("a pre-shared key is kept until its user is removed, and then gone", "[headend][store]") {
  const TemporaryDirectory directory;
  auto store = Store::create(directory.file("state.db")).value();
  REQUIRE(store.add_user("bob", Secret{as_bytes("a very secret key")}, kNow));
  auto keys = store.pre_shared_keys().value();
  REQUIRE(keys.size() == 1);
  CHECK(keys[0].name == "bob");
  CHECK(keys[0].key.equals(as_bytes("a very secret key")));
  REQUIRE(store.remove_user("bob", kNow));
  CHECK(store.pre_shared_keys().value().empty());
  CHECK(store.users(true).value()[0].credential == Credential::pre_shared_key);
}

TEST_CASE("leases come back in the order of their last use, and go with their user", "[headend][store]") {
  const TemporaryDirectory directory;
  const auto path = directory.file("state.db");
  UserId alice, bob;
  {
    auto store = Store::create(path).value();
    alice = store.add_user("alice", certificate(1), kNow).value();
    bob = store.add_user("bob", certificate(2), kNow).value();
    REQUIRE(store.remember_lease(address("10.0.0.2"), alice, kNow));
    REQUIRE(store.remember_lease(address("fd00::2"), alice, kNow));
    REQUIRE(store.remember_lease(address("10.0.0.3"), bob, kNow + std::chrono::seconds{1}));
    REQUIRE(store.touch_lease(address("10.0.0.2"), kNow + std::chrono::seconds{5}));
  }
  auto store = Store::open(path).value();
  const auto leases = store.leases().value();
  REQUIRE(leases.size() == 3);
  CHECK(leases[0].address == address("fd00::2"));
  CHECK(leases[1].address == address("10.0.0.3"));
  CHECK(leases[2].address == address("10.0.0.2"));
  CHECK(leases[2].user == alice);
  CHECK(store.find_user("alice").value()->addresses == std::vector{address("10.0.0.2"), address("fd00::2")});

  REQUIRE(store.remember_lease(address("10.0.0.3"), alice, kNow));  // an eviction
  REQUIRE(store.forget_lease(address("fd00::2")));
  CHECK(store.leases().value().size() == 2);
  REQUIRE(store.remove_user("alice", kNow));
  CHECK(store.leases().value().empty());
}

TEST_CASE("an addition that is taken back leaves nothing", "[headend][store]") {
  const TemporaryDirectory directory;
  auto store = Store::create(directory.file("state.db")).value();
  const auto alice = store.add_user("alice", certificate(1), kNow).value();
  REQUIRE(store.discard_user(alice));
  CHECK(store.users(true).value().empty());
  CHECK_FALSE(store.certificate_owner(certificate(1).sha256).value());
}

TEST_CASE("another connection's writes show in the version, one's own do not", "[headend][store]") {
  const TemporaryDirectory directory;
  const auto path = directory.file("state.db");
  auto server = Store::create(path).value();
  auto command = Store::open(path).value();
  const auto before = server.outside_version();
  REQUIRE(server.add_user("alice", certificate(1), kNow));
  CHECK(server.outside_version() == before);
  REQUIRE(command.remove_user("alice", kNow));
  CHECK(server.outside_version() != before);
  CHECK(server.certificate_owner(certificate(1).sha256).value()->revoked);
}

TEST_CASE("settings are kept, replaced and deleted", "[headend][store]") {
  const TemporaryDirectory directory;
  auto store = Store::create(directory.file("state.db")).value();
  CHECK_FALSE(store.setting("sysctls").value());
  REQUIRE(store.set_setting("sysctls", "a=0;"));
  REQUIRE(store.set_setting("sysctls", "b=1;"));
  CHECK(store.setting("sysctls").value() == "b=1;");
  REQUIRE(store.set_setting("sysctls", ""));
  CHECK_FALSE(store.setting("sysctls").value());
}
