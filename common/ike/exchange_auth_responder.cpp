// IKE_AUTH as responder. The answer waits for the shell, which knows users, addresses and policy.
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

std::optional<crypto::IkeIdentity> read_id(const Payloads& payloads, PayloadType type) {
  const auto* payload = payloads.find(type);
  if (payload == nullptr) return std::nullopt;
  const auto view = parse_id(payload->body);
  if (!view) return std::nullopt;
  return crypto::IkeIdentity::from_wire(static_cast<std::uint8_t>(view->type), view->data);
}

std::optional<NetworkRequest> read_request(const Payloads& payloads) {
  const auto* payload = payloads.find(PayloadType::configuration);
  if (payload == nullptr) return std::nullopt;
  const auto view = parse_configuration(payload->body);
  if (!view || view->type != ConfigurationType::request) return std::nullopt;
  const auto wanted = interpret(*view);
  NetworkRequest request;
  request.ipv4 = wanted.wants_v4;
  request.ipv6 = wanted.wants_v6;
  request.dns = wanted.wants_dns;
  request.subnets = wanted.wants_subnets;
  request.search_domains = wanted.wants_domains;
  for (const auto& prefix : wanted.addresses) {
    auto& preferred = prefix.address.is_v4() ? request.preferred_v4 : request.preferred_v6;
    if (preferred.empty()) preferred = prefix.address;
  }
  return request;
}

Configuration reply_of(const NetworkConfig& network) {
  Configuration reply;
  reply.type = ConfigurationType::reply;
  reply.addresses = network.addresses;
  reply.dns = network.dns;
  reply.subnets = network.subnets;
  reply.domains = network.search_domains;
  return reply;
}

Bytes spi_octets(Spi spi) {
  Bytes octets(4);
  store_be(octets.data(), spi.value);
  return octets;
}

}  // namespace

void SessionCore::refuse_auth(IkeSa& sa, NotifyType error, CloseReason reason, std::string detail,
                              const AddressPair& path) {
  respond_error(sa, ExchangeType::ike_auth, error, path);
  finish(reason, std::move(detail));
}

void SessionCore::process_auth_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now,
                                       WallTime wall) {
  path_ = path;  // RFC 7296 §2.23: the initiator has moved to the NAT-T port
  const auto& payloads = message.payloads;
  const auto* id = payloads.find(PayloadType::id_initiator);
  auto peer = read_id(payloads, PayloadType::id_initiator);
  if (id == nullptr || !peer) {
    return refuse_auth(sa, NotifyType::authentication_failed, CloseReason::authentication_failed,
                       "the peer sent no usable identity", path);
  }
  const auto octets =
      crypto::signed_octets(sa.suite.prf, init_->first_request, init_->nonce_r, sa.keys.sk_pi, id->body);
  const auto proof =
      verify_peer(*config_, role_, payloads, *peer, sa.suite.prf, octets, !init_->peer_hashes.empty(), random_, wall);
  if (!proof) {
    return refuse_auth(sa, NotifyType::authentication_failed, CloseReason::authentication_failed,
                       "the peer " + peer->to_string() + " did not prove its identity: " + proof.error(), path);
  }
  HeldAuth held;
  held.peer = *peer;
  held.peer_key = proof->peer_key;
  held.path = path;
  auto negotiation = parse_negotiation(payloads);
  if (!negotiation) {
    return refuse_auth(sa, NotifyType::invalid_syntax, CloseReason::protocol_error, "IKE_AUTH was malformed", path);
  }
  held.wants_child = !negotiation->proposals.empty();  // RFC 6023: a childless IKE_AUTH has no SA
  held.offered = std::move(negotiation->proposals);
  held.initiator_selectors = std::move(negotiation->initiator_selectors);
  held.responder_selectors = std::move(negotiation->responder_selectors);
  held.deadline = now + config_->timers.authorization;
  const auto request = read_request(payloads);
  held.asked_network = request.has_value();
  peer_mobike_ = config_->mobike && find_notify(payloads, NotifyType::mobike_supported).has_value();

  AuthorizationNeeded event;
  event.peer = *peer;
  event.wanted = read_id(payloads, PayloadType::id_responder);
  if (proof->certificate) {
    event.certificate = to_bytes(proof->certificate->der());
    const auto& fingerprint = proof->certificate->fingerprint();
    event.certificate_sha256.assign(fingerprint.begin(), fingerprint.end());
  }
  event.request = request;
  event.initial_contact = find_notify(payloads, NotifyType::initial_contact).has_value();
  event.notifies = read_private_notifies(payloads);
  event.path = path;
  held.notifies = event.notifies;
  held_ = std::move(held);
  state_.enter(SessionState::authorizing);
  if (!config_->ask_authorization) {
    Authorization everyone;
    everyone.granted = true;
    return answer_auth(std::move(everyone), now);
  }
  connect_deadline_ = held_->deadline;
  emit(std::move(event));
}

void SessionCore::answer_auth(Authorization answer, Instant now) {
  if (!held_ || !state_.is(SessionState::authorizing)) return;
  auto held = std::move(*held_);
  held_.reset();
  auto& sa = *ikes_.front();
  if (!answer.granted) {
    return refuse_auth(sa, NotifyType::authentication_failed, CloseReason::authentication_failed,
                       "the peer " + held.peer.to_string() + " is not authorized", held.path);
  }
  const PeerKey* in_kind = config_->answer_in_kind ? held.peer_key : nullptr;
  ChainBuilder chain;
  const auto& own = config_->local_identity;
  add_id(chain, PayloadType::id_responder, wire_type(own), own.data);
  add_own_certificates(chain, *config_, in_kind);
  const auto octets = crypto::signed_octets(sa.suite.prf, init_->first_response, init_->nonce_i, sa.keys.sk_pr,
                                            id_body(wire_type(own), own.data));
  if (const auto added = add_own_auth(chain, *config_, in_kind, sa.suite.prf, init_->peer_hashes, octets); !added) {
    return refuse_auth(sa, NotifyType::authentication_failed, CloseReason::authentication_failed,
                       "we cannot prove our identity: " + added.error(), held.path);
  }

  local_policy_ = answer.local_selectors ? std::move(*answer.local_selectors) : config_->local_selectors;
  remote_policy_ = std::move(answer.remote_selectors);
  if (remote_policy_.empty()) {
    for (const auto& prefix : answer.network.addresses) remote_policy_.push_back(packet::from_host(prefix.address));
  }
  if (remote_policy_.empty()) remote_policy_ = config_->remote_selectors;
  if (answer.address_failure) remote_policy_.clear();  // it has no address of its own: no Child SA later either

  std::optional<NotifyType> error;
  std::optional<ChosenEsp> chosen;
  ChildSpec spec;
  if (held.wants_child) {
    chosen = choose_esp(config_->esp_proposals, held.offered, ChildKeyExchange::ignored);
    spec.remote = packet::narrow(held.initiator_selectors, remote_policy_);
    spec.local = packet::narrow(held.responder_selectors, local_policy_);
    if (answer.address_failure) {
      error = NotifyType::internal_address_failure;  // §3.15.4
    } else if (!chosen) {
      error = NotifyType::no_proposal_chosen;
    } else if (spec.remote.empty() || spec.local.empty()) {
      error = NotifyType::ts_unacceptable;
    }
  }
  if (held.wants_child && !error) {
    if (held.asked_network) add_configuration(chain, reply_of(answer.network));
    spec.inbound = SpiLease{spis_, spis_.allocate_esp(random_, share_)};
    auto proposal = chosen->answer;
    proposal.spi = spi_octets(spec.inbound.get());
    add_sa(chain, std::span{&proposal, 1});
    add_traffic_selectors(chain, PayloadType::ts_initiator, spec.remote);
    add_traffic_selectors(chain, PayloadType::ts_responder, spec.local);
  } else if (error) {
    add_notify(chain, *error);  // the IKE SA is made all the same, §1.2
  }
  if (peer_mobike_) add_notify(chain, NotifyType::mobike_supported);
  add_private_notifies(chain, answer.notifies);
  respond(sa, ExchangeType::ike_auth, chain, held.path);

  const Bytes nonce_i = init_->nonce_i, nonce_r = init_->nonce_r;
  established(sa, std::move(held.peer), std::move(answer.network), std::move(held.notifies), now);
  if (error) emit(ChildFailed{*error, false});
  if (!held.wants_child || error) return;
  spec.outbound = chosen->spi;
  spec.suite = chosen->suite;
  auto keys = derive_child_keys(sa.keys, spec.suite.encryption, nullptr, {nonce_i, nonce_r});
  install_child(std::move(spec), std::move(keys), false, now);
}

}  // namespace switchback::ike
