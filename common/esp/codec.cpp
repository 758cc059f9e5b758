#include "common/esp/codec.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "common/packet/ip.h"

namespace switchback::esp {

/// The only one who sees the inside of SAs.
struct Codec {
  static void open(InboundSa& sa, std::span<packet::Packet> batch, std::span<Verdict> verdicts) noexcept;
  static std::size_t seal(OutboundSa& sa, std::span<packet::Packet> batch, bool dummies) noexcept;
};

namespace {

constexpr std::size_t kJobs = 64;  // jobs at once: they and their AADs live on the stack, in L1
constexpr std::size_t kFrontBytes = kHeaderBytes + kIvBytes;
constexpr std::uint8_t kIpv4 = 4, kIpv6 = 41, kNoNextHeader = 59;

/// SPI and sequence number; with ESN the high half stands between them, RFC 4106 §5.
using Aad = std::array<std::uint8_t, 12>;

ByteView make_aad(Aad& aad, ByteView esp_header, std::uint64_t sequence, bool esn) noexcept {
  std::memcpy(aad.data(), esp_header.data(), 4);
  if (!esn) {
    std::memcpy(&aad[4], &esp_header[4], 4);
    return ByteView{aad}.first(8);
  }
  store_be(&aad[4], sequence);
  return aad;
}

std::array<std::uint8_t, 12> make_nonce(const std::array<std::uint8_t, 4>& salt, const std::uint8_t* iv) noexcept {
  std::array<std::uint8_t, 12> nonce{};
  std::memcpy(nonce.data(), salt.data(), 4);
  std::memcpy(&nonce[4], iv, kIvBytes);
  return nonce;
}

/// The cipher's job for one ESP packet whose header and IV stand in `data`, with room for the tag at its end.
crypto::AeadJob make_job(ByteSpan data, const std::array<std::uint8_t, 4>& salt, std::uint64_t sequence, bool esn,
                         Aad& aad) noexcept {
  crypto::AeadJob job;
  job.nonce = make_nonce(salt, &data[kHeaderBytes]);
  job.aad = make_aad(aad, data, sequence, esn);
  job.text = data.subspan(kFrontBytes, data.size() - kFrontBytes - kTagBytes);
  job.tag = data.data() + data.size() - kTagBytes;
  job.ok = false;
  return job;
}

// RFC 4303 §2.4: 1, 2, 3 …, checked by the receiver.
bool padding_is_right(ByteView padding) noexcept {
  for (std::size_t i = 0; i < padding.size(); ++i) {
    if (padding[i] != static_cast<std::uint8_t>(i + 1)) return false;
  }
  return true;
}

// One writer, so that no read-modify-write of the bus is needed.
void count(std::atomic<std::uint64_t>& counter, std::uint64_t more) noexcept {
  if (more != 0) counter.store(counter.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

struct Tally {
  std::uint64_t opened = 0, bytes = 0, dummy = 0, malformed = 0, replayed = 0, forged = 0, wrong_selector = 0,
                expired = 0;

  void add(Verdict verdict) noexcept {
    switch (verdict) {
      case Verdict::opened: ++opened; break;
      case Verdict::dummy: ++dummy; break;
      case Verdict::malformed: ++malformed; break;
      case Verdict::replayed: ++replayed; break;
      case Verdict::forged: ++forged; break;
      case Verdict::wrong_selector: ++wrong_selector; break;
      case Verdict::expired: ++expired; break;
    }
  }
  void store(SaCounters& counters) const noexcept {
    count(counters.packets, opened);
    count(counters.bytes, bytes);
    count(counters.dummies, dummy);
    count(counters.malformed, malformed);
    count(counters.replayed, replayed);
    count(counters.forged, forged);
    count(counters.wrong_selector, wrong_selector);
    count(counters.expired, expired);
  }
};

bool long_enough(std::size_t size) noexcept {
  if (size < kFrontBytes + kAlignment + kTagBytes) return false;
  return (size - kFrontBytes - kTagBytes) % kAlignment == 0;
}

// Takes header, IV, trailer and tag off an authentic packet and judges what was inside.
Verdict unwrap(packet::Packet& packet, const packet::SelectorMatcher& remote,
               const packet::SelectorMatcher& local) noexcept {
  packet.trim_front(kFrontBytes);
  packet.trim_back(kTagBytes);
  const ByteView text = packet.data();
  const auto next_header = text[text.size() - 1];
  const std::size_t pad = text[text.size() - 2];
  if (pad + kTrailerBytes > text.size()) return Verdict::malformed;
  const auto body = text.size() - kTrailerBytes - pad;
  if (!padding_is_right(text.subspan(body, pad))) return Verdict::malformed;
  packet.trim_back(kTrailerBytes + pad);
  packet.kind = packet::PacketKind::inner;
  if (next_header == kNoNextHeader) return Verdict::dummy;
  if (next_header != kIpv4 && next_header != kIpv6) return Verdict::malformed;

  const auto ip = packet::parse_ip(packet.data());
  if (!ip || (ip->family == IpFamily::v4) != (next_header == kIpv4)) return Verdict::malformed;
  packet.resize(ip->total_bytes);  // TFC padding, RFC 4303 §2.7
  const ByteView inner = packet.data();
  // RFC 4301 §5.2 step 4: an SA carries what was negotiated for it, whoever holds its keys.
  if (!remote.matches_source(inner, *ip) || !local.matches_destination(inner, *ip)) return Verdict::wrong_selector;
  return Verdict::opened;
}

}  // namespace

const char* to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::opened: return "opened";
    case Verdict::dummy: return "dummy";
    case Verdict::malformed: return "malformed";
    case Verdict::replayed: return "replayed";
    case Verdict::forged: return "forged";
    case Verdict::wrong_selector: return "wrong_selector";
    case Verdict::expired: return "expired";
  }
  return "unknown";
}

std::optional<Spi> peek_spi(ByteView packet) noexcept {
  if (packet.size() < kHeaderBytes) return std::nullopt;
  const Spi spi{load_be<std::uint32_t>(packet.data())};
  if (spi.value == 0) return std::nullopt;  // RFC 4303 §2.1; the non-ESP marker of RFC 3948
  return spi;
}

void Codec::open(InboundSa& sa, std::span<packet::Packet> batch, std::span<Verdict> verdicts) noexcept {
  assert(verdicts.size() == batch.size());
  Tally tally;
  std::array<crypto::AeadJob, kJobs> jobs;
  std::array<Aad, kJobs> aads;
  std::array<std::uint64_t, kJobs> sequences;
  std::array<std::uint32_t, kJobs> indices;

  for (std::size_t next = 0; next < batch.size();) {
    std::size_t pending = 0;
    for (; next < batch.size() && pending < kJobs; ++next) {
      auto& packet = batch[next];
      if (sa.lifetime_.expired()) {
        tally.add(verdicts[next] = Verdict::expired);
        continue;
      }
      if (!packet || !long_enough(packet.size())) {
        tally.add(verdicts[next] = Verdict::malformed);
        continue;
      }
      const auto data = packet.data();
      const auto sequence = sa.window_.widen(load_be<std::uint32_t>(&data[4]));
      if (!sa.window_.fresh(sequence)) {  // cheap, before the cipher
        tally.add(verdicts[next] = Verdict::replayed);
        continue;
      }
      jobs[pending] = make_job(data, sa.salt_, sequence, sa.esn_, aads[pending]);
      sequences[pending] = sequence;
      indices[pending] = static_cast<std::uint32_t>(next);
      ++pending;
    }
    if (pending == 0) continue;
    sa.aead_->open(std::span{jobs}.first(pending));

    std::uint64_t authentic = 0, octets = 0;
    for (std::size_t i = 0; i < pending; ++i) {
      auto& packet = batch[indices[i]];
      auto& verdict = verdicts[indices[i]];
      if (!jobs[i].ok) {
        tally.add(verdict = Verdict::forged);
        continue;
      }
      // Asked again: its twin may have come in this very batch. Recorded only now that it is authentic, §3.4.3.
      if (!sa.window_.fresh(sequences[i])) {
        tally.add(verdict = Verdict::replayed);
        continue;
      }
      sa.window_.mark(sequences[i]);
      verdict = unwrap(packet, sa.remote_, sa.local_);
      tally.add(verdict);
      if (verdict == Verdict::opened) tally.bytes += packet.size();
      ++authentic;
      octets += jobs[i].text.size();
    }
    sa.lifetime_.account(authentic, octets);
  }
  tally.store(*sa.counters_);
  sa.counters_->highest_sequence.store(sa.window_.highest(), std::memory_order_relaxed);
}

std::size_t Codec::seal(OutboundSa& sa, std::span<packet::Packet> batch, bool dummies) noexcept {
  // An IV that comes twice under one key would give the key stream away: stop before, RFC 4303 §3.3.3, RFC 4106 §3.1.
  const auto left = sa.sequence_left();
  const auto allowed = sa.lifetime_.allowance(batch.size());
  const auto sealed = static_cast<std::size_t>(std::min<std::uint64_t>({batch.size(), left, allowed}));
  auto& counters = *sa.counters_;
  if (sealed < batch.size()) count(left < allowed ? counters.exhausted : counters.expired, batch.size() - sealed);

  std::array<crypto::AeadJob, kJobs> jobs;
  std::array<Aad, kJobs> aads;
  std::uint64_t inner_octets = 0, text_octets = 0;
  for (std::size_t done = 0; done < sealed;) {
    const auto jobs_now = std::min(kJobs, sealed - done);
    for (std::size_t i = 0; i < jobs_now; ++i) {
      auto& packet = batch[done + i];
      const auto version = packet::ip_version(packet.data());
      assert(dummies || version == 4 || version == 6);
      inner_octets += packet.size();

      const auto pad = (0U - (packet.size() + kTrailerBytes)) % kAlignment;
      const auto tail = packet.append(pad + kTrailerBytes + kTagBytes);
      for (std::size_t p = 0; p < pad; ++p) tail[p] = static_cast<std::uint8_t>(p + 1);
      tail[pad] = static_cast<std::uint8_t>(pad);
      tail[pad + 1] = dummies ? kNoNextHeader : version == 6 ? kIpv6 : kIpv4;

      const auto sequence = sa.next_sequence_++;
      const auto front = packet.prepend(kFrontBytes);
      store_be(&front[0], sa.spi_.value);
      store_be(&front[4], static_cast<std::uint32_t>(sequence));
      store_be(&front[kHeaderBytes], sequence);

      jobs[i] = make_job(packet.data(), sa.salt_, sequence, sa.esn_, aads[i]);
      packet.kind = packet::PacketKind::esp;
      text_octets += jobs[i].text.size();
    }
    sa.aead_->seal(std::span{jobs}.first(jobs_now));
    for (const auto& job : std::span{jobs}.first(jobs_now)) {
      // Not seen in practice: the cipher's library failed and zeroed the text. With a zero tag the packet tells nothing
      // and the peer drops it as forged.
      if (!job.ok) std::fill_n(job.tag, kTagBytes, std::uint8_t{0});
    }
    done += jobs_now;
  }
  sa.lifetime_.account(sealed, text_octets);
  count(dummies ? counters.dummies : counters.packets, sealed);
  if (!dummies) count(counters.bytes, inner_octets);
  counters.highest_sequence.store(sa.next_sequence_ - 1, std::memory_order_relaxed);
  return sealed;
}

void open(InboundSa& sa, std::span<packet::Packet> batch, std::span<Verdict> verdicts) noexcept {
  Codec::open(sa, batch, verdicts);
}
std::size_t seal(OutboundSa& sa, std::span<packet::Packet> batch) noexcept { return Codec::seal(sa, batch, false); }
std::size_t seal_dummies(OutboundSa& sa, std::span<packet::Packet> batch) noexcept {
  return Codec::seal(sa, batch, true);
}

}  // namespace switchback::esp
