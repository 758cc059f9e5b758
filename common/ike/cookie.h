// Stateless cookies against floods of half-open IKE SAs (RFC 7296 §2.6).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "common/base/ip_address.h"
#include "common/base/random.h"
#include "common/base/secret.h"
#include "common/base/time.h"
#include "common/ike/message.h"

namespace switchback::ike {

/// Makes and checks cookies: <version of secret> | HMAC-SHA-256(secret, Ni | IPi | SPIi). Keeps two secrets and nothing
/// per peer. A cookie is good for between one and two lifetimes of a secret. One per headend, control thread.
class CookieJar {
 public:
  static constexpr std::chrono::seconds kSecretLifetime{60};
  static constexpr std::size_t kCookieOctets = 33;

  /// @param random  borrowed for the life of this jar; secret_fill makes the secrets
  explicit CookieJar(RandomSource& random) noexcept : random_{random} {}

  /// @param nonce  Ni as sent; @param source  the address that the request came from
  [[nodiscard]] std::array<std::uint8_t, kCookieOctets> make(ByteView nonce, const IpAddress& source,
                                                             IkeSpi initiator_spi, Instant now);
  /// Takes constant time for a cookie of the right size and version.
  [[nodiscard]] bool valid(ByteView cookie, ByteView nonce, const IpAddress& source, IkeSpi initiator_spi, Instant now);

 private:
  struct Generation {
    Secret secret;
    std::uint8_t version = 0;
  };
  void rotate(Instant now);

  RandomSource& random_;
  Generation current_, previous_;
  Instant since_{};
};

/// The answer that demands a cookie: HDR(A,0), N(COOKIE). Nothing if it would be longer than the request, so that
/// nobody's address can be flooded through us, or if the request is no IKE_SA_INIT request of a new SA.
[[nodiscard]] std::optional<Bytes> build_cookie_demand(const Header& request, ByteView cookie);

/// What a responder must know of an IKE_SA_INIT request before it keeps any state.
struct InitPreview {
  ByteView nonce;                  // borrowed from the message
  std::optional<ByteView> cookie;  // of its N(COOKIE), borrowed
};
/// Nothing unless the request has one SA, KE and nonce payload, well formed; a cookie must come first (§2.6) and have 1
/// to 64 octets, else it counts as none.
[[nodiscard]] std::optional<InitPreview> preview_init(const MessageView& request) noexcept;

}  // namespace switchback::ike
