#include "common/path/offer.h"

#include <algorithm>

#include "common/base/wire_writer.h"

namespace switchback::path {
namespace {

constexpr std::uint8_t kFlagResilient = 0x01;
constexpr std::uint8_t kFlagClassic = 0x02;

bool usable(const OfferedTransport& entry) noexcept {
  if ((entry.port == 0) != (entry.transport == TransportKind::esp)) return false;
  return entry.transport != TransportKind::ctcp || entry.resilient || entry.classic;
}

}  // namespace

std::vector<TransportKind> Offer::kinds() const {
  std::vector<TransportKind> all;
  for (const auto& entry : transports) {
    if (std::find(all.begin(), all.end(), entry.transport) == all.end()) all.push_back(entry.transport);
  }
  return all;
}

const OfferedTransport* Offer::find(TransportKind transport) const noexcept {
  const auto found = std::find_if(transports.begin(), transports.end(),
                                  [transport](const OfferedTransport& entry) { return entry.transport == transport; });
  return found == transports.end() ? nullptr : &*found;
}

Result<Offer, ParseError> parse_offer(ByteView data) {
  WireReader reader{data};
  const auto version = reader.u8();
  Offer offer;
  offer.control_version = reader.u8();
  const std::size_t count = reader.u8();
  reader.skip(1);  // reserved
  if (!reader.ok()) return fail(ParseErrc::truncated, reader.offset());
  if (version != kOfferVersion) return fail(ParseErrc::unsupported, 0);
  if (count > kMaxOffered) return fail(ParseErrc::too_many, 2);
  if (reader.remaining() != count * kOfferEntryOctets) return fail(ParseErrc::bad_length, reader.offset());
  for (std::size_t i = 0; i < count; ++i) {
    const auto transport = reader.u8();
    const auto flags = reader.u8();
    OfferedTransport entry;
    entry.port = reader.u16be();
    entry.preference = reader.u8();
    reader.skip(3);  // reserved
    if (transport >= kTransportKinds) continue;
    entry.transport = TransportKind{transport};
    if (entry.transport == TransportKind::ctcp) {
      entry.resilient = (flags & kFlagResilient) != 0;
      entry.classic = (flags & kFlagClassic) != 0;
    }
    if (usable(entry)) offer.transports.push_back(entry);
  }
  std::stable_sort(offer.transports.begin(), offer.transports.end(),
                   [](const auto& a, const auto& b) { return a.preference < b.preference; });
  return offer;
}

Bytes build_offer(const Offer& offer) {
  Bytes data;
  WireWriter writer{data};
  const auto count = std::min(offer.transports.size(), kMaxOffered);
  writer.u8(kOfferVersion);
  writer.u8(offer.control_version);
  writer.u8(static_cast<std::uint8_t>(count));
  writer.u8(0);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& entry = offer.transports[i];
    writer.u8(static_cast<std::uint8_t>(entry.transport));
    writer.u8(static_cast<std::uint8_t>((entry.resilient ? kFlagResilient : 0U) | (entry.classic ? kFlagClassic : 0U)));
    writer.u16be(entry.port);
    writer.u8(entry.preference);
    writer.zeros(3);
  }
  return data;
}

std::optional<std::uint8_t> parse_in_band(ByteView data) noexcept {
  if (data.empty() || data[0] == 0) return std::nullopt;
  return data[0];
}

Bytes build_in_band() { return {kControlVersion}; }

}  // namespace switchback::path
