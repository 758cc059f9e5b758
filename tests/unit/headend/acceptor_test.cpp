#include "headend/acceptor.h"

#include <catch2/catch.hpp>
#include <memory>

#include "common/crypto/random.h"
#include "common/ike/session.h"

using namespace switchback;
using namespace switchback::headend;
using namespace std::chrono_literals;

namespace {

constexpr Instant kStart{1h};

AddressPair path_from(const std::string& remote, std::uint16_t port = 40000) {
  return {{*IpAddress::parse("192.0.2.1"), 500}, {*IpAddress::parse(remote), port}};
}

/// The IKE_SA_INIT request of a new initiator.
class Initiator {
 public:
  explicit Initiator(const std::string& address, std::uint16_t port = 40000) : path{path_from(address, port)} {
    auto config = std::make_shared<ike::SessionConfig>();
    config->local_identity = crypto::IkeIdentity::parse("alice").value();
    session_ = std::make_unique<ike::Session>(ike::Role::initiator, config, ike::Environment{random_, spis_});
    session_->start({path.remote, path.local}, kStart, WallTime{});
    datagram = session_->poll_transmit().value().datagram;
  }
  /// The answer to an answer of the headend.
  Bytes answer(const Bytes& reply, Instant now) {
    session_->handle_message(reply, {path.remote, path.local}, now, WallTime{});
    const auto transmit = session_->poll_transmit();
    return transmit ? transmit->datagram : Bytes{};
  }
  AddressPair path;
  Bytes datagram;

 private:
  crypto::SystemRandom random_;
  ike::SpiRegistry spis_;
  std::unique_ptr<ike::Session> session_;
};

ike::GateLimits limits() {
  ike::GateLimits limits;
  limits.cookie_from_half_open = 4;
  limits.max_half_open = 6;
  limits.max_half_open_per_address = 4;  // a cookie is wanted from the second half of it on
  limits.inits_per_second = 10;
  limits.init_burst = 100;
  return limits;
}

struct Door {
  crypto::SystemRandom random;
  SessionTable table;
  Acceptor acceptor{limits(), random, kStart};

  bool created(const Acceptor::Decision& decision) { return std::holds_alternative<Acceptor::Create>(decision); }
  /// Asks for entrance, with a cookie if one is wanted.
  bool admitted(Initiator& initiator) {
    auto decision = acceptor.decide(initiator.datagram, initiator.path, kStart);
    if (const auto* reply = std::get_if<Acceptor::Reply>(&decision)) {
      initiator.datagram = initiator.answer(reply->datagram, kStart);
      decision = acceptor.decide(initiator.datagram, initiator.path, kStart);
    }
    return created(decision);
  }
  SessionTag open(Initiator&& initiator) {
    REQUIRE(admitted(initiator));
    const auto tag = table.open();
    acceptor.opened(tag, initiator.datagram, initiator.path);
    return tag;
  }
};

}  // namespace

TEST_CASE("a first IKE_SA_INIT makes a session, its retransmission finds that session", "[headend][acceptor]") {
  Door door;
  Initiator alice{"198.51.100.1"};
  REQUIRE(door.admitted(alice));
  const auto tag = door.table.open();
  door.acceptor.opened(tag, alice.datagram, alice.path);
  const auto again = door.acceptor.decide(alice.datagram, alice.path, kStart + 1s);
  REQUIRE(std::holds_alternative<Acceptor::Duplicate>(again));
  CHECK(std::get<Acceptor::Duplicate>(again).session == tag);
  CHECK(door.acceptor.half_open() == 1);
}

TEST_CASE("the same octets from another address are another peer", "[headend][acceptor]") {
  Door door;
  Initiator alice{"198.51.100.1"};
  REQUIRE(door.admitted(alice));
  door.acceptor.opened(door.table.open(), alice.datagram, alice.path);
  const auto elsewhere = door.acceptor.decide(alice.datagram, path_from("198.51.100.1", 40001), kStart);
  CHECK(door.created(elsewhere));
}

TEST_CASE("a session that is established counts no longer, and its duplicates are known for a minute",
          "[headend][acceptor]") {
  Door door;
  Initiator alice{"198.51.100.1"};
  REQUIRE(door.admitted(alice));
  const auto tag = door.table.open();
  door.acceptor.opened(tag, alice.datagram, alice.path);
  door.acceptor.established(tag, kStart + 1s);
  CHECK(door.acceptor.half_open() == 0);
  CHECK(std::holds_alternative<Acceptor::Duplicate>(door.acceptor.decide(alice.datagram, alice.path, kStart + 60s)));
  CHECK(door.created(door.acceptor.decide(alice.datagram, alice.path, kStart + 61s)));
}

TEST_CASE("one address can only have so many sessions half open", "[headend][acceptor]") {
  Door door;
  std::vector<SessionTag> tags;
  for (std::uint16_t i = 0; i < 4; ++i) {
    tags.push_back(door.open(Initiator{"198.51.100.1", static_cast<std::uint16_t>(50000 + i)}));
  }
  Initiator fifth{"198.51.100.1", 50004};
  CHECK_FALSE(door.admitted(fifth));
  Initiator other{"203.0.113.1"};
  CHECK(door.admitted(other));
  door.acceptor.closed(tags[1]);
  CHECK(door.admitted(fifth));
}

TEST_CASE("under load a peer must return a cookie, and then it may come in", "[headend][acceptor][rfc7296]") {
  Door door;
  for (int i = 0; i < 4; ++i) (void)door.open(Initiator{"198.51.100." + std::to_string(i + 1)});
  Initiator newcomer{"203.0.113.7"};
  auto demand = door.acceptor.decide(newcomer.datagram, newcomer.path, kStart);
  REQUIRE(std::holds_alternative<Acceptor::Reply>(demand));
  const auto& cookie = std::get<Acceptor::Reply>(demand).datagram;
  CHECK(cookie.size() <= newcomer.datagram.size());
  CHECK(door.acceptor.half_open() == 4);

  const auto with_cookie = newcomer.answer(cookie, kStart + 1ms);
  REQUIRE_FALSE(with_cookie.empty());
  CHECK(door.created(door.acceptor.decide(with_cookie, newcomer.path, kStart + 1ms)));
  // The cookie is good for the address that it was sent to, and no other.
  CHECK_FALSE(door.created(door.acceptor.decide(with_cookie, path_from("203.0.113.8"), kStart + 1ms)));
}

TEST_CASE("nobody new is let in beyond the bound of half-open sessions, cookie or not", "[headend][acceptor]") {
  Door door;
  for (int i = 0; i < 6; ++i) {
    Initiator initiator{"198.51.100." + std::to_string(i + 1)};
    auto decision = door.acceptor.decide(initiator.datagram, initiator.path, kStart);
    if (auto* reply = std::get_if<Acceptor::Reply>(&decision)) {
      initiator.datagram = initiator.answer(reply->datagram, kStart);
      decision = door.acceptor.decide(initiator.datagram, initiator.path, kStart);
    }
    REQUIRE(door.created(decision));
    door.acceptor.opened(door.table.open(), initiator.datagram, initiator.path);
  }
  const Initiator late{"203.0.113.9"};
  CHECK_FALSE(door.created(door.acceptor.decide(late.datagram, late.path, kStart)));
}

TEST_CASE("a network that begins too many sessions is slowed down, others are not", "[headend][acceptor]") {
  crypto::SystemRandom random;
  auto slow = limits();
  slow.init_burst = 5;
  slow.cookie_from_half_open = 1000;
  Acceptor acceptor{slow, random, kStart};
  int created = 0;
  for (int i = 0; i < 20; ++i) {
    const Initiator initiator{"198.51.100." + std::to_string(i + 1)};  // one /24
    if (std::holds_alternative<Acceptor::Create>(acceptor.decide(initiator.datagram, initiator.path, kStart))) {
      ++created;
    }
  }
  CHECK(created == 5);
  CHECK(acceptor.counters().dropped == 15);
}

TEST_CASE("noise is dropped, whatever its length", "[headend][acceptor]") {
  Door door;
  for (const std::size_t size : {0U, 1U, 27U, 28U, 29U, 400U, 65535U}) {
    CHECK(std::holds_alternative<Acceptor::Drop>(
        door.acceptor.decide(Bytes(size, 0xAA), path_from("198.51.100.1"), kStart)));
  }
  CHECK(door.acceptor.half_open() == 0);
}

TEST_CASE("a request for an IKE SA that we do not have is answered with less than it brought",
          "[headend][acceptor][rfc7296]") {
  Door door;
  Bytes request(80, 0);
  store_be<std::uint64_t>(request.data(), 0x1234);
  store_be<std::uint64_t>(request.data() + 8, 0x5678);
  request[16] = 46;    // SK
  request[17] = 0x20;  // IKEv2
  request[18] = 37;    // INFORMATIONAL
  request[19] = 0x08;  // request of the original initiator
  store_be<std::uint32_t>(request.data() + 24, 80);
  store_be<std::uint16_t>(request.data() + 30, 52);
  std::size_t replies = 0;
  for (int i = 0; i < 10'000; ++i) {
    const auto decision = door.acceptor.decide(request, path_from("198.51.100.1"), kStart);
    if (const auto* reply = std::get_if<Acceptor::Reply>(&decision)) {
      ++replies;
      CHECK(reply->datagram.size() <= request.size());
    }
  }
  CHECK(replies > 0);
  CHECK(replies <= 1000);
  // Whoever asks as often as that leaves the others their answers.
  CHECK(std::holds_alternative<Acceptor::Reply>(door.acceptor.decide(request, path_from("203.0.113.1"), kStart)));
}
