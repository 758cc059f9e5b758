#include "transports/ctcp/syn_cookie.h"

#include <array>
#include <chrono>

#include "common/crypto/prf.h"

namespace switchback::transports::ctcp {
namespace {

// The MSS of a peer is rounded down to one of these: Ethernet, its tunnels, IPv6's minimum, and the default.
constexpr std::array<std::uint16_t, 8> kMssTable{536, 1220, 1360, 1400, 1440, 1460, 8940, 8960};

std::uint8_t mss_index(std::uint16_t mss) noexcept {
  std::uint8_t index = 0;
  for (std::uint8_t i = 0; i < kMssTable.size(); ++i) {
    if (kMssTable[i] <= mss) index = i;
  }
  return index;
}

std::uint64_t count_at(Instant now) noexcept {
  return static_cast<std::uint64_t>(now.time_since_epoch() / SynCookies::kLifetime);
}

/// Of the count, so many low bits are in a cookie; all of it is in the hash, so that none is ever good again.
constexpr std::uint64_t kCountBits = 0x1F;

// Low six bits of the SYN-ACK's timestamp: scale, SACK permitted, engine's SYN.
constexpr std::uint32_t kTimestampBits = 0x3F;
constexpr std::uint32_t kNoScale = 0x0F;

}  // namespace

std::uint32_t timestamp_at(Instant now, std::uint32_t offset) noexcept {
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  return static_cast<std::uint32_t>(milliseconds) + offset;
}

SynCookies::Mac SynCookies::mac(const AddressPair& path, std::uint32_t remote_isn, std::uint64_t count,
                                std::uint8_t index) const {
  constexpr std::size_t kCount = 8, kIndex = 16;
  std::array<std::uint8_t, 17> rest{};
  store_be(rest.data(), path.local.port);
  store_be(rest.data() + 2, path.remote.port);
  store_be(rest.data() + 4, remote_isn);
  store_be(rest.data() + kCount, count);
  rest[kIndex] = index;
  const auto hash = crypto::prf(crypto::PrfAlgorithm::hmac_sha2_256, key_.view(),
                                {path.local.address.bytes(), path.remote.address.bytes(), rest});
  // The offset must be known again when the count has moved on, so it depends on the addresses alone, RFC 7323 §5.4.
  store_be(rest.data() + kCount, ~std::uint64_t{0});
  rest[kIndex] = 0xFF;
  const auto offset = crypto::prf(crypto::PrfAlgorithm::hmac_sha2_256, key_.view(),
                                  {path.local.address.bytes(), path.remote.address.bytes(), rest});
  return {load_be<std::uint32_t>(hash.view().data()) & 0xFFFFFFU, load_be<std::uint32_t>(offset.view().data())};
}

std::optional<OutSegment> SynCookies::answer(const TcpSegmentView& syn, const AddressPair& path, Instant now) const {
  const auto& in = syn.header;
  if ((in.flags & (kSyn | kAck | kRst | kFin)) != kSyn || !syn.payload.empty()) return std::nullopt;
  const auto index = mss_index(in.options.mss.value_or(kDefaultMss));
  const auto count = count_at(now);
  const auto keyed = mac(path, in.sequence, count, index);
  OutSegment out;
  auto& header = out.header;
  header.source_port = path.local.port;
  header.destination_port = path.remote.port;
  header.sequence =
      (static_cast<std::uint32_t>(count & kCountBits) << 27U) | (std::uint32_t{index} << 24U) | keyed.low24;
  header.acknowledgement = in.sequence + 1;
  header.flags = kSyn | kAck;
  header.window = kOurSynWindow;
  if (in.options.mss) header.options.mss = mss_;
  if (in.options.timestamps) {
    // Without timestamps there is nowhere to remember these, so they are not agreed either.
    const auto scale = in.options.window_scale;
    if (scale) header.options.window_scale = kOurWindowScale;
    header.options.sack_permitted = in.options.sack_permitted;
    const bool engine = scale == kOurWindowScale && in.window == kOurSynWindow;
    const auto bits = (scale ? *scale : kNoScale) | (in.options.sack_permitted ? 0x10U : 0U) | (engine ? 0x20U : 0U);
    const auto clock = timestamp_at(now, keyed.timestamp_offset);
    auto value = (clock & ~kTimestampBits) | bits;
    if (static_cast<std::int32_t>(value - clock) > 0) value -= kTimestampBits + 1;  // never ahead of later ones
    header.options.timestamps = Timestamps{value, in.options.timestamps->value};
  }
  return out;
}

std::optional<Handshake> SynCookies::accept(const TcpSegmentView& first, const AddressPair& path, Instant now) const {
  const auto& in = first.header;
  if ((in.flags & (kSyn | kAck | kRst)) != kAck || first.payload.empty()) return std::nullopt;
  const auto cookie = in.acknowledgement - 1;
  const auto index = static_cast<std::uint8_t>((cookie >> 24U) & 7U);
  const auto age = (count_at(now) - (cookie >> 27U)) & kCountBits;
  if (age > 1) return std::nullopt;
  const auto count = count_at(now) - age;
  const auto keyed = mac(path, in.sequence - 1, count, index);
  std::array<std::uint8_t, 4> expected{}, got{};
  store_be(expected.data(), keyed.low24);
  store_be(got.data(), cookie & 0xFFFFFFU);
  if (!constant_time_equal(expected, got)) return std::nullopt;
  Handshake agreed;
  agreed.local_isn = cookie;
  agreed.remote_isn = in.sequence - 1;
  agreed.peer_mss = kMssTable[index];
  agreed.timestamp_offset = keyed.timestamp_offset;
  if (in.options.timestamps) {
    const auto bits = in.options.timestamps->echo & kTimestampBits;
    const auto scale = static_cast<std::uint8_t>(bits & kNoScale);
    agreed.timestamps = true;
    agreed.peer_timestamp = in.options.timestamps->value;
    if (scale != kNoScale) agreed.peer_window_scale = std::min(scale, kMaximumWindowScale);
    agreed.sack = (bits & 0x10U) != 0;
    agreed.peer_is_engine = (bits & 0x20U) != 0;
  }
  agreed.peer_window = std::uint32_t{in.window} << agreed.peer_window_scale.value_or(0);
  return agreed;
}

std::optional<OutSegment> reset_for(const TcpSegmentView& segment) noexcept {
  const auto& in = segment.header;
  if (in.has(kRst)) return std::nullopt;
  OutSegment out;
  out.header.source_port = in.destination_port;
  out.header.destination_port = in.source_port;
  out.header.flags = kRst;
  if (in.has(kAck)) {
    out.header.sequence = in.acknowledgement;
  } else {
    out.header.flags |= kAck;
    out.header.acknowledgement = in.sequence + static_cast<std::uint32_t>(segment.payload.size()) +
                                 (in.has(kSyn) ? 1U : 0U) + (in.has(kFin) ? 1U : 0U);
  }
  return out;
}

}  // namespace switchback::transports::ctcp
