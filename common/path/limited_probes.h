// Packets with a hop limit of their own, on their way, and the ICMP errors that tell which router ended which. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "common/base/ip_address.h"
#include "common/base/time.h"
#include "common/packet/icmp_quote.h"

namespace switchback::path {

/// Of whoever sends such packets: an answer to one of them.
struct LimitedAnswer {
  std::uint64_t token = 0;  // the caller's, as is `hop_limit`
  std::uint8_t hop_limit = 0;
  packet::IcmpTrouble trouble = packet::IcmpTrouble::time_exceeded;
  IpAddress from;
  Instant sent_at{};
  Duration round_trip{};
};

/// Bounded: what has to give way counts as not answered. Of the packet thread's word that a packet has left and the
/// router's about it, either may be heard first.
class LimitedProbes {
 public:
  static constexpr std::size_t kSent = 1024, kQuotes = 64;
  /// An answer that takes longer is none.
  static constexpr Duration kPatience = std::chrono::seconds{3};
  /// So long an error may wait for the word that its packet has left.
  static constexpr Duration kQuotePatience = std::chrono::milliseconds{200};

  [[nodiscard]] std::optional<LimitedAnswer> handle_sent(std::uint64_t token, std::uint8_t hop_limit,
                                                         const packet::LimitedPacket& sent, Instant at);
  /// Each packet is answered once. @param from  who sent the error
  [[nodiscard]] std::optional<LimitedAnswer> handle_quote(const packet::IcmpQuote& quote, const IpAddress& from,
                                                          Instant at);

  [[nodiscard]] std::size_t waiting() const noexcept { return sent_.size(); }
  /// Errors that were of none of them: other programs' are not ours, and nobody signs ICMP.
  [[nodiscard]] std::uint64_t strangers() const noexcept { return strangers_; }

 private:
  struct Sent {
    std::uint64_t token = 0;
    std::uint8_t hop_limit = 0;
    packet::LimitedPacket packet;
    Instant at{};
  };
  struct Quoted {
    packet::IcmpQuote quote;  // its front is borrowed from `front`
    std::array<std::uint8_t, packet::LimitedPacket::kFrontOctets> front{};
    std::size_t octets = 0;
    IpAddress from;
    Instant at{};
  };
  void forget(Instant now);
  [[nodiscard]] static LimitedAnswer answer(const Sent& sent, const packet::IcmpQuote& quote, const IpAddress& from,
                                            Instant at);

  std::deque<Sent> sent_;
  std::deque<Quoted> quoted_;
  std::uint64_t strangers_ = 0;
};

}  // namespace switchback::path
