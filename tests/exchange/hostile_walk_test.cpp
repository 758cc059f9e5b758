// A peer that has proven its identity and from then on says whatever it likes, in well-formed messages: random walks
// through requests, answers and commands. The process must live, what is held stays bounded, time goes on, and nobody
// gets addresses that were not given.
#include <catch2/catch.hpp>

#include "common/crypto/key_exchange.h"
#include "common/ike/message.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"
#include "common/ike/payload_sa.h"
#include "common/ike/payload_ts.h"
#include "common/ike/sk_payload.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using namespace std::chrono_literals;

namespace {

const std::vector<ike::EspProposal> kEsp{ike::parse_esp_proposal("aes128gcm16-noesn").value()};
const std::vector<ike::IkeProposal> kIke{ike::parse_ike_proposal("aes128gcm16-prfsha256-x25519").value()};

class Walk {
 public:
  explicit Walk(std::uint64_t seed) : random_{seed}, pair_{config(), seed} {
    REQUIRE(pair_.establish());
    pair_.network.filter([](const Datagram&) { return false; });  // the true client is heard no more
    pair_.recorded.clear();
    pair_.record = true;
    expected_[pair_.headend.session->responder_spi()] = 2;
  }

  void run(int steps) {
    for (int i = 0; i < steps && !pair_.headend.closed; ++i) {
      switch (pick(8)) {
        case 0:
        case 1: ask(); break;
        case 2:
        case 3:
        case 4: answer(); break;
        case 5: command(); break;
        default: pair_.run_for(std::chrono::milliseconds{pick(12) == 0 ? pick(30000) : pick(600)}); break;
      }
      check();
    }
    pair_.run_for(30min);  // nobody answers: it ends, or it would keep what it holds for ever
    CHECK(pair_.headend.closed);
    CHECK(pair_.headend.installed.empty());
    CHECK(pair_.headend.ike_spis.empty());
  }

 private:
  static PairConfig config() {
    auto made = PairConfig::with_psk();
    made.headend.keylog = true;
    made.client.esp_proposals = made.headend.esp_proposals = kEsp;
    made.client.ike_proposals = made.headend.ike_proposals = kIke;
    made.headend.timers.ike_rekey = 60s;
    made.headend.timers.child_rekey = 40s;
    made.headend.timers.ike_lifetime = 10min;
    return made;
  }

  std::uint32_t pick(std::uint32_t bound) { return public_random<std::uint32_t>(random_) % bound; }

  struct Sa {
    const ike::IkeKeylog* keys = nullptr;
    bool headend_is_initiator = false;
    [[nodiscard]] IkeSpi own() const { return headend_is_initiator ? keys->initiator : keys->responder; }
  };
  /// One of the IKE SAs that the headend has.
  std::optional<Sa> pick_sa() {
    std::vector<Sa> alive;
    for (const auto& keys : pair_.headend.keylog) {
      if (pair_.headend.ike_spis.count(keys.initiator) != 0) alive.push_back({&keys, true});
      if (pair_.headend.ike_spis.count(keys.responder) != 0) alive.push_back({&keys, false});
    }
    if (alive.empty()) return std::nullopt;
    return pick(3) == 0 ? alive[pick(static_cast<std::uint32_t>(alive.size()))] : alive.back();
  }

  void give(const Sa& sa, ike::ExchangeType exchange, std::uint32_t id, bool response, const ike::ChainBuilder& chain) {
    ike::Header header;
    header.initiator_spi = sa.keys->initiator;
    header.responder_spi = sa.keys->responder;
    header.exchange = exchange;
    header.from_initiator = !sa.headend_is_initiator;
    header.response = response;
    header.message_id = MessageId{id};
    const auto& key = sa.headend_is_initiator ? sa.keys->sk_er : sa.keys->sk_ei;
    ike::SkSealer sealer{crypto::AeadKey{sa.keys->algorithm, key.clone()}};
    const auto octets = sealer.seal(header, chain);
    auto from = SessionPair::kClient;
    if (pick(8) == 0) from.port = static_cast<std::uint16_t>(50000 + pick(3));
    pair_.headend.session->handle_message(octets, {SessionPair::kHeadendNatT, from}, pair_.clock.now(),
                                          pair_.clock.wall());
    pair_.flush();
  }

  Spi some_spi() {
    const auto& installed = pair_.headend.installed;
    if (installed.empty() || pick(6) == 0) return Spi{256 + pick(8)};
    auto at = installed.begin();
    std::advance(at, pick(static_cast<std::uint32_t>(installed.size())));
    return pick(8) == 0 ? at->second.inbound : at->second.outbound;
  }
  Bytes nonce() { return Bytes(32, std::array<std::uint8_t, 3>{0, 0x80, 0xff}.at(pick(3))); }
  ike::TrafficSelectors selectors() {
    const auto prefix = [](const char* text) { return packet::from_prefix(*IpPrefix::parse(text)); };
    switch (pick(4)) {
      case 0: return {prefix("10.99.0.2/32")};
      case 1: return {prefix("10.99.0.0/24"), prefix("fd00::/8")};
      case 2: return {prefix("10.99.0.3/32")};
      default: return {prefix("0.0.0.0/0"), prefix("::/0")};
    }
  }

  void add_child(ike::ChainBuilder& chain) {
    ike::add_sa(chain, ike::offer(kEsp, Spi{256 + pick(100000)}, ike::ChildKeyExchange::negotiated));
    ike::add_nonce(chain, nonce());
    ike::add_traffic_selectors(chain, ike::PayloadType::ts_initiator, selectors());
    ike::add_traffic_selectors(chain, ike::PayloadType::ts_responder, selectors());
  }
  void add_ike(ike::ChainBuilder& chain) {
    const auto exchange = crypto::KeyExchange::generate(crypto::KeyExchangeMethod::curve25519).value();
    ike::add_sa(chain, ike::offer(kIke, IkeSpi{1 + pick(1000)}));
    ike::add_nonce(chain, nonce());
    ike::add_key_exchange(chain, ike::wire_id(exchange.method()), exchange.public_value());
  }
  void add_delete(ike::ChainBuilder& chain) {
    const std::array spis{some_spi(), some_spi()};
    ike::add_delete_esp(chain, std::span{spis}.first(1 + pick(2)));
  }
  void add_error(ike::ChainBuilder& chain) {
    using enum ike::NotifyType;
    constexpr std::array kErrors{temporary_failure,  child_sa_not_found, invalid_ke_payload, no_additional_sas,
                                 no_proposal_chosen, ts_unacceptable,    invalid_selectors};
    const auto type = kErrors.at(pick(kErrors.size()));
    if (type == invalid_ke_payload) return ike::add_invalid_ke(chain, ike::KeyExchangeId{31});
    ike::add_notify(chain, type);
  }

  void ask() {
    const auto sa = pick_sa();
    if (!sa) return;
    const auto id = expected_[sa->own()];
    ike::ChainBuilder chain;
    auto exchange = ike::ExchangeType::create_child_sa;
    switch (pick(7)) {
      case 0:
      case 1:
      case 2:
        ike::add_notify(chain, ike::NotifyType::rekey_sa, ike::ProtocolId::esp, some_spi());
        add_child(chain);
        break;
      case 3: add_child(chain); break;
      case 4: add_ike(chain); break;
      default:
        exchange = ike::ExchangeType::informational;
        switch (pick(8)) {
          case 0:
            if (pick(4) == 0) ike::add_delete_ike(chain);
            break;
          case 1: ike::add_notify(chain, ike::NotifyType::update_sa_addresses); break;
          case 2: add_error(chain); break;
          case 3: break;
          default: add_delete(chain); break;
        }
    }
    const auto before = pair_.recorded.size();
    give(*sa, exchange, id, false, chain);
    for (auto i = before; i < pair_.recorded.size(); ++i) {
      const auto header = ike::parse_header(pair_.recorded[i].octets).value();
      if (header.response && header.message_id.value == id) {
        expected_[sa->own()] = id + 1;
        break;
      }
    }
  }

  /// To a request of the headend that may be outstanding: the latest of an IKE SA.
  void answer() {
    const auto sa = pick_sa();
    if (!sa) return;
    for (auto at = pair_.recorded.rbegin(); at != pair_.recorded.rend(); ++at) {
      const auto header = ike::parse_header(at->octets).value();
      if (header.response || header.initiator_spi != sa->keys->initiator ||
          header.responder_spi != sa->keys->responder) {
        continue;
      }
      ike::ChainBuilder chain;
      const auto choice = pick(8);
      if (choice == 0) {
        add_error(chain);
      } else if (choice == 1) {
        add_ike(chain);
      } else if (choice == 2) {
        add_delete(chain);
      } else if (header.exchange == ike::ExchangeType::create_child_sa) {
        const auto& key = sa->headend_is_initiator ? sa->keys->sk_ei : sa->keys->sk_er;
        ike::SkOpener opener{crypto::AeadKey{sa->keys->algorithm, key.clone()}};
        const auto opened = opener.open(at->octets);
        const bool ike = opened && *opened && (*opened)->payloads.has(ike::PayloadType::key_exchange);
        ike ? add_ike(chain) : add_child(chain);
      }
      return give(*sa, header.exchange, header.message_id.value, true, chain);
    }
  }

  void command() {
    auto& session = *pair_.headend.session;
    const auto now = pair_.clock.now();
    const auto& installed = pair_.headend.installed;
    auto at = installed.begin();
    if (!installed.empty()) std::advance(at, pick(static_cast<std::uint32_t>(installed.size())));
    const auto child = installed.empty() ? Spi{300} : at->first;
    switch (pick(9)) {
      case 0: session.rekey_ike(now); break;
      case 1:
      case 2: session.rekey_child(child, now); break;
      case 3: session.delete_child(child, now); break;
      case 4: session.create_child(now); break;
      case 5: session.handle_child_expiring(child, pick(2) == 0, now); break;
      case 6: session.handle_first_inbound_packet(child, now); break;
      case 7:
        session.handle_esp_from({SessionPair::kHeadendNatT, {IpAddress::v4(0x0A000100 + pick(3)), 4500}}, now);
        break;
      default: pick(20) == 0 ? session.close(now) : session.handle_hint(now); break;
    }
    pair_.flush();
  }

  void check() {
    if (pair_.recorded.size() > 400) pair_.recorded.erase(pair_.recorded.begin(), pair_.recorded.begin() + 200);
    const auto& headend = pair_.headend;
    REQUIRE(headend.session->children().size() <= 20);
    REQUIRE(headend.installed.size() <= 20);
    REQUIRE(headend.session->ike_sa_count() <= 6);
    for (const auto& [spi, child] : headend.installed) {
      REQUIRE(!child.remote.empty());
      for (const auto& selector : child.remote) {
        REQUIRE(selector.first == selector.last);
        REQUIRE(
            (selector.first == *IpAddress::parse("10.99.0.2") || selector.first == *IpAddress::parse("fd00:99::2")));
      }
    }
    REQUIRE(headend.closed.has_value() == (headend.session->state() == ike::SessionState::closed));
  }

  SeededRandom random_;
  SessionPair pair_;
  std::map<IkeSpi, std::uint32_t> expected_;  // message ID of our next request, by the headend's SPI
};

}  // namespace

TEST_CASE("whatever a peer says in good form, the headend lives, holds little and gives nothing away", "[ike]") {
  const auto seed = GENERATE(range(1, 401));
  CAPTURE(seed);
  Walk{static_cast<std::uint64_t>(seed)}.run(200);
}
