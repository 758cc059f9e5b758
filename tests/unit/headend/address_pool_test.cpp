#include "headend/address_pool.h"

#include <catch2/catch.hpp>
#include <set>

using namespace switchback;
using headend::AddressPool;
using headend::UserId;

namespace {

IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }
IpAddress address(const char* text) { return IpAddress::parse(text).value(); }
constexpr UserId kAlice{1}, kBob{2}, kCarol{3};

}  // namespace

TEST_CASE("a pool keeps network, gateway and broadcast addresses to itself", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/29")};
  CHECK(pool.gateway() == address("10.0.0.1"));
  CHECK(pool.capacity() == 5);
  std::set<IpAddress> given;
  for (int i = 0; i < 5; ++i) given.insert(pool.allocate(UserId{i}, {}).value().address);
  CHECK(given.size() == 5);
  CHECK(*given.begin() == address("10.0.0.2"));
  CHECK(*given.rbegin() == address("10.0.0.6"));
  CHECK_FALSE(pool.allocate(UserId{9}, {}));
}

TEST_CASE("an IPv6 pool has no broadcast address", "[headend][pool]") {
  AddressPool pool{prefix("fd00::/126")};
  CHECK(pool.gateway() == address("fd00::1"));
  CHECK(pool.capacity() == 2);
  CHECK(pool.allocate(kAlice, {})->address == address("fd00::2"));
  CHECK(pool.allocate(kBob, {})->address == address("fd00::3"));
  CHECK_FALSE(pool.allocate(kCarol, {}));
}

TEST_CASE("the smallest usable prefixes leave room for one client", "[headend][pool]") {
  CHECK(AddressPool::usable(prefix("10.0.0.0/30")));
  CHECK_FALSE(AddressPool::usable(prefix("10.0.0.0/31")));
  CHECK(AddressPool::usable(prefix("fd00::/126")));
  CHECK_FALSE(AddressPool::usable(prefix("fd00::/127")));
  CHECK(AddressPool{prefix("10.0.0.0/30")}.capacity() == 1);
}

TEST_CASE("a huge prefix is used up to a bound", "[headend][pool]") {
  CHECK(AddressPool{prefix("fd00::/64")}.capacity() == (1U << 20U) - 2);
  CHECK(AddressPool{prefix("10.0.0.0/8")}.capacity() == (1U << 20U) - 2);
  CHECK(AddressPool{prefix("10.16.0.0/12")}.capacity() == (1U << 20U) - 3);
}

TEST_CASE("a user gets the same address again after a session has ended", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/24")};
  const auto first = pool.allocate(kAlice, {}).value();
  CHECK(first.fresh);
  pool.release(first.address);
  CHECK(pool.in_use() == 0);
  CHECK(pool.reserved() == 1);
  CHECK(pool.allocate(kBob, {})->address != first.address);
  const auto again = pool.allocate(kAlice, {}).value();
  CHECK(again.address == first.address);
  CHECK_FALSE(again.fresh);
}

TEST_CASE("two sessions of one user have two addresses, and both come back", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/24")};
  const auto one = pool.allocate(kAlice, {})->address;
  const auto two = pool.allocate(kAlice, {})->address;
  CHECK(one != two);
  pool.release(one);
  pool.release(two);
  CHECK(pool.allocate(kAlice, two)->address == two);
  CHECK(pool.allocate(kAlice, two)->address == one);
}

TEST_CASE("a preferred address is given only if it is nobody's or the user's own", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/24")};
  CHECK(pool.allocate(kAlice, address("10.0.0.77"))->address == address("10.0.0.77"));
  CHECK(pool.allocate(kBob, address("10.0.0.77"))->address == address("10.0.0.2"));
  pool.release(address("10.0.0.77"));
  CHECK(pool.allocate(kCarol, address("10.0.0.77"))->address == address("10.0.0.3"));  // still Alice's
  CHECK(pool.allocate(kCarol, address("10.0.0.1"))->address == address("10.0.0.4"));   // the gateway
  CHECK(pool.allocate(kCarol, address("10.0.0.255"))->address == address("10.0.0.5"));
  CHECK(pool.allocate(kCarol, address("192.0.2.1"))->address == address("10.0.0.6"));
  CHECK(pool.allocate(kCarol, address("fd00::7"))->address == address("10.0.0.7"));
}

TEST_CASE("when all else is taken, the longest unused reservation goes", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/29")};
  std::vector<IpAddress> given;
  for (int i = 0; i < 5; ++i) given.push_back(pool.allocate(UserId{i}, {})->address);
  pool.release(given[3]);
  pool.release(given[1]);
  const auto lease = pool.allocate(UserId{9}, {}).value();
  CHECK(lease.address == given[3]);
  CHECK(lease.evicted == UserId{3});
  CHECK(lease.fresh);
  CHECK(pool.allocate(UserId{3}, {})->address == given[1]);
  CHECK_FALSE(pool.allocate(UserId{1}, {}));
}

TEST_CASE("reservations survive a restart, and the order of their use with them", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/29")};
  CHECK(pool.restore(address("10.0.0.4"), kAlice));
  CHECK(pool.restore(address("10.0.0.2"), kBob));
  CHECK_FALSE(pool.restore(address("10.0.0.2"), kCarol));
  CHECK_FALSE(pool.restore(address("10.0.0.7"), kCarol));
  CHECK_FALSE(pool.restore(address("10.9.0.2"), kCarol));
  CHECK(pool.allocate(kCarol, {})->address == address("10.0.0.3"));
  CHECK(pool.allocate(kBob, {})->address == address("10.0.0.2"));
  for (int i = 10; i < 12; ++i) CHECK(pool.allocate(UserId{i}, {})->evicted == std::nullopt);
  CHECK(pool.allocate(UserId{12}, {})->evicted == kAlice);
}

TEST_CASE("a removed user's addresses become anybody's, those in use when their session ends", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/29")};
  const auto kept = pool.allocate(kAlice, {})->address;
  const auto idle = pool.allocate(kAlice, {})->address;
  pool.release(idle);
  pool.forget(kAlice);
  CHECK(pool.reserved() == 0);
  CHECK(pool.in_use() == 1);
  CHECK(pool.allocate(kBob, {})->address == idle);
  pool.release(kept);
  CHECK(pool.reserved() == 0);
  CHECK(pool.allocate(kCarol, {})->address == kept);
}

TEST_CASE("releasing what is not in use changes nothing", "[headend][pool]") {
  AddressPool pool{prefix("10.0.0.0/29")};
  const auto lease = pool.allocate(kAlice, {})->address;
  pool.release(address("10.0.0.5"));
  pool.release(address("192.0.2.1"));
  pool.release(lease);
  pool.release(lease);
  CHECK(pool.in_use() == 0);
  CHECK(pool.reserved() == 1);
}
