// IKE_SA_INIT (RFC 7296 §1.2) with the retries for COOKIE (§2.6) and INVALID_KE_PAYLOAD. Nothing here is
// authenticated: what an answer says is used only if it leads to keys, and refusals are believed last (§2.21.1).
#include <algorithm>

#include "common/ike/exchange_child.h"
#include "common/ike/payload_auth.h"
#include "common/ike/session_core.h"

namespace switchback::ike {
namespace {

constexpr unsigned kMaxRetries = 5;
constexpr std::size_t kMaxCookieOctets = 64;
/// Sends that remain after an unauthenticated refusal: the true peer may still answer otherwise.
constexpr unsigned kSendsAfterRefusal = 2;

void add_signature_support(ChainBuilder& chain) {
  std::array<SignatureHash, std::size(crypto::kOurHashAlgorithms)> hashes{};
  std::transform(std::begin(crypto::kOurHashAlgorithms), std::end(crypto::kOurHashAlgorithms), hashes.begin(),
                 [](crypto::HashAlgorithm hash) { return static_cast<SignatureHash>(hash); });
  add_signature_hashes(chain, hashes);
}

}  // namespace

void SessionCore::send_init(Instant now) {
  const auto method = first_key_exchange(config_->ike_proposals);
  if (!method) return finish(CloseReason::no_proposal_chosen, "no proposal for the IKE SA is configured");
  auto generated = crypto::KeyExchange::generate(*method);
  if (!generated) return finish(CloseReason::refused, "the key exchange could not be generated");
  init_ = std::make_unique<InitState>();
  init_->key_exchange.emplace(std::move(*generated));
  init_->offered = offer(config_->ike_proposals);
  init_->nonce_i = make_nonce();

  auto owned = std::make_unique<IkeSa>();
  owned->we_are_initiator = true;
  owned->lease = IkeSpiLease{spis_, spis_.allocate_ike(random_)};
  owned->initiator = owned->lease.get();
  ikes_.push_back(std::move(owned));
  announce(*ikes_.back());
  state_.enter(SessionState::init_sent);
  post_init(now);
}

void SessionCore::post_init(Instant now) {
  auto& sa = *ikes_.front();
  ChainBuilder chain;
  if (!init_->cookie.empty()) add_notify(chain, NotifyType::cookie, init_->cookie);  // §2.6: first payload
  add_sa(chain, init_->offered);
  add_key_exchange(chain, wire_id(init_->key_exchange->method()), init_->key_exchange->public_value());
  add_nonce(chain, init_->nonce_i);
  add_nat_detection(chain, sa.initiator, IkeSpi{}, path_, config_->force_udp_encapsulation);
  if (config_->fragmentation) add_notify(chain, NotifyType::ikev2_fragmentation_supported);
  add_signature_support(chain);
  init_->first_request = build_message(header(sa, ExchangeType::ike_sa_init, false, MessageId{0}), chain);
  sa.request = InitRequest{};
  sa.asked = ExchangeType::ike_sa_init;
  std::vector<Bytes> datagrams{init_->first_request};
  if (sa.send.busy()) {
    sa.send.replace(std::move(datagrams), config_->timers.connect, random_, now);
  } else {
    sa.send.open(std::move(datagrams), config_->timers.connect, random_, now);
  }
  transmit(sa.send.datagrams(), path_);
}

void SessionCore::record_refusal(CloseReason reason, std::string detail) {
  init_->refusal = std::move(detail);
  init_->refusal_reason = reason;
  ikes_.front()->send.hurry(kSendsAfterRefusal);
}

void SessionCore::read_init_extensions(const MessageView& message, const AddressPair& path) {
  nat_ = detect_nat(message.header, message.payloads, path);
  peer_fragmentation_ = find_notify(message.payloads, NotifyType::ikev2_fragmentation_supported).has_value();
  init_->peer_childless = find_notify(message.payloads, NotifyType::childless_ikev2_supported).has_value();
  if (const auto hashes = find_notify(message.payloads, NotifyType::signature_hash_algorithms)) {
    for (const auto hash : signature_hashes(*hashes)) {
      init_->peer_hashes.push_back(static_cast<crypto::HashAlgorithm>(hash));
    }
  }
}

void SessionCore::process_init_response(const MessageView& message, ByteView datagram, const AddressPair& path,
                                        Instant now, WallTime wall) {
  auto& sa = *ikes_.front();
  if (message.payloads.unsupported_critical()) return;
  const auto& payloads = message.payloads;
  if (const auto error = find_error(payloads)) {
    if (error->type == NotifyType::invalid_ke_payload) {
      const auto wanted = wanted_key_exchange(*error);
      const auto method = wanted ? supported_key_exchange(*wanted) : std::nullopt;
      // §1.2: only to a method that we offered, and not back to the one just refused.
      if (method && *method != init_->key_exchange->method() && init_->retries < kMaxRetries &&
          offers_key_exchange(init_->offered, *wanted)) {
        auto generated = crypto::KeyExchange::generate(*method);
        if (!generated) return;
        ++init_->retries;
        init_->key_exchange.emplace(std::move(*generated));
        return post_init(now);
      }
    }
    const auto reason =
        error->type == NotifyType::no_proposal_chosen ? CloseReason::no_proposal_chosen : CloseReason::refused;
    return record_refusal(reason, "the peer answered " + to_string(error->type) + " (unauthenticated)");
  }
  if (const auto cookie = find_notify(payloads, NotifyType::cookie)) {
    if (payloads.has(PayloadType::security_association) || cookie->data.empty() ||
        cookie->data.size() > kMaxCookieOctets || init_->retries >= kMaxRetries) {
      return;
    }
    if (same_bytes(cookie->data, init_->cookie)) return;  // an echo of the demand that was met already
    ++init_->retries;
    init_->cookie = to_bytes(cookie->data);
    return post_init(now);
  }
  const auto parsed = parse_negotiation(payloads);
  if (!parsed || parsed->proposals.empty() || parsed->nonce.empty() || !parsed->key_exchange ||
      message.header.responder_spi.value == 0) {
    return;
  }
  const auto chosen = accept_ike(init_->offered, parsed->proposals);
  if (!chosen || chosen->suite.key_exchange != init_->key_exchange->method() ||
      parsed->key_exchange->method != wire_id(chosen->suite.key_exchange)) {
    return record_refusal(CloseReason::no_proposal_chosen, "the peer chose a suite that was not offered");
  }
  const auto shared = init_->key_exchange->shared_secret(parsed->key_exchange->public_value);
  if (!shared) return record_refusal(CloseReason::refused, "the peer sent a bad public value");

  sa.responder = message.header.responder_spi;
  sa.suite = chosen->suite;
  init_->nonce_r = to_bytes(parsed->nonce);
  init_->first_response = to_bytes(datagram);
  read_init_extensions(message, path);
  const Nonces nonces{init_->nonce_i, init_->nonce_r};
  install_keys(sa,
               derive_ike_keys(sa.suite, skeyseed(sa.suite.prf, nonces, *shared), nonces, sa.initiator, sa.responder));
  init_->key_exchange.reset();
  sa.send.settle();
  sa.request = std::monostate{};
  // §2.23: to the NAT-T port where a NAT is seen; RFC 4555 §3.3 wants it for MOBIKE without NAT, too. Never on streams
  // (RFC 9329 §5.1), where the shell configures no such port.
  if (config_->nat_t_port != 0 && nat_.supported &&
      (nat_.any() || config_->mobike || config_->force_udp_encapsulation)) {
    path_.remote.port = config_->nat_t_port;
  }
  if (!config_->wait_before_auth) return send_auth(now, wall);
  state_.enter(SessionState::waiting);
  connect_deadline_ = now + config_->timers.half_open;  // the responder forgets it by then, too
  emit(InitAnswered{path_, nat_.local_behind, nat_.remote_behind});
}

void SessionCore::proceed(Instant now, WallTime wall) {
  if (!state_.is(SessionState::waiting)) return;
  connect_deadline_.reset();
  send_auth(now, wall);
}

void SessionCore::process_init_request(const MessageView& message, ByteView datagram, const AddressPair& path,
                                       Instant now) {
  path_ = path;
  last_heard_ = now;
  auto owned = std::make_unique<IkeSa>();
  auto& sa = *owned;
  sa.initiator = message.header.initiator_spi;
  const auto refuse = [&](CloseReason reason, const char* detail, auto&& fill) {
    ChainBuilder chain;
    fill(chain);
    transmit({build_message(header(sa, ExchangeType::ike_sa_init, true, MessageId{0}), chain)}, path);
    finish(reason, detail);
  };
  if (const auto critical = message.payloads.unsupported_critical()) {
    const std::array data{static_cast<std::uint8_t>(*critical)};
    return refuse(CloseReason::refused, "IKE_SA_INIT carried an unknown critical payload",
                  [&](ChainBuilder& chain) { add_notify(chain, NotifyType::unsupported_critical_payload, data); });
  }
  const auto parsed = parse_negotiation(message.payloads);
  if (!parsed || parsed->proposals.empty() || parsed->nonce.empty() || !parsed->key_exchange ||
      sa.initiator.value == 0) {
    return refuse(CloseReason::protocol_error, "IKE_SA_INIT was malformed",
                  [](ChainBuilder& chain) { add_notify(chain, NotifyType::invalid_syntax); });
  }
  const auto chosen = choose_ike(config_->ike_proposals, parsed->proposals, false);
  if (!chosen) {
    return refuse(CloseReason::no_proposal_chosen, "the peer offered no suite that we have",
                  [](ChainBuilder& chain) { add_notify(chain, NotifyType::no_proposal_chosen); });
  }
  const auto wanted = wire_id(chosen->suite.key_exchange);
  if (parsed->key_exchange->method != wanted) {
    return refuse(CloseReason::refused, "the peer was asked for another key exchange",
                  [wanted](ChainBuilder& chain) { add_invalid_ke(chain, wanted); });
  }
  auto generated = crypto::KeyExchange::generate(chosen->suite.key_exchange);
  if (!generated) return finish(CloseReason::refused, "the key exchange could not be generated");
  const auto shared = generated->shared_secret(parsed->key_exchange->public_value);
  if (!shared) {
    return refuse(CloseReason::protocol_error, "the peer sent a bad public value",
                  [](ChainBuilder& chain) { add_notify(chain, NotifyType::invalid_syntax); });
  }
  init_ = std::make_unique<InitState>();
  init_->first_request = to_bytes(datagram);
  init_->nonce_i = to_bytes(parsed->nonce);
  init_->nonce_r = make_nonce();
  read_init_extensions(message, path);
  sa.suite = chosen->suite;
  sa.lease = IkeSpiLease{spis_, spis_.allocate_ike(random_)};
  sa.responder = sa.lease.get();

  ChainBuilder chain;
  add_sa(chain, std::span{&chosen->answer, 1});
  add_key_exchange(chain, wanted, generated->public_value());
  add_nonce(chain, init_->nonce_r);
  if (nat_.supported) add_nat_detection(chain, sa.initiator, sa.responder, path, config_->force_udp_encapsulation);
  if (config_->accept_certificates && config_->trust && !config_->trust->empty()) {
    add_certificate_request(chain, CertificateEncoding::x509_signature, config_->trust->authority_hashes());
  }
  if (config_->fragmentation && peer_fragmentation_) {
    add_notify(chain, NotifyType::ikev2_fragmentation_supported);
  }
  if (!init_->peer_hashes.empty()) add_signature_support(chain);
  add_notify(chain, NotifyType::childless_ikev2_supported);
  init_->first_response = build_message(header(sa, ExchangeType::ike_sa_init, true, MessageId{0}), chain);

  const Nonces nonces{init_->nonce_i, init_->nonce_r};
  install_keys(sa,
               derive_ike_keys(sa.suite, skeyseed(sa.suite.prf, nonces, *shared), nonces, sa.initiator, sa.responder));
  sa.receive.accept(hash_datagram(datagram));
  sa.receive.answer({init_->first_response});
  transmit(sa.receive.response(), path);
  announce(sa);
  ikes_.push_back(std::move(owned));
  state_.enter(SessionState::init_answered);
  connect_deadline_ = now + config_->timers.half_open;
}

}  // namespace switchback::ike
