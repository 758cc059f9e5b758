#include "common/ike/payload_sa.h"

#include <cassert>

namespace switchback::ike {

namespace {

constexpr std::uint8_t kMoreProposals = 2;   // RFC 7296 §3.3.1
constexpr std::uint8_t kMoreTransforms = 3;  // RFC 7296 §3.3.2
constexpr std::uint16_t kAttributeFormatTv = 0x8000;
constexpr std::uint16_t kKeyLengthAttribute = 14;

/// The octets that a SPI of the protocol has in an SA payload; IKE has none in IKE_SA_INIT and 8 in a rekey.
bool spi_size_fits(ProtocolId protocol, std::size_t octets) noexcept {
  switch (protocol) {
    case ProtocolId::ike: return octets == 0 || octets == 8;
    case ProtocolId::ah:
    case ProtocolId::esp: return octets == 4;
    default: return true;  // an unknown protocol is not chosen; its SPI is of no interest
  }
}

/// RFC 7296 §3.3.5. An attribute that is unknown or of the wrong form makes the transform unusable, not the message.
Result<Transform, ParseError> parse_transform(TransformType type, std::uint16_t id, ByteView attributes) {
  Transform transform{type, id, std::nullopt, true};
  WireReader r{attributes};
  while (!r.at_end()) {
    const auto offset = r.offset();
    const auto format_and_type = r.u16be();
    const auto value = r.u16be();  // or the length of a variable one
    if ((format_and_type & kAttributeFormatTv) == 0) r.skip(value);
    if (!r.ok()) return fail(ParseErrc::truncated, offset);
    if (format_and_type == (kAttributeFormatTv | kKeyLengthAttribute) && !transform.key_bits) {
      transform.key_bits = value;
    } else {
      transform.usable = false;
    }
  }
  return transform;
}

Result<std::vector<Transform>, ParseError> parse_transforms(ByteView input, std::uint8_t expected) {
  std::vector<Transform> transforms;
  transforms.reserve(expected);
  WireReader r{input};
  for (std::uint8_t i = 0; i < expected; ++i) {
    const auto offset = r.offset();
    const auto last = r.u8();
    r.skip(1);
    const auto length = r.u16be();
    const auto type = TransformType{r.u8()};
    r.skip(1);
    const auto id = r.u16be();
    if (!r.ok()) return fail(ParseErrc::truncated, offset);
    if (last != (i + 1 == expected ? 0 : kMoreTransforms)) return fail(ParseErrc::bad_value, offset);
    if (length < 8) return fail(ParseErrc::bad_length, offset + 2);
    const auto attributes = r.bytes(length - 8U);
    if (!r.ok()) return fail(ParseErrc::bad_length, offset + 2);
    auto transform = parse_transform(type, id, attributes);
    if (!transform) return fail(transform.error().code, offset + 8 + transform.error().offset);
    transforms.push_back(*transform);
  }
  if (!r.at_end()) return fail(ParseErrc::bad_length, r.offset());
  return transforms;
}

}  // namespace

Spi Proposal::esp_spi() const noexcept { return spi.size() == 4 ? Spi{load_be<std::uint32_t>(spi.data())} : Spi{}; }

IkeSpi Proposal::ike_spi() const noexcept {
  return spi.size() == 8 ? IkeSpi{load_be<std::uint64_t>(spi.data())} : IkeSpi{};
}

Result<std::vector<Proposal>, ParseError> parse_sa(ByteView body) {
  std::vector<Proposal> proposals;
  WireReader r{body};
  for (bool more = true; more;) {
    const auto offset = r.offset();
    if (proposals.size() == kMaxProposals) return fail(ParseErrc::too_many, offset);
    const auto last = r.u8();
    r.skip(1);
    const auto length = r.u16be();
    Proposal proposal;
    proposal.number = r.u8();
    proposal.protocol = ProtocolId{r.u8()};
    const auto spi_octets = r.u8();
    const auto transforms = r.u8();
    if (!r.ok()) return fail(ParseErrc::truncated, offset);
    if (last != 0 && last != kMoreProposals) return fail(ParseErrc::bad_value, offset);
    if (length < 8U + spi_octets) return fail(ParseErrc::bad_length, offset + 2);
    proposal.spi = to_bytes(r.bytes(spi_octets));
    const auto inside = r.bytes(length - 8U - spi_octets);
    if (!r.ok()) return fail(ParseErrc::bad_length, offset + 2);
    if (!spi_size_fits(proposal.protocol, spi_octets)) return fail(ParseErrc::bad_spi_size, offset + 6);
    // RFC 7296 §3.3.1: an offer counts up from 1. An answer is a single proposal with the number of the chosen one.
    const bool counts_up = proposals.empty() ? (last == 0 ? proposal.number >= 1 : proposal.number == 1)
                                             : proposal.number == proposals.back().number + 1;
    if (!counts_up) return fail(ParseErrc::bad_value, offset + 4);
    if (transforms > kMaxTransforms) return fail(ParseErrc::too_many, offset + 7);
    auto parsed = parse_transforms(inside, transforms);
    if (!parsed) return fail(parsed.error().code, offset + 8 + spi_octets + parsed.error().offset);
    proposal.transforms = *std::move(parsed);
    proposals.push_back(std::move(proposal));
    more = last == kMoreProposals;
  }
  if (!r.at_end()) return fail(ParseErrc::bad_length, r.offset());
  return proposals;
}

void add_sa(ChainBuilder& chain, std::span<const Proposal> proposals) {
  assert(!proposals.empty());
  chain.add(PayloadType::security_association, [&](WireWriter& w) {
    for (const auto& proposal : proposals) {
      assert(proposal.transforms.size() <= kMaxTransforms && proposal.spi.size() <= 8);
      const auto start = w.size();
      w.u8(&proposal == &proposals.back() ? 0 : kMoreProposals);
      w.u8(0);
      w.u16be(0);
      w.u8(proposal.number);
      w.u8(static_cast<std::uint8_t>(proposal.protocol));
      w.u8(static_cast<std::uint8_t>(proposal.spi.size()));
      w.u8(static_cast<std::uint8_t>(proposal.transforms.size()));
      w.bytes(proposal.spi);
      for (const auto& transform : proposal.transforms) {
        w.u8(&transform == &proposal.transforms.back() ? 0 : kMoreTransforms);
        w.u8(0);
        w.u16be(transform.key_bits ? 12 : 8);
        w.u8(static_cast<std::uint8_t>(transform.type));
        w.u8(0);
        w.u16be(transform.id);
        if (transform.key_bits) {
          w.u16be(kAttributeFormatTv | kKeyLengthAttribute);
          w.u16be(*transform.key_bits);
        }
      }
      w.patch_length_u16be(start + 2, start);
    }
  });
}

}  // namespace switchback::ike
