#include "headend/authorizer.h"

#include <catch2/catch.hpp>

#include "tests/unit/headend/temporary_directory.h"

using namespace switchback;
using namespace switchback::headend;

namespace {

constexpr WallTime kNow{std::chrono::seconds{1'700'000'000}};

IpAddress address(const char* text) { return IpAddress::parse(text).value(); }
IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }

struct Fixture {
  Fixture() {
    config.pool = prefix("10.0.0.0/29");
    config.pool6 = prefix("fd00::/64");
    config.routes = {prefix("0.0.0.0/0"), prefix("::/0")};
    config.dns = {address("192.0.2.53")};
    config.search_domains = {"example.org"};
    alice = store.add_user("alice", CertificateRecord{Bytes(32, 1), "01", kNow}, kNow).value();
    REQUIRE(store.add_user("bob", Secret{as_bytes("key")}, kNow));
  }
  Authorizer make() { return Authorizer::create(std::make_shared<const Config>(config), store).value(); }

  static ike::AuthorizationNeeded certificate(std::uint8_t mark) {
    ike::AuthorizationNeeded event;
    event.peer = crypto::IkeIdentity::parse("whoever").value();
    event.certificate_sha256 = Bytes(32, mark);
    event.request = ike::NetworkRequest{};
    return event;
  }
  static ike::AuthorizationNeeded shared_key(const char* name) {
    ike::AuthorizationNeeded event;
    event.peer = crypto::IkeIdentity::parse(name).value();
    event.request = ike::NetworkRequest{};
    return event;
  }

  test::TemporaryDirectory directory;
  Store store = Store::create(directory.file("state.db")).value();
  Config config;
  UserId alice;
};

}  // namespace

TEST_CASE("a known certificate is its user's, by fingerprint and not by what the peer calls itself",
          "[headend][authorizer]") {
  Fixture fixture;
  auto authorizer = fixture.make();
  const auto admission = authorizer.identify(Fixture::certificate(1));
  CHECK(admission.user == fixture.alice);
  CHECK(admission.name == "alice");
}

TEST_CASE("strangers, the removed and the wrong kind of proof are refused with a reason", "[headend][authorizer]") {
  Fixture fixture;
  auto authorizer = fixture.make();
  CHECK_FALSE(authorizer.identify(Fixture::certificate(9)).user);
  CHECK(authorizer.identify(Fixture::shared_key("bob")).user);
  CHECK(authorizer.identify(Fixture::shared_key("BOB")).name == "bob");  // the key was found without regard to case
  CHECK_FALSE(authorizer.identify(Fixture::shared_key("alice")).user);   // alice has a certificate, not a key
  CHECK_FALSE(authorizer.identify(Fixture::shared_key("carol")).user);

  REQUIRE(fixture.store.remove_user("alice", kNow));
  const auto removed = authorizer.identify(Fixture::certificate(1));
  CHECK_FALSE(removed.user);
  CHECK(removed.refusal == "the user was removed");
  CHECK_FALSE(removed.answer.granted);
}

TEST_CASE("a full tunnel grants host addresses, name servers and everything", "[headend][authorizer]") {
  Fixture fixture;
  auto authorizer = fixture.make();
  auto admission = authorizer.identify(Fixture::certificate(1));
  authorizer.grant(admission, ike::NetworkRequest{}, kNow);
  const auto& answer = admission.answer;
  CHECK(answer.granted);
  CHECK_FALSE(answer.address_failure);
  CHECK(answer.network.addresses == std::vector{prefix("10.0.0.2/32"), prefix("fd00::2/128")});
  CHECK(answer.network.dns == fixture.config.dns);
  CHECK(answer.network.search_domains == fixture.config.search_domains);
  CHECK(answer.network.subnets.empty());
  CHECK(packet::to_string(answer.remote_selectors) == "10.0.0.2/32, fd00::2/128");
  CHECK(packet::to_string(answer.local_selectors.value()) == "0.0.0.0/0, ::/0");
}

TEST_CASE("a split tunnel still reaches the headend and its name servers", "[headend][authorizer]") {
  Fixture fixture;
  fixture.config.routes = {prefix("192.168.0.0/16")};
  auto authorizer = fixture.make();
  auto admission = authorizer.identify(Fixture::certificate(1));
  authorizer.grant(admission, ike::NetworkRequest{}, kNow);
  CHECK(packet::to_string(admission.answer.local_selectors.value()) ==
        "192.168.0.0/16, 10.0.0.1/32, 192.0.2.53/32, fd00::1/128");
  CHECK(admission.answer.network.subnets.size() == 4);
}

TEST_CASE("only the families asked for are given", "[headend][authorizer]") {
  Fixture fixture;
  auto authorizer = fixture.make();
  auto admission = authorizer.identify(Fixture::certificate(1));
  ike::NetworkRequest request;
  request.ipv4 = false;
  authorizer.grant(admission, request, kNow);
  CHECK(admission.leases == std::vector{address("fd00::2")});
  CHECK(admission.answer.network.dns.empty());  // the name server is an IPv4 one
}

TEST_CASE("who asks for no address, and who finds the pool empty, gets no tunnel", "[headend][authorizer]") {
  Fixture fixture;
  fixture.config.pool6.reset();
  auto authorizer = fixture.make();
  auto admission = authorizer.identify(Fixture::certificate(1));
  authorizer.grant(admission, std::nullopt, kNow);
  CHECK(admission.answer.granted);
  CHECK(admission.answer.address_failure);

  for (int i = 0; i < 5; ++i) {
    auto next = authorizer.identify(Fixture::certificate(1));
    authorizer.grant(next, ike::NetworkRequest{}, kNow);
    CHECK_FALSE(next.answer.address_failure);
  }
  auto sixth = authorizer.identify(Fixture::certificate(1));
  authorizer.grant(sixth, ike::NetworkRequest{}, kNow);
  CHECK(sixth.answer.granted);
  CHECK(sixth.answer.address_failure);
  CHECK(sixth.leases.empty());
}

TEST_CASE("addresses survive a restart, with sessions ended or not", "[headend][authorizer]") {
  Fixture fixture;
  {
    auto authorizer = fixture.make();
    for (const char* wanted : {"10.0.0.5", "10.0.0.4"}) {
      auto admission = authorizer.identify(Fixture::shared_key("bob"));
      ike::NetworkRequest request;
      request.preferred_v4 = address(wanted);
      authorizer.grant(admission, request, kNow);
      CHECK(admission.leases[0] == address(wanted));
    }
    auto alice = authorizer.identify(Fixture::certificate(1));
    authorizer.grant(alice, ike::NetworkRequest{}, kNow);
    authorizer.release(alice.leases, kNow);
  }  // killed: Bob's sessions were not released
  auto authorizer = fixture.make();
  CHECK(authorizer.pool(IpFamily::v4)->reserved() == 3);
  auto bob = authorizer.identify(Fixture::shared_key("bob"));
  ike::NetworkRequest request;
  request.preferred_v4 = address("10.0.0.5");
  authorizer.grant(bob, request, kNow);
  CHECK(bob.leases[0] == address("10.0.0.5"));
  auto alice = authorizer.identify(Fixture::certificate(1));
  authorizer.grant(alice, ike::NetworkRequest{}, kNow);
  CHECK(alice.leases[0] == address("10.0.0.2"));
}

TEST_CASE("reservations of a pool that is no longer configured are dropped", "[headend][authorizer]") {
  Fixture fixture;
  REQUIRE(fixture.store.remember_lease(address("172.16.0.9"), fixture.alice, kNow));
  auto authorizer = fixture.make();
  CHECK(authorizer.pool(IpFamily::v4)->reserved() == 0);
  CHECK(fixture.store.leases().value().empty());
}
