#include "common/ike/cookie.h"

#include <algorithm>

#include "common/crypto/prf.h"
#include "common/ike/payload_ke.h"
#include "common/ike/payload_notify.h"

namespace switchback::ike {

namespace {

constexpr std::size_t kSecretOctets = 32;
constexpr std::size_t kMaxCookieOctets = 64;  // RFC 7296 §2.6

Secret authenticator(const Secret& secret, ByteView nonce, const IpAddress& source, IkeSpi initiator_spi) {
  // Lengths in front, so that octets cannot move from nonce to address.
  std::array<std::uint8_t, 3> sizes{};
  store_be(sizes.data(), static_cast<std::uint16_t>(nonce.size()));
  sizes[2] = static_cast<std::uint8_t>(source.size());
  std::array<std::uint8_t, 8> spi{};
  store_be(spi.data(), initiator_spi.value);
  return crypto::prf(crypto::PrfAlgorithm::hmac_sha2_256, secret.view(),
                     {ByteView{sizes}, nonce, source.bytes(), ByteView{spi}});
}

}  // namespace

void CookieJar::rotate(Instant now) {
  if (!current_.secret.empty() && now - since_ < kSecretLifetime) return;
  // After a pause of two lifetimes the current secret is as old as a previous one may get.
  const bool keep = !current_.secret.empty() && now - since_ < 2 * kSecretLifetime;
  const auto version = static_cast<std::uint8_t>(current_.version + 1);
  previous_ = keep ? std::move(current_) : Generation{};
  current_ = Generation{Secret{kSecretOctets}, version};
  random_.secret_fill(current_.secret.span());
  since_ = now;
}

std::array<std::uint8_t, CookieJar::kCookieOctets> CookieJar::make(ByteView nonce, const IpAddress& source,
                                                                   IkeSpi initiator_spi, Instant now) {
  rotate(now);
  std::array<std::uint8_t, kCookieOctets> cookie{};
  cookie[0] = current_.version;
  const auto mac = authenticator(current_.secret, nonce, source, initiator_spi);
  std::copy(mac.view().begin(), mac.view().end(), cookie.begin() + 1);
  return cookie;
}

bool CookieJar::valid(ByteView cookie, ByteView nonce, const IpAddress& source, IkeSpi initiator_spi, Instant now) {
  if (cookie.size() != kCookieOctets) return false;
  rotate(now);
  const Generation* generation = nullptr;
  if (cookie[0] == current_.version) generation = &current_;
  if (!previous_.secret.empty() && cookie[0] == previous_.version) generation = &previous_;
  if (generation == nullptr) return false;
  return authenticator(generation->secret, nonce, source, initiator_spi).equals(cookie.subspan(1));
}

std::optional<Bytes> build_cookie_demand(const Header& request, ByteView cookie) {
  if (request.exchange != ExchangeType::ike_sa_init || request.response || !request.from_initiator ||
      request.message_id != MessageId{0} || request.responder_spi != IkeSpi{0} || request.initiator_spi == IkeSpi{0}) {
    return std::nullopt;
  }
  Header answer;
  answer.initiator_spi = request.initiator_spi;  // SPIr stays zero: there is no SA yet, RFC 7296 §2.6
  answer.exchange = ExchangeType::ike_sa_init;
  answer.response = true;
  ChainBuilder chain;
  add_notify(chain, NotifyType::cookie, cookie);
  auto message = build_message(answer, chain);
  if (message.size() > request.length) return std::nullopt;
  return message;
}

std::optional<InitPreview> preview_init(const MessageView& request) noexcept {
  const auto& payloads = request.payloads;
  const auto* nonce = payloads.find(PayloadType::nonce);
  if (nonce == nullptr || !payloads.has(PayloadType::security_association) ||
      !payloads.has(PayloadType::key_exchange) || payloads.unsupported_critical()) {
    return std::nullopt;
  }
  const auto octets = parse_nonce(nonce->body);
  if (!octets) return std::nullopt;
  InitPreview preview{*octets, std::nullopt};
  const auto& first = payloads.list().front();
  if (first.type == PayloadType::notify) {
    const auto notify = parse_notify(first.body);
    if (notify && notify->type == NotifyType::cookie && !notify->data.empty() &&
        notify->data.size() <= kMaxCookieOctets) {
      preview.cookie = notify->data;
    }
  }
  return preview;
}

}  // namespace switchback::ike
