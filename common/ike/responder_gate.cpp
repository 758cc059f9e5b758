#include "common/ike/responder_gate.h"

#include "common/crypto/prf.h"
#include "common/ike/message.h"
#include "common/ike/payload_notify.h"

namespace switchback::ike {
namespace {

constexpr std::size_t kPrefixBuckets = 4096;

/// Whoever made up the address that a datagram seems to come from shall not send more there than it sent to us.
GateDecision reply(Bytes octets, ByteView asked) {
  if (octets.size() > asked.size()) return {};
  return {GateVerdict::reply, std::move(octets)};
}

}  // namespace

ResponderGate::ResponderGate(GateLimits limits, RandomSource& random, Instant /*now*/)
    : limits_{limits},
      random_{random},
      cookies_{random},
      answers_{limits.answers_per_second, limits.answer_burst},
      lost_answers_{limits.lost_answers_per_second, limits.lost_answer_burst},
      cookie_demands_{limits.cookies_per_second, limits.cookie_burst},
      prefixes_(kPrefixBuckets, TokenBucket{limits.inits_per_second, limits.init_burst}),
      lost_prefixes_(kPrefixBuckets, TokenBucket{limits.lost_answers_per_prefix, limits.lost_answer_prefix_burst}) {
  random_.secret_fill(hash_key_);
}

bool ResponderGate::prefix_allows(std::vector<TokenBucket>& buckets, const IpAddress& address, Instant now) {
  const auto octets = address.bytes().first(address.is_v4() ? 3U : 6U);
  const auto digest = crypto::sha1({hash_key_, octets});
  return buckets[load_be<std::uint32_t>(digest.data()) % kPrefixBuckets].allow(now);
}

GateDecision ResponderGate::decide(ByteView datagram, const AddressPair& path, GateLoad load, Instant now) {
  if (path.remote.address.empty()) return {};
  const auto header = parse_header(datagram);
  if (!header || header->response || header->initiator_spi.value == 0) return {};
  if (header->major_version > kMajorVersion) {
    // RFC 7296 §2.5: tell the highest version that we speak, unprotected.
    if (!answers_.allow(now)) return {};
    Header answer = *header;
    answer.major_version = kMajorVersion;
    answer.minor_version = 0;
    answer.higher_version = false;
    answer.from_initiator = false;
    answer.response = true;
    ChainBuilder chain;
    const std::array version{std::uint8_t{kMajorVersion}};
    add_notify(chain, NotifyType::invalid_major_version, version);
    return reply(build_message(answer, chain), datagram);
  }
  if (header->major_version != kMajorVersion) return {};

  if (header->exchange != ExchangeType::ike_sa_init) {
    // §2.21.4: an SA that we do not have, lost in a restart perhaps. The answer goes back as a response would.
    if (header->responder_spi.value == 0 || !prefix_allows(lost_prefixes_, path.remote.address, now) ||
        !lost_answers_.allow(now)) {
      return {};
    }
    Header answer = *header;
    answer.from_initiator = !header->from_initiator;
    answer.response = true;
    answer.higher_version = false;
    ChainBuilder chain;
    add_notify(chain, NotifyType::invalid_ike_spi);
    return reply(build_message(answer, chain), datagram);
  }
  if (!header->from_initiator || header->message_id.value != 0 || header->responder_spi.value != 0) return {};
  if (load.half_open >= limits_.max_half_open) return {};
  const auto message = parse_message(datagram);
  if (!message) return {};
  const auto preview = preview_init(*message);
  if (!preview) return {};

  const bool proven = preview->cookie &&
                      cookies_.valid(*preview->cookie, preview->nonce, path.remote.address, header->initiator_spi, now);
  const bool crowded = load.half_open >= limits_.cookie_from_half_open ||
                       load.half_open_from_address >= limits_.max_half_open_per_address / 2;
  if (!proven && (crowded || preview->cookie)) {
    if (!cookie_demands_.allow(now)) return {};
    const auto cookie = cookies_.make(preview->nonce, path.remote.address, header->initiator_spi, now);
    auto demand = build_cookie_demand(*header, cookie);
    return demand ? reply(std::move(*demand), datagram) : GateDecision{};
  }
  if (load.half_open_from_address >= limits_.max_half_open_per_address) return {};
  if (!prefix_allows(prefixes_, path.remote.address, now)) return {};
  return {GateVerdict::create, {}};
}

std::optional<Bytes> ResponderGate::unknown_esp(Spi spi, std::size_t octets, Instant now) {
  constexpr std::size_t kNonEspMarkerOctets = 4;
  constexpr std::size_t kNotifyOctets = 4 + 4 + 4;  // generic header, fixed fields, the SPI as data
  if (kNonEspMarkerOctets + kHeaderOctets + kNotifyOctets > octets) return std::nullopt;
  if (!answers_.allow(now)) return std::nullopt;
  Header header;
  header.initiator_spi = IkeSpi{public_random<std::uint64_t>(random_)};
  header.exchange = ExchangeType::informational;
  header.from_initiator = true;
  std::array<std::uint8_t, 4> data{};
  store_be(data.data(), spi.value);
  ChainBuilder chain;
  add_notify(chain, NotifyType::invalid_spi, data);
  return build_message(header, chain);
}

}  // namespace switchback::ike
