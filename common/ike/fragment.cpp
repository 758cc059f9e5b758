#include "common/ike/fragment.h"

#include <algorithm>
#include <utility>

namespace switchback::ike {

Result<FragmentHeader, ParseError> parse_fragment_header(ByteView body) noexcept {
  WireReader r{body};
  FragmentHeader header;
  header.number = r.u16be();
  header.total = r.u16be();
  if (!r.ok()) return fail(ParseErrc::truncated, r.offset());
  if (header.number == 0 || header.number > header.total) return fail(ParseErrc::bad_value, 0);
  if (header.total > kMaxFragments) return fail(ParseErrc::too_many, 2);
  return header;
}

std::optional<FragmentHeader> peek_fragment(ByteView message) {
  const auto parsed = parse_message(message);
  if (!parsed) return std::nullopt;
  const auto* payload = parsed->payloads.find(PayloadType::encrypted_fragment);
  if (payload == nullptr) return std::nullopt;
  const auto header = parse_fragment_header(payload->body);
  if (!header) return std::nullopt;
  return *header;
}

std::size_t max_message_octets(std::size_t max_ip_datagram, IpFamily family, bool non_esp_marker) noexcept {
  constexpr std::size_t kUdp = 8;
  constexpr std::size_t kMarker = 4;
  const std::size_t ip = family == IpFamily::v6 ? 40 : 20;
  return std::clamp(max_ip_datagram, kMinFragmentOctets, std::size_t{65535}) - ip - kUdp -
         (non_esp_marker ? kMarker : 0);
}

bool Reassembler::same_message(const Header& header) const noexcept {
  return total_ != 0 && header.message_id == message_id_ && header.exchange == exchange_ &&
         header.response == response_;
}

Reassembler::Admission Reassembler::consider(const Header& header, FragmentHeader fragment) const noexcept {
  if (!same_message(header) || fragment.total > total_) return Admission::wanted;
  if (fragment.total < total_) return Admission::stale;
  return fragments_[fragment.number - 1U] ? Admission::duplicate : Admission::wanted;
}

std::optional<Reassembler::Complete> Reassembler::add(const Header& header, FragmentHeader fragment,
                                                      PayloadType first_payload, ByteView plaintext) {
  if (fragment.number == 0 || fragment.number > fragment.total || fragment.total > kMaxFragments) return std::nullopt;
  if (consider(header, fragment) != Admission::wanted) return std::nullopt;
  if (!same_message(header) || fragment.total > total_) {
    clear();
    message_id_ = header.message_id;
    exchange_ = header.exchange;
    response_ = header.response;
    total_ = fragment.total;
    fragments_.resize(total_);
  }
  if (octets_ + plaintext.size() > limit_ - kHeaderOctets) {
    clear();
    return std::nullopt;
  }
  if (fragment.number == 1) first_payload_ = first_payload;
  fragments_[fragment.number - 1U] = to_bytes(plaintext);
  octets_ += plaintext.size();
  if (++have_ < total_) return std::nullopt;

  Complete complete{first_payload_, {}};
  complete.plaintext.reserve(octets_);
  for (const auto& part : fragments_) append(complete.plaintext, *part);
  clear();
  return complete;
}

void Reassembler::clear() noexcept {
  total_ = have_ = 0;
  octets_ = 0;
  first_payload_ = PayloadType::none;
  fragments_.clear();
}

}  // namespace switchback::ike
