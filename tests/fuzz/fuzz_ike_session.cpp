// A whole pair of IKE sessions under a script made of the input: deliveries, losses, replays, mutations, raw octets,
// payload chains sealed with the right keys, commands and time. Whatever comes, nothing may crash or stop time, and
// what is held stays bounded.

#include "common/base/wire_reader.h"
#include "common/ike/sk_payload.h"
#include "tests/fuzz/require.h"
#include "tests/support/session_pair.h"

using namespace switchback;
using namespace switchback::test;
using switchback::test::require;
using namespace std::chrono_literals;

namespace {

constexpr int kMaxOperations = 96;

struct Script {
  explicit Script(ByteView input, bool mobike) : in{input}, pair{config(mobike)} { pair.record = true; }

  static PairConfig config(bool mobike) {
    auto made = PairConfig::with_psk();
    made.client.keylog = made.headend.keylog = true;
    made.client.mobike = mobike;
    return made;
  }

  End& pick(std::uint8_t choice) { return (choice & 1U) != 0 && pair.headend.session ? pair.headend : pair.client; }
  bool is_client(const End& end) const { return &end == &pair.client; }
  AddressPair path_to(const End& end) const {
    return is_client(end) ? AddressPair{SessionPair::kClient, SessionPair::kHeadendNatT}
                          : AddressPair{SessionPair::kHeadendNatT, SessionPair::kClient};
  }
  void give(End& end, ByteView octets) {
    end.session->handle_message(octets, path_to(end), pair.clock.now(), pair.clock.wall());
    pair.flush();
  }

  /// A chain of payloads as the input says, inside SK with the keys of an IKE SA that both have.
  void sealed(End& to) {
    const auto& log = is_client(to) ? pair.headend.keylog : pair.client.keylog;
    const auto flags = in.u8();
    if (log.empty()) return;
    const auto& keys = log[(flags >> 6U) % log.size()];
    ike::Header header;
    header.initiator_spi = keys.initiator;
    header.responder_spi = keys.responder;
    header.exchange = ike::ExchangeType{static_cast<std::uint8_t>(34 + (flags & 3U))};
    header.response = (flags & 4U) != 0;
    header.from_initiator = ((flags & 8U) != 0) != !is_client(to);  // as it should be unless the bit is set
    header.message_id = MessageId{in.u8() & 7U};
    ike::ChainBuilder chain;
    for (int i = 0; i < 12; ++i) {
      const auto type = in.u8();
      if (type == 0) break;
      chain.add(ike::PayloadType{static_cast<std::uint8_t>(32 + type % 22)},
                in.bytes(std::min<std::size_t>(in.u8(), in.remaining())));
    }
    const auto& secret = header.from_initiator ? keys.sk_ei : keys.sk_er;
    ike::SkSealer sealer{crypto::AeadKey{keys.algorithm, secret.clone()}};
    if ((flags & 16U) != 0) {
      for (const auto& fragment : sealer.seal(header, chain, 100)) give(to, fragment);
    } else {
      give(to, sealer.seal(header, chain));
    }
  }

  void mutated(End& to) {
    if (pair.recorded.empty()) return;
    auto octets = pair.recorded[in.u8() % pair.recorded.size()].octets;
    const auto changes = in.u8() % 4;
    for (int i = 0; i < changes && !octets.empty(); ++i) octets[in.u16be() % octets.size()] ^= in.u8();
    if (const auto cut = in.u8(); cut < 16) octets.resize(octets.size() * cut / 16);
    give(to, octets);
  }

  void command(End& end) {
    auto& session = *end.session;
    const auto now = pair.clock.now();
    const auto inbound = end.installed.empty() ? Spi{in.u8()} : end.installed.begin()->first;
    switch (in.u8() % 10) {
      case 0: session.rekey_ike(now); break;
      case 1: session.rekey_child(inbound, now); break;
      case 2: session.create_child(now); break;
      case 3: session.delete_child(inbound, now); break;
      case 4: session.handle_child_expiring(inbound, true, now); break;
      case 5: session.handle_first_inbound_packet(inbound, now); break;
      case 6: session.handle_hint(now); break;
      case 7: {
        auto moved = path_to(end);
        (is_client(end) ? moved.local : moved.remote).port = in.u16be();
        if (is_client(end)) {
          session.handle_path_change(moved, now);
        } else {
          session.handle_esp_from(moved, now);
        }
        break;
      }
      case 8: session.close(now); break;
      default: session.handle_authenticated_traffic(now); break;
    }
    pair.flush();
  }

  void run() {
    if ((in.u8() & 1U) != 0) {
      pair.establish();
    } else {
      pair.start();
    }
    for (int i = 0; i < kMaxOperations && !in.at_end() && in.ok(); ++i) {
      const auto operation = in.u8();
      auto& end = pick(operation >> 7U);
      switch (operation % 8) {
        case 0: pair.step(pair.clock.now() + 5s); break;
        case 1: pair.run_for(std::chrono::milliseconds{in.u8() * 40}); break;
        case 2: sealed(end); break;
        case 3: mutated(end); break;
        case 4: command(end); break;
        case 5: give(end, in.bytes(std::min<std::size_t>(in.u8(), in.remaining()))); break;
        case 6: pair.network.drop_all(); break;
        default: pair.run_for(std::chrono::seconds{in.u8()}); break;
      }
      for (const auto* one : {&pair.client, &pair.headend}) {
        if (!one->session) continue;
        require(one->session->children().size() <= 40);
        require(one->session->ike_sa_count() <= 6);
        require(!one->closed || !one->session->next_deadline());
        require(!one->closed || one->installed.empty());
      }
      if (pair.recorded.size() > 200) pair.recorded.erase(pair.recorded.begin(), pair.recorded.begin() + 100);
    }
    // Left alone, it ends in hours of virtual time or goes on within its bounds.
    pair.run_for(10min);
  }

  WireReader in;
  SessionPair pair;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 4096) return 0;
  Script script{{data + 1, size - 1}, (data[0] & 1U) != 0};
  script.run();
  return 0;
}
