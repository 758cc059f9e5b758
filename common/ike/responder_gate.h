// What a responder does with datagrams that belong to no session: decided without state, before any allocation for
// the peer (RFC 7296 §2.6, §2.5, §2.21.4).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/base/random.h"
#include "common/base/rate_limit.h"
#include "common/base/secret.h"
#include "common/base/strong.h"
#include "common/base/time.h"
#include "common/ike/cookie.h"

namespace switchback::ike {

struct GateLimits {
  std::size_t cookie_from_half_open = 100;    // at so many half-open SAs every new peer must return a cookie
  std::size_t max_half_open = 5000;           // beyond: nobody new is let in
  std::size_t max_half_open_per_address = 8;  // counted by the shell, per remote address
  double inits_per_second = 20;               // IKE_SA_INITs that make a session, per IPv4 /24 or IPv6 /48
  double init_burst = 100;
  double answers_per_second = 50;  // unprotected errors to all the world
  double answer_burst = 200;
  /// INVALID_IKE_SPI: after a restart all clients ask within seconds and are back the sooner the sooner they know. To
  /// all the world, and per IPv4 /24 or IPv6 /48.
  double lost_answers_per_second = 2000, lost_answer_burst = 4000;
  double lost_answers_per_prefix = 100, lost_answer_prefix_burst = 500;
  // Cookies are how new peers get in while a flood lasts: floods of other kinds must not use up their allowance.
  // Whoever is refused one is as good as locked out, so the allowance is that of a flood worth the name; a cookie costs
  // microseconds.
  double cookies_per_second = 20000;
  double cookie_burst = 20000;
};

/// What the shell counts.
struct GateLoad {
  std::size_t half_open = 0;               // sessions before established, all
  std::size_t half_open_from_address = 0;  // those from the datagram's remote address
};

enum class GateVerdict : std::uint8_t {
  drop,
  reply,   // send `reply` and forget about it
  create,  // make a responder Session and give it the datagram
};

struct GateDecision {
  GateVerdict verdict = GateVerdict::drop;
  Bytes reply;  // never longer than the datagram that it answers
};

class ResponderGate {
 public:
  ResponderGate(GateLimits limits, RandomSource& random, Instant now);

  /// For a datagram whose header carries no SPI of a session. IKE_SA_INIT requests may create; other requests to
  /// unknown SPIs get INVALID_IKE_SPI, sparingly; everything else is dropped.
  [[nodiscard]] GateDecision decide(ByteView datagram, const AddressPair& path, GateLoad load, Instant now);
  /// An IKE message that tells an ESP sender of its unknown SPI (RFC 7296 §1.5), rate-limited. Nothing if it would be
  /// longer, with its non-ESP marker, than the packet of `octets` that asks for it: nobody has proven that address.
  [[nodiscard]] std::optional<Bytes> unknown_esp(Spi spi, std::size_t octets, Instant now);

 private:
  [[nodiscard]] bool prefix_allows(std::vector<TokenBucket>& buckets, const IpAddress& address, Instant now);

  GateLimits limits_;
  RandomSource& random_;
  CookieJar cookies_;
  TokenBucket answers_, lost_answers_, cookie_demands_;
  std::array<std::uint8_t, 16> hash_key_{};            // places prefixes in buckets, so that nobody can aim at one
  std::vector<TokenBucket> prefixes_, lost_prefixes_;  // fixed numbers; different prefixes may share one
};

}  // namespace switchback::ike
