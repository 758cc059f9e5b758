#include "common/ike/sk_payload.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace switchback::ike {

namespace {

constexpr std::size_t kPadLengthOctets = 1;
constexpr std::size_t kMinPlaintextOctets = 64;  // per fragment, however small a size is asked for

constexpr std::size_t overhead(bool fragment) noexcept {
  return kHeaderOctets + kGenericHeaderOctets + (fragment ? kFragmentHeaderOctets : 0) + kIvOctets + kPadLengthOctets +
         kTagOctets;
}

std::array<std::uint8_t, 4> salt_of(const crypto::AeadKey& key) noexcept {
  std::array<std::uint8_t, 4> salt{};
  const auto octets = key.key_and_salt.view();
  assert(octets.size() > salt.size());
  std::copy(octets.end() - 4, octets.end(), salt.begin());
  return salt;
}

/// RFC 5282 §4: the nonce is the salt and the IV.
std::array<std::uint8_t, 12> nonce_of(const std::array<std::uint8_t, 4>& salt, ByteView iv) noexcept {
  std::array<std::uint8_t, 12> nonce{};
  std::copy(salt.begin(), salt.end(), nonce.begin());
  std::copy(iv.begin(), iv.end(), nonce.begin() + 4);
  return nonce;
}

}  // namespace

SkSealer::SkSealer(const crypto::AeadKey& key) : aead_{crypto::make_aead(key)}, salt_{salt_of(key)} {}

Bytes SkSealer::seal_one(Header header, PayloadType first, ByteView plaintext, std::optional<FragmentHeader> fragment) {
  const auto total = overhead(fragment.has_value()) + plaintext.size();
  assert(total <= kMaxMessageOctets);
  header.first_payload = fragment ? PayloadType::encrypted_fragment : PayloadType::encrypted;
  header.length = static_cast<std::uint32_t>(total);
  Bytes message;
  message.reserve(total);
  WireWriter w{message};
  write_header(w, header);
  w.u8(static_cast<std::uint8_t>(first));
  w.u8(0);
  w.u16be(static_cast<std::uint16_t>(total - kHeaderOctets));
  if (fragment) {
    w.u16be(fragment->number);
    w.u16be(fragment->total);
  }
  // RFC 5282 §5.1, RFC 7383 §2.5: from the first octet of the header to the one before the IV.
  const auto aad = w.size();
  w.u64be(next_iv_++);
  const auto text = w.size();
  w.bytes(plaintext);
  w.u8(0);  // Pad Length: an AEAD needs no padding (RFC 5282 §3)
  w.zeros(kTagOctets);

  const ByteSpan octets{message};
  crypto::AeadJob job{};
  job.nonce = nonce_of(salt_, octets.subspan(aad, kIvOctets));
  job.aad = octets.first(aad);
  job.text = octets.subspan(text, plaintext.size() + kPadLengthOctets);
  job.tag = octets.data() + octets.size() - kTagOctets;
  aead_->seal({&job, 1});
  if (!job.ok) message.clear();
  return message;
}

Bytes SkSealer::seal(const Header& header, const ChainBuilder& chain) {
  return seal_one(header, chain.first(), chain.view(), std::nullopt);
}

std::vector<Bytes> SkSealer::seal(const Header& header, const ChainBuilder& chain, std::size_t max_octets) {
  std::vector<Bytes> messages;
  const auto plaintext = chain.view();
  if (overhead(false) + plaintext.size() <= max_octets) {
    messages.push_back(seal(header, chain));
    return messages;
  }
  // As large as allowed, but never more fragments than a receiver like ours takes.
  const auto room = std::max({max_octets - std::min(max_octets, overhead(true)), kMinPlaintextOctets,
                              (plaintext.size() + kMaxFragments - 1) / kMaxFragments});
  const auto total = static_cast<std::uint16_t>((plaintext.size() + room - 1) / room);
  if (total < 2) {
    messages.push_back(seal(header, chain));
    return messages;
  }
  for (std::uint16_t number = 1; number <= total; ++number) {
    const auto offset = room * (number - 1U);
    const auto part = plaintext.subspan(offset, std::min(room, plaintext.size() - offset));
    // RFC 7383 §2.5: the first payload's type stands in the first fragment, zero in the others.
    messages.push_back(
        seal_one(header, number == 1 ? chain.first() : PayloadType::none, part, FragmentHeader{number, total}));
  }
  return messages;
}

SkOpener::SkOpener(const crypto::AeadKey& key) : aead_{crypto::make_aead(key)}, salt_{salt_of(key)} {}

Result<std::optional<OpenedMessage>, OpenErrc> SkOpener::open(ByteView message) {
  const auto outside = parse_message(message);
  if (!outside || outside->payloads.empty()) return fail(OpenErrc::malformed_outside);
  const auto& header = outside->header;
  const auto& last = outside->payloads.list().back();
  const bool is_fragment = last.type == PayloadType::encrypted_fragment;
  if (!is_fragment && last.type != PayloadType::encrypted) return fail(OpenErrc::malformed_outside);

  auto sealed = last.body;
  FragmentHeader fragment;
  auto& reassembler = header.response ? responses_ : requests_;
  if (is_fragment) {
    const auto parsed = parse_fragment_header(sealed);
    if (!parsed) return fail(OpenErrc::malformed_outside);
    fragment = *parsed;
    sealed = sealed.subspan(kFragmentHeaderOctets);
    // RFC 7383 §2.6: duplicates are dropped before the cipher is bothered.
    if (reassembler.consider(header, fragment) != Reassembler::Admission::wanted) {
      return std::optional<OpenedMessage>{};
    }
  }
  if (sealed.size() < kIvOctets + kPadLengthOctets + kTagOctets) return fail(OpenErrc::malformed_outside);

  const auto iv = sealed.first(kIvOctets);
  auto plaintext = to_bytes(sealed.subspan(kIvOctets, sealed.size() - kIvOctets - kTagOctets));
  std::array<std::uint8_t, kTagOctets> tag{};
  std::copy(sealed.end() - kTagOctets, sealed.end(), tag.begin());
  crypto::AeadJob job{};
  job.nonce = nonce_of(salt_, iv);
  job.aad = message.first(static_cast<std::size_t>(iv.data() - message.data()));
  job.text = plaintext;
  job.tag = tag.data();
  aead_->open({&job, 1});
  if (!job.ok) return fail(OpenErrc::forged);

  const std::size_t padding = plaintext.back() + kPadLengthOctets;
  if (padding > plaintext.size()) return fail(OpenErrc::malformed_inside);
  plaintext.resize(plaintext.size() - padding);

  OpenedMessage opened;
  opened.header = header;
  auto first = last.next;
  if (is_fragment) {
    auto complete = reassembler.add(header, fragment, last.next, plaintext);
    if (!complete) return std::optional<OpenedMessage>{};
    first = complete->first_payload;
    plaintext = std::move(complete->plaintext);
  } else {
    // The sender gave up fragments for a whole message: what is left of them will not be completed.
    reassembler.clear();
  }
  opened.plaintext = std::move(plaintext);
  auto inside = parse_payloads(opened.plaintext, first);
  if (!inside) return fail(OpenErrc::malformed_inside);
  // SK within SK: nothing that we speak, and nothing to recurse into.
  if (inside->has(PayloadType::encrypted) || inside->has(PayloadType::encrypted_fragment)) {
    return fail(OpenErrc::malformed_inside);
  }
  opened.payloads = *std::move(inside);
  opened.unsupported_critical = outside->payloads.unsupported_critical();
  if (!opened.unsupported_critical) opened.unsupported_critical = opened.payloads.unsupported_critical();
  return std::optional<OpenedMessage>{std::move(opened)};
}

}  // namespace switchback::ike
