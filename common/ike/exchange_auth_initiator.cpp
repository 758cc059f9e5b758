// IKE_AUTH as initiator (RFC 7296 §1.2, §2.15, §2.19, §2.21.2).
#include <algorithm>

#include "common/ike/exchange_child.h"
#include "common/ike/payload_auth.h"
#include "common/ike/payload_cp.h"
#include "common/ike/payload_ts.h"
#include "common/ike/peer_proof.h"
#include "common/ike/session_core.h"

namespace switchback::ike {
namespace {

IdPayloadType wire_type(const crypto::IkeIdentity& identity) {
  return IdPayloadType{static_cast<std::uint8_t>(identity.type)};
}

Configuration request_of(const NetworkRequest& wanted) {
  Configuration request;
  request.type = ConfigurationType::request;
  request.wants_v4 = wanted.ipv4;
  request.wants_v6 = wanted.ipv6;
  request.wants_dns = wanted.dns;
  request.wants_subnets = wanted.subnets;
  request.wants_domains = wanted.search_domains;
  if (wanted.ipv4 && wanted.preferred_v4.is_v4()) request.addresses.push_back(IpPrefix::host(wanted.preferred_v4));
  if (wanted.ipv6 && wanted.preferred_v6.is_v6()) request.addresses.push_back(IpPrefix::host(wanted.preferred_v6));
  return request;
}

NetworkConfig read_reply(const Payloads& payloads) {
  constexpr std::size_t kMaxEach = 64;
  NetworkConfig network;
  const auto* payload = payloads.find(PayloadType::configuration);
  if (payload == nullptr) return network;
  const auto view = parse_configuration(payload->body);
  if (!view || view->type != ConfigurationType::reply) return network;
  auto reply = interpret(*view);
  for (const auto& prefix : reply.addresses) {
    const auto same_family = [&](const IpPrefix& other) { return other.address.family() == prefix.address.family(); };
    if (std::none_of(network.addresses.begin(), network.addresses.end(), same_family)) {
      network.addresses.push_back(prefix);
    }
  }
  network.dns = std::move(reply.dns);
  network.subnets = std::move(reply.subnets);
  network.search_domains = std::move(reply.domains);
  if (network.dns.size() > kMaxEach) network.dns.resize(kMaxEach);
  if (network.subnets.size() > kMaxEach) network.subnets.resize(kMaxEach);
  if (network.search_domains.size() > kMaxEach) network.search_domains.resize(kMaxEach);
  return network;
}

}  // namespace

void SessionCore::send_auth(Instant now, WallTime /*wall*/) {
  auto& sa = *ikes_.front();
  AuthRequest request;
  ChainBuilder chain;
  const auto& own = config_->local_identity;
  add_id(chain, PayloadType::id_initiator, wire_type(own), own.data);
  request.id_body = id_body(wire_type(own), own.data);
  add_own_certificates(chain, *config_, nullptr);
  if (config_->initial_contact) add_notify(chain, NotifyType::initial_contact);
  if (config_->accept_certificates && config_->trust && !config_->trust->empty()) {
    add_certificate_request(chain, CertificateEncoding::x509_signature, config_->trust->authority_hashes());
  }
  if (config_->remote_identity) {
    add_id(chain, PayloadType::id_responder, wire_type(*config_->remote_identity), config_->remote_identity->data);
  }
  const auto octets =
      crypto::signed_octets(sa.suite.prf, init_->first_request, init_->nonce_r, sa.keys.sk_pi, request.id_body);
  if (const auto added = add_own_auth(chain, *config_, nullptr, sa.suite.prf, init_->peer_hashes, octets); !added) {
    return finish(CloseReason::authentication_failed, "we cannot prove our identity: " + added.error());
  }
  const bool childless = config_->childless && init_->peer_childless;
  if (!childless) {
    if (config_->request_network) add_configuration(chain, request_of(*config_->request_network));
    request.inbound.emplace(spis_, spis_.allocate_esp(random_, share_));
    request.offered = offer(config_->esp_proposals, request.inbound->get(), ChildKeyExchange::ignored);
    add_sa(chain, request.offered);
    add_traffic_selectors(chain, PayloadType::ts_initiator, config_->local_selectors);
    add_traffic_selectors(chain, PayloadType::ts_responder, config_->remote_selectors);
  }
  if (config_->mobike) add_notify(chain, NotifyType::mobike_supported);
  add_private_notifies(chain, config_->auth_notifies);
  state_.enter(SessionState::auth_sent);
  request.path = path_;
  ask(sa, ExchangeType::ike_auth, chain, std::move(request), config_->timers.connect, now);
}

void SessionCore::reject_peer(IkeSa& sa, NotifyType notify, CloseReason reason, std::string detail) {
  // RFC 7296 §2.21.2: told in a separate INFORMATIONAL; whether it arrives does not matter to us any more.
  ChainBuilder chain;
  add_notify(chain, notify);
  transmit(protect(sa, ExchangeType::informational, false, sa.send.next_id(), chain), path_);
  finish(reason, std::move(detail));
}

void SessionCore::process_auth_response(IkeSa& sa, AuthRequest request, OpenedMessage& message, Instant now,
                                        WallTime wall) {
  const auto& payloads = message.payloads;
  const auto error = find_error(payloads);
  const auto* id = payloads.find(PayloadType::id_responder);
  if (id == nullptr || !payloads.has(PayloadType::authentication)) {
    if (error) {
      const bool auth = error->type == NotifyType::authentication_failed;
      return finish(auth ? CloseReason::authentication_failed : CloseReason::refused,
                    "the peer answered " + to_string(error->type));
    }
    return reject_peer(sa, NotifyType::invalid_syntax, CloseReason::protocol_error,
                       "the peer's IKE_AUTH answer lacks payloads");
  }
  const auto id_view = parse_id(id->body);
  auto peer =
      id_view ? crypto::IkeIdentity::from_wire(static_cast<std::uint8_t>(id_view->type), id_view->data) : std::nullopt;
  const auto reject = [&](const std::string& why) {
    reject_peer(sa, NotifyType::authentication_failed, CloseReason::authentication_failed,
                "the peer is not who it should be: " + why);
  };
  if (!peer) return reject("its identity is malformed");
  if (config_->remote_identity && !config_->remote_identity->matches(*peer)) {
    return reject("it calls itself " + peer->to_string() + " instead of " + config_->remote_identity->to_string());
  }
  const auto octets =
      crypto::signed_octets(sa.suite.prf, init_->first_response, init_->nonce_i, sa.keys.sk_pr, id->body);
  const auto proof =
      verify_peer(*config_, role_, payloads, *peer, sa.suite.prf, octets, !init_->peer_hashes.empty(), random_, wall);
  if (!proof) return reject(proof.error());

  const auto parsed = parse_negotiation(payloads);
  const auto chosen = parsed && request.inbound ? accept_esp(request.offered, parsed->proposals) : std::nullopt;
  const Bytes nonce_i = init_->nonce_i, nonce_r = init_->nonce_r;
  peer_mobike_ = config_->mobike && find_notify(payloads, NotifyType::mobike_supported).has_value();
  established(sa, std::move(*peer), read_reply(payloads), read_private_notifies(payloads), now);
  // Moved while IKE_AUTH was under way: the peer may know the path that it first came by.
  if (peer_mobike_ && request.path != path_) queue({TaskKind::update_addresses, Spi{}});
  if (!request.inbound) return;
  if (!chosen) {
    // The IKE SA is up all the same (§1.2); the shell decides whether it is worth keeping without a Child SA.
    emit(ChildFailed{error ? error->type : NotifyType::invalid_syntax, true});
    return;
  }
  if (!is_narrowing(parsed->initiator_selectors, config_->local_selectors) ||
      !is_narrowing(parsed->responder_selectors, config_->remote_selectors)) {
    queue({TaskKind::delete_child, request.inbound->get()});
    emit(ChildFailed{NotifyType::ts_unacceptable, false});
    return;
  }
  ChildSpec spec;
  spec.inbound = std::move(*request.inbound);
  spec.outbound = chosen->spi;
  spec.suite = chosen->suite;
  spec.local = parsed->initiator_selectors;
  spec.remote = parsed->responder_selectors;
  auto keys = derive_child_keys(sa.keys, spec.suite.encryption, nullptr, {nonce_i, nonce_r});
  install_child(std::move(spec), std::move(keys), true, now);
}

void SessionCore::established(IkeSa& sa, crypto::IkeIdentity peer, NetworkConfig network,
                              std::vector<PrivateNotify> notifies, Instant now) {
  state_.enter(SessionState::established);
  sa.state.enter(IkeSaState::active);
  sa.opener->limit_reassembly(kMaxMessageOctets);
  schedule_ike(sa, now);
  connect_deadline_.reset();
  init_.reset();  // the messages and nonces that AUTH covered are not needed again
  peer_identity_ = std::move(peer);
  last_heard_ = now;
  Established event;
  event.local = config_->local_identity;
  event.peer = peer_identity_;
  event.path = path_;
  event.network = std::move(network);
  event.local_behind_nat = nat_.local_behind;
  event.peer_behind_nat = nat_.remote_behind;
  event.mobike = peer_mobike_;
  event.fragmentation = config_->fragmentation && peer_fragmentation_;
  event.suite = to_string(sa.suite);
  event.notifies = std::move(notifies);
  emit(std::move(event));
}

}  // namespace switchback::ike
