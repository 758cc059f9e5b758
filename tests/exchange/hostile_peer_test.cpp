// A peer that has proven its identity and means harm, and a stranger on the path who can copy and forge datagrams:
// neither may stop the process, move a session to an address that did not answer, or take what it was not given.
#include <catch2/catch.hpp>

#include "common/crypto/pki.h"
#include "common/ike/message.h"
#include "common/ike/payload_auth.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "common/ike/payload_sa.h"
#include "common/ike/payload_ts.h"
#include "common/ike/peer_proof.h"
#include "common/ike/sk_payload.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

const std::vector<ike::EspProposal> kOneSuite{ike::parse_esp_proposal("aes128gcm16-noesn").value()};

PairConfig with_keys_known() {
  auto config = PairConfig::with_psk();
  config.headend.keylog = true;
  config.client.esp_proposals = config.headend.esp_proposals = kOneSuite;
  return config;
}

/// Speaks in the client's place: the client itself hears and says nothing any more.
class HostileClient {
 public:
  explicit HostileClient(SessionPair& pair) : pair_{pair} {
    REQUIRE(pair.establish());
    pair.run_for(1s);
    const auto& keys = pair.headend.keylog.at(0);
    sealer_.emplace(crypto::AeadKey{keys.algorithm, keys.sk_ei.clone()});
    opener_.emplace(crypto::AeadKey{keys.algorithm, keys.sk_er.clone()});
    pair.network.drop_all();
    pair.network.filter([](const Datagram&) { return false; });
    pair.recorded.clear();
    pair.record = true;
  }

  ike::Header header(ike::ExchangeType exchange, std::uint32_t id, bool response = false) const {
    ike::Header header;
    header.initiator_spi = pair_.headend.keylog.at(0).initiator;
    header.responder_spi = pair_.headend.keylog.at(0).responder;
    header.exchange = exchange;
    header.from_initiator = true;
    header.response = response;
    header.message_id = MessageId{id};
    return header;
  }
  std::vector<Bytes> seal(const ike::Header& header, const ike::ChainBuilder& chain, std::size_t most = 65535) {
    return sealer_->seal(header, chain, most);
  }
  /// Gives the headend a datagram as if it came from there; returns how many it sent because of it.
  std::size_t give(ByteView octets, const Endpoint& from = SessionPair::kClient) {
    const auto before = pair_.recorded.size();
    pair_.headend.session->handle_message(octets, {SessionPair::kHeadendNatT, from}, pair_.clock.now(),
                                          pair_.clock.wall());
    pair_.flush();
    return pair_.recorded.size() - before;
  }
  std::size_t give(const std::vector<Bytes>& datagrams) {
    std::size_t sent = 0;
    for (const auto& datagram : datagrams) sent += give(datagram);
    return sent;
  }
  ike::OpenedMessage open_last() {
    auto opened = opener_->open(pair_.recorded.back().octets);
    REQUIRE(opened);
    REQUIRE(opened->has_value());
    return std::move(**opened);
  }

 private:
  SessionPair& pair_;
  std::optional<ike::SkSealer> sealer_;
  std::optional<ike::SkOpener> opener_;
};

constexpr std::uint32_t kNextId = 2;  // after IKE_SA_INIT and IKE_AUTH

/// {[N(REKEY_SA),] SA, N, TSi, TSr}
ike::ChainBuilder child_payloads(std::optional<Spi> rekeys, Spi spi, std::uint8_t nonce, const InstalledChild& old,
                                 bool from_headend) {
  ike::ChainBuilder chain;
  if (rekeys) ike::add_notify(chain, ike::NotifyType::rekey_sa, ike::ProtocolId::esp, *rekeys);
  ike::add_sa(chain, ike::offer(kOneSuite, spi, ike::ChildKeyExchange::negotiated));
  ike::add_nonce(chain, Bytes(32, nonce));
  ike::add_traffic_selectors(chain, ike::PayloadType::ts_initiator, from_headend ? old.local : old.remote);
  ike::add_traffic_selectors(chain, ike::PayloadType::ts_responder, from_headend ? old.remote : old.local);
  return chain;
}

}  // namespace

TEST_CASE("a peer that rekeys its side of a rekey collision before it answers ours does no harm", "[ike][rfc7296]") {
  SessionPair pair{with_keys_known()};
  HostileClient peer{pair};
  const auto old = pair.headend.installed.begin()->second;
  constexpr auto kCreate = ike::ExchangeType::create_child_sa;
  //                        <--  HDR, SK {N(REKEY_SA), SA, Ni, TSi, TSr}
  pair.headend.session->rekey_child(old.inbound, pair.clock.now());
  pair.flush();
  REQUIRE(pair.recorded.size() == 1);
  // HDR, SK {N(REKEY_SA, old), …}  -->   with the lowest nonce there is, so that the headend's successor wins
  CHECK(peer.give(peer.seal(peer.header(kCreate, kNextId), child_payloads(old.outbound, Spi{0x11111}, 0, old, false))));
  REQUIRE(pair.headend.installs == 2);
  // HDR, SK {N(REKEY_SA, the one just made), …}  -->
  CHECK(peer.give(
      peer.seal(peer.header(kCreate, kNextId + 1), child_payloads(Spi{0x11111}, Spi{0x22222}, 9, old, false))));
  REQUIRE(pair.headend.installs == 3);
  // HDR, SK {SA, Nr, TSi, TSr}  -->   the answer to the headend's
  peer.give(peer.seal(peer.header(kCreate, 0, true), child_payloads(std::nullopt, Spi{0x33333}, 0xff, old, true)));
  CHECK(pair.headend.installs == 4);
  CHECK_FALSE(pair.headend.closed);
  pair.run_for(10min);  // nobody answers any more
  CHECK(pair.headend.closed);
  CHECK(pair.headend.installed.empty());
}

TEST_CASE("a cookie of a size that is none is not returned", "[ike][rfc4555]") {
  auto config = with_keys_known();
  config.headend.fragmentation = false;
  SessionPair pair{std::move(config)};
  HostileClient peer{pair};
  const std::size_t size = GENERATE(7U, 8U, 64U, 65U, 65490U);
  CAPTURE(size);
  // HDR, SK {N(COOKIE2)}  -->   the largest comes in fragments and would not fit into one answer
  ike::ChainBuilder chain;
  ike::add_notify(chain, ike::NotifyType::cookie2, Bytes(size, 7));
  CHECK(peer.give(peer.seal(peer.header(ike::ExchangeType::informational, kNextId), chain, 40000)) == 1);
  const auto answer = peer.open_last();
  const bool good = size >= 8 && size <= 64;
  CHECK(ike::find_notify(answer.payloads, ike::NotifyType::cookie2).has_value() == good);
}

TEST_CASE("the answer to a check of one address does not prove another", "[ike][rfc4555-3.7]") {
  auto config = with_keys_known();
  config.headend.mobike = GENERATE(true, false);
  SessionPair pair{std::move(config)};
  HostileClient peer{pair};
  const auto home = pair.headend.session->path();
  const Endpoint own{*IpAddress::parse("203.0.113.5"), 4500}, victim{*IpAddress::parse("198.51.100.1"), 53};
  // ESP from an address where the peer can hear, and so learns what the check holds …
  pair.headend.session->handle_esp_from({SessionPair::kHeadendNatT, own}, pair.clock.now());
  pair.flush();
  REQUIRE(pair.recorded.size() == 1);
  CHECK(pair.recorded.back().path.remote == own);
  const auto check = peer.open_last();
  ike::ChainBuilder answer;
  if (const auto cookie = ike::find_notify(check.payloads, ike::NotifyType::cookie2)) {
    ike::add_notify(answer, ike::NotifyType::cookie2, cookie->data);
  }
  // … then ESP in the victim's name, and the answer in its name too.
  pair.run_for(2500ms);
  pair.headend.session->handle_esp_from({SessionPair::kHeadendNatT, victim}, pair.clock.now());
  pair.flush();
  auto header = peer.header(ike::ExchangeType::informational, check.header.message_id.value, true);
  for (const auto& datagram : peer.seal(header, answer)) peer.give(datagram, victim);
  CHECK(pair.headend.moves.empty());
  CHECK(pair.headend.session->path() == home);
  // The victim is asked afresh, and does not answer.
  REQUIRE(pair.recorded.back().path.remote == victim);
  const auto again = peer.open_last();
  CHECK(again.header.message_id != check.header.message_id);
  pair.run_for(3s);
  CHECK(pair.headend.moves.empty());
}

TEST_CASE("a forged copy of a fragment does not keep the answer from being repeated", "[ike][rfc7383]") {
  SessionPair pair{with_keys_known()};
  HostileClient peer{pair};
  ike::ChainBuilder chain;
  ike::add_notify(chain, ike::NotifyType{40961}, Bytes(2000, 1));
  const auto fragments = peer.seal(peer.header(ike::ExchangeType::informational, kNextId), chain, 1200);
  REQUIRE(fragments.size() == 2);
  CHECK(peer.give(fragments[0]) == 0);
  auto forged = fragments[0];
  forged.back() ^= 1U;
  CHECK(peer.give(forged) == 0);
  CHECK(peer.give(fragments[1]) == 1);
  // The answer was lost: the peer repeats its request.
  CHECK(peer.give(fragments[0]) == 1);
  CHECK(peer.give(fragments[1]) == 0);
}

TEST_CASE("forged repetitions do not use up the answers that true ones get", "[ike][rfc7296-2.1]") {
  SessionPair pair{with_keys_known()};
  HostileClient peer{pair};
  const auto request = peer.seal(peer.header(ike::ExchangeType::informational, kNextId), ike::ChainBuilder{}).at(0);
  CHECK(peer.give(request) == 1);
  auto forged = request;
  forged.back() ^= 1U;
  for (int i = 0; i < 1000; ++i) CHECK(peer.give(forged) == 0);
  CHECK(peer.give(request) == 1);
}

TEST_CASE("a peer that got no address gets no traffic selectors later either", "[ike][rfc7296-3.15.4]") {
  SessionPair pair{PairConfig::with_psk()};
  pair.authorize = [](const ike::AuthorizationNeeded&) {
    ike::Authorization answer;
    answer.granted = true;
    answer.address_failure = true;
    return answer;
  };
  pair.start();
  pair.run_for(5s);
  REQUIRE(pair.both_established());
  CHECK(pair.client.child_failures == std::vector{ike::NotifyType::internal_address_failure});
  // HDR, SK {SA, Ni, TSi, TSr}  -->   any address will do
  //                        <--  HDR, SK {N(TS_UNACCEPTABLE)}
  pair.client.session->create_child(pair.clock.now());
  pair.flush();
  pair.run_for(1s);
  CHECK(pair.headend.installed.empty());
  CHECK(pair.client.child_failures.back() == ike::NotifyType::ts_unacceptable);
}

TEST_CASE("peers that announced hashes do not fall back to a signature with SHA-1", "[ike][rfc7427][rfc8247]") {
  const auto now = VirtualClock{}.wall();
  const auto authority = crypto::CertificateAuthority::create("Test authority", now).value();
  const auto alice = authority.issue_user({"alice", crypto::KeyType::rsa}, now).value();
  auto trust = std::make_shared<crypto::TrustStore>();
  trust->add(authority.certificate());
  ike::SessionConfig config;
  config.trust = trust;
  SeededRandom random{1};
  const auto octets = as_bytes("signed octets");
  const auto verify = [&](std::span<const crypto::HashAlgorithm> hashes, bool announced) {
    const auto auth = crypto::sign_auth(alice.key, hashes, octets).value();
    ike::ChainBuilder chain;
    ike::add_certificate(chain, ike::CertificateEncoding::x509_signature, alice.certificate.der());
    ike::add_auth(chain, ike::AuthenticationMethod{static_cast<std::uint8_t>(auth.method)}, auth.data);
    const auto payloads = ike::parse_payloads(chain.view(), chain.first()).value();
    return ike::verify_peer(config, ike::Role::responder, payloads, crypto::IkeIdentity::parse("alice").value(),
                            crypto::PrfAlgorithm::hmac_sha2_256, octets, announced, random, now)
        .has_value();
  };
  CHECK(verify({}, false));  // method 1 with SHA-1: all that an old peer has
  CHECK_FALSE(verify({}, true));
  CHECK(verify(crypto::kOurHashAlgorithms, true));
}
