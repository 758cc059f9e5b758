#include "common/ike/message.h"

#include <array>
#include <cassert>

namespace switchback::ike {

namespace {

constexpr std::uint8_t kFlagInitiator = 0x08;
constexpr std::uint8_t kFlagVersion = 0x10;
constexpr std::uint8_t kFlagResponse = 0x20;
constexpr std::uint8_t kCritical = 0x80;

/// Payloads of which a second one makes a message ambiguous; no exchange that we know has two.
constexpr bool may_repeat(PayloadType type) noexcept {
  switch (type) {
    case PayloadType::certificate:
    case PayloadType::certificate_request:
    case PayloadType::notify:
    case PayloadType::delete_sa:
    case PayloadType::vendor_id: return true;
    default: return false;
  }
}

}  // namespace

Result<Header, ParseError> parse_header(ByteView message) noexcept {
  if (message.size() > kMaxMessageOctets) return fail(ParseErrc::too_many, 0);
  WireReader r{message};
  Header header;
  header.initiator_spi = IkeSpi{r.u64be()};
  header.responder_spi = IkeSpi{r.u64be()};
  header.first_payload = PayloadType{r.u8()};
  const auto version = r.u8();
  header.major_version = static_cast<std::uint8_t>(version >> 4U);
  header.minor_version = version & 0x0fU;
  header.exchange = ExchangeType{r.u8()};
  const auto flags = r.u8();  // reserved bits are ignored, RFC 7296 §3.1
  header.from_initiator = (flags & kFlagInitiator) != 0;
  header.higher_version = (flags & kFlagVersion) != 0;
  header.response = (flags & kFlagResponse) != 0;
  header.message_id = MessageId{r.u32be()};
  header.length = r.u32be();
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  if (header.length != message.size()) return fail(ParseErrc::bad_length, 24);
  return header;
}

Result<Payloads, ParseError> parse_payloads(ByteView chain, PayloadType first) {
  Payloads payloads;
  std::array<bool, 256> seen{};
  WireReader r{chain};
  auto type = first;
  for (std::size_t count = 0; type != PayloadType::none; ++count) {
    const auto offset = r.offset();
    if (count == kMaxPayloads) return fail(ParseErrc::too_many, offset);
    const auto next = PayloadType{r.u8()};
    const bool critical = (r.u8() & kCritical) != 0;
    const auto length = r.u16be();
    if (!r.ok()) return fail(ParseErrc::truncated, offset);
    if (length < kGenericHeaderOctets) return fail(ParseErrc::bad_length, offset + 2);
    const auto body = r.bytes(length - kGenericHeaderOctets);
    if (!r.ok()) return fail(ParseErrc::truncated, offset);

    if (is_known(type)) {
      auto& again = seen[static_cast<std::uint8_t>(type)];
      if (again && !may_repeat(type)) return fail(ParseErrc::too_many, offset);
      again = true;
      payloads.list_.push_back({type, next, critical, body, offset});
      // RFC 7296 §3.14, RFC 7383 §2.5: last, and its next-payload field is that of the chain inside.
      if (type == PayloadType::encrypted || type == PayloadType::encrypted_fragment) break;
    } else if (critical && !payloads.unsupported_critical_) {
      payloads.unsupported_critical_ = type;
    }
    type = next;
  }
  if (!r.at_end()) return fail(ParseErrc::bad_length, r.offset());
  return payloads;
}

const PayloadView* Payloads::find(PayloadType type) const noexcept {
  for (const auto& payload : list_) {
    if (payload.type == type) return &payload;
  }
  return nullptr;
}

Result<MessageView, ParseError> parse_message(ByteView message) {
  SB_TRY(const auto header, parse_header(message));
  auto payloads = parse_payloads(message.subspan(kHeaderOctets), header.first_payload);
  if (!payloads) return fail(payloads.error().code, payloads.error().offset + kHeaderOctets);
  return MessageView{header, *std::move(payloads)};
}

std::size_t ChainBuilder::open(PayloadType type) {
  if (octets_.empty()) {
    first_ = type;
  } else {
    octets_[last_next_field_] = static_cast<std::uint8_t>(type);
  }
  last_next_field_ = octets_.size();
  octets_.insert(octets_.end(), kGenericHeaderOctets, 0);
  return last_next_field_;
}

void ChainBuilder::close(std::size_t start) noexcept { WireWriter{octets_}.patch_length_u16be(start + 2, start); }

void write_header(WireWriter& out, const Header& header) {
  out.u64be(header.initiator_spi.value);
  out.u64be(header.responder_spi.value);
  out.u8(static_cast<std::uint8_t>(header.first_payload));
  out.u8(static_cast<std::uint8_t>((header.major_version << 4U) | (header.minor_version & 0x0fU)));
  out.u8(static_cast<std::uint8_t>(header.exchange));
  out.u8(static_cast<std::uint8_t>((header.from_initiator ? kFlagInitiator : 0U) |
                                   (header.higher_version ? kFlagVersion : 0U) |
                                   (header.response ? kFlagResponse : 0U)));
  out.u32be(header.message_id.value);
  out.u32be(header.length);
}

Bytes build_message(Header header, const ChainBuilder& chain) {
  assert(kHeaderOctets + chain.view().size() <= kMaxMessageOctets);
  header.first_payload = chain.first();
  header.length = static_cast<std::uint32_t>(kHeaderOctets + chain.view().size());
  Bytes message;
  message.reserve(header.length);
  WireWriter w{message};
  write_header(w, header);
  w.bytes(chain.view());
  return message;
}

}  // namespace switchback::ike
