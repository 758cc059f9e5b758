#include "common/ike/payload_notify.h"

#include <cassert>

namespace switchback::ike {

namespace {

constexpr std::size_t kMaxSignatureHashes = 32;

void write_notify(ChainBuilder& chain, NotifyType type, ProtocolId protocol, ByteView spi, ByteView data) {
  chain.add(PayloadType::notify, [&](WireWriter& w) {
    w.u8(static_cast<std::uint8_t>(protocol));
    w.u8(static_cast<std::uint8_t>(spi.size()));
    w.u16be(static_cast<std::uint16_t>(type));
    w.bytes(spi);
    w.bytes(data);
  });
}

}  // namespace

Spi NotifyView::esp_spi() const noexcept { return spi.size() == 4 ? Spi{load_be<std::uint32_t>(spi.data())} : Spi{}; }

Result<NotifyView, ParseError> parse_notify(ByteView body) noexcept {
  WireReader r{body};
  const auto protocol = ProtocolId{r.u8()};
  const auto spi_size = r.u8();
  const auto type = NotifyType{r.u16be()};
  const auto spi = r.bytes(spi_size);
  const auto data = r.rest();
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  if (spi_size != 0 && spi_size != 4 && spi_size != 8) return fail(ParseErrc::bad_spi_size, 1);
  return NotifyView{protocol, type, spi, data};
}

void add_notify(ChainBuilder& chain, NotifyType type, ByteView data) {
  // RFC 7296 §3.10: without an SPI the protocol field is zero.
  write_notify(chain, type, ProtocolId::none, {}, data);
}

void add_notify(ChainBuilder& chain, NotifyType type, ProtocolId protocol, Spi spi, ByteView data) {
  std::array<std::uint8_t, 4> octets{};
  store_be(octets.data(), spi.value);
  write_notify(chain, type, protocol, octets, data);
}

std::vector<NotifyView> notifies(const Payloads& payloads) {
  std::vector<NotifyView> found;
  for (const auto& payload : payloads) {
    if (payload.type != PayloadType::notify) continue;
    if (const auto notify = parse_notify(payload.body)) found.push_back(*notify);
  }
  return found;
}

std::optional<NotifyView> find_notify(const Payloads& payloads, NotifyType type) noexcept {
  for (const auto& payload : payloads) {
    if (payload.type != PayloadType::notify) continue;
    if (const auto notify = parse_notify(payload.body); notify && notify->type == type) return *notify;
  }
  return std::nullopt;
}

std::optional<NotifyView> find_error(const Payloads& payloads) noexcept {
  for (const auto& payload : payloads) {
    if (payload.type != PayloadType::notify) continue;
    if (const auto notify = parse_notify(payload.body); notify && is_error(notify->type)) return *notify;
  }
  return std::nullopt;
}

std::optional<KeyExchangeId> wanted_key_exchange(const NotifyView& notify) noexcept {
  if (notify.data.size() != 2) return std::nullopt;
  return KeyExchangeId{load_be<std::uint16_t>(notify.data.data())};
}

void add_invalid_ke(ChainBuilder& chain, KeyExchangeId wanted) {
  std::array<std::uint8_t, 2> data{};
  store_be(data.data(), static_cast<std::uint16_t>(wanted));
  add_notify(chain, NotifyType::invalid_ke_payload, data);
}

std::vector<SignatureHash> signature_hashes(const NotifyView& notify) {
  std::vector<SignatureHash> hashes;
  WireReader r{notify.data};
  while (r.remaining() >= 2 && hashes.size() < kMaxSignatureHashes) hashes.push_back(SignatureHash{r.u16be()});
  return hashes;
}

void add_signature_hashes(ChainBuilder& chain, std::span<const SignatureHash> hashes) {
  Bytes data;
  WireWriter w{data};
  for (const auto hash : hashes) w.u16be(static_cast<std::uint16_t>(hash));
  add_notify(chain, NotifyType::signature_hash_algorithms, data);
}

Result<DeleteView, ParseError> parse_delete(ByteView body) {
  WireReader r{body};
  DeleteView view;
  view.protocol = ProtocolId{r.u8()};
  const auto spi_size = r.u8();
  const auto count = r.u16be();
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  switch (view.protocol) {
    case ProtocolId::ike:
      // RFC 7296 §3.11: the SPI is in the message's header.
      if (spi_size != 0) return fail(ParseErrc::bad_spi_size, 1);
      if (count != 0 || !r.at_end()) return fail(ParseErrc::bad_length, 2);
      return view;
    case ProtocolId::ah:
    case ProtocolId::esp:
      if (spi_size != 4) return fail(ParseErrc::bad_spi_size, 1);
      break;
    default: return fail(ParseErrc::bad_value, 0);
  }
  if (count > kMaxDeleteSpis) return fail(ParseErrc::too_many, 2);
  if (r.remaining() != std::size_t{count} * 4) return fail(ParseErrc::bad_length, 2);
  view.spis.reserve(count);
  for (unsigned i = 0; i < count; ++i) view.spis.emplace_back(r.u32be());
  return view;
}

void add_delete_ike(ChainBuilder& chain) {
  chain.add(PayloadType::delete_sa, [](WireWriter& w) {
    w.u8(static_cast<std::uint8_t>(ProtocolId::ike));
    w.zeros(3);
  });
}

void add_delete_esp(ChainBuilder& chain, std::span<const Spi> spis) {
  assert(spis.size() <= kMaxDeleteSpis);
  chain.add(PayloadType::delete_sa, [&](WireWriter& w) {
    w.u8(static_cast<std::uint8_t>(ProtocolId::esp));
    w.u8(4);
    w.u16be(static_cast<std::uint16_t>(spis.size()));
    for (const auto spi : spis) w.u32be(spi.value);
  });
}

void add_vendor_id(ChainBuilder& chain, ByteView id) { chain.add(PayloadType::vendor_id, id); }

}  // namespace switchback::ike
