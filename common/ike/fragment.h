// IKE fragmentation (RFC 7383): the SKF header, sizes, and bounded reassembly of authenticated fragments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/ike/message.h"

namespace switchback::ike {

/// strongSwan splits at 1280 octets of IP datagram, libreswan near 576; the least of them comes to fewer than this.
inline constexpr std::uint16_t kMaxFragments = 128;
/// IP datagram size used unless configured: IPv6's minimum MTU, and what deployed peers use for IPv4 too.
inline constexpr std::size_t kDefaultFragmentOctets = 1280;
inline constexpr std::size_t kMinFragmentOctets = 512;
/// What a message of a peer that has not proven itself may come to: IKE_AUTH with a chain of certificates is far less.
inline constexpr std::size_t kMaxUnprovenOctets = std::size_t{32} << 10U;

/// First octets of an SKF payload's body, RFC 7383 §2.5. Numbers count from 1.
struct FragmentHeader {
  std::uint16_t number = 0, total = 0;
  friend bool operator==(const FragmentHeader&, const FragmentHeader&) = default;
};
inline constexpr std::size_t kFragmentHeaderOctets = 4;
/// Errors: truncated; bad_value unless 1 <= number <= total; too_many above kMaxFragments.
[[nodiscard]] Result<FragmentHeader, ParseError> parse_fragment_header(ByteView body) noexcept;
/// Looks at a datagram without decrypting it: its fragment header if it holds an SKF payload that is sound. A repeated
/// request is answered when its fragment 1 comes, and only then (§2.6.1).
[[nodiscard]] std::optional<FragmentHeader> peek_fragment(ByteView message);

/// How long an IKE message may be so that the IP datagram that carries it over UDP keeps to a size.
/// @param max_ip_datagram  raised to kMinFragmentOctets, lowered to 65535
/// @param non_esp_marker   4 octets in front of the message (RFC 3948 §2.2)
[[nodiscard]] std::size_t max_message_octets(std::size_t max_ip_datagram, IpFamily family,
                                             bool non_esp_marker) noexcept;

/// Collects the decrypted fragments of one message. Give it authenticated fragments only (§2.6). At most one message is
/// under way for a direction: a fragment of another message ID starts afresh, so what an end holds is bounded.
class Reassembler {
 public:
  enum class Admission : std::uint8_t {
    wanted,     // authenticate it, then add()
    duplicate,  // already stored: drop without decrypting
    stale,      // total is less than that of fragments stored: drop (§2.6)
  };
  /// What would become of a fragment; changes nothing, since the fragment is not authenticated yet.
  [[nodiscard]] Admission consider(const Header& header, FragmentHeader fragment) const noexcept;

  struct Complete {
    PayloadType first_payload;
    Bytes plaintext;
  };
  /// Stores an authenticated fragment; returns the message once all are there, and forgets it. A greater total than
  /// that of fragments stored drops those (§2.6: the sender has lowered its fragment size). Beyond the limit the
  /// message is dropped whole.
  /// @param first_payload  next-payload field of the SKF header: counts in fragment 1 only (§2.5)
  [[nodiscard]] std::optional<Complete> add(const Header& header, FragmentHeader fragment, PayloadType first_payload,
                                            ByteView plaintext);
  /// The most octets that a message may come to; at first kMaxMessageOctets. What exceeds it is dropped whole.
  void limit(std::size_t octets) noexcept { limit_ = octets; }
  void clear() noexcept;
  /// Octets stored.
  [[nodiscard]] std::size_t octets() const noexcept { return octets_; }

 private:
  [[nodiscard]] bool same_message(const Header& header) const noexcept;

  MessageId message_id_;
  ExchangeType exchange_{};
  bool response_ = false;
  PayloadType first_payload_ = PayloadType::none;
  std::uint16_t total_ = 0;  // 0: nothing under way
  std::uint16_t have_ = 0;
  std::size_t octets_ = 0;
  std::size_t limit_ = kMaxMessageOctets;
  std::vector<std::optional<Bytes>> fragments_;
};

}  // namespace switchback::ike
