// CREATE_CHILD_SA for Child SAs: a further one, or a successor (RFC 7296 §1.3.1, §1.3.3, §2.8, §2.25).
#include "common/ike/exchange_child.h"

#include <algorithm>
#include <chrono>

#include "common/ike/payload_ts.h"
#include "common/ike/session_core.h"

namespace switchback::ike {
namespace {

constexpr unsigned kMaxRefusals = 3;  // INVALID_KE_PAYLOAD in a row
constexpr unsigned kMaxDelays = 8;    // TEMPORARY_FAILURE for a further Child SA

Bytes spi_octets(Spi spi) {
  Bytes octets(4);
  store_be(octets.data(), spi.value);
  return octets;
}

}  // namespace

Result<NegotiationPayloads, ParseError> parse_negotiation(const Payloads& payloads) {
  NegotiationPayloads parsed;
  if (const auto* sa = payloads.find(PayloadType::security_association)) {
    SB_TRY(parsed.proposals, parse_sa(sa->body));
  }
  if (const auto* nonce = payloads.find(PayloadType::nonce)) {
    SB_TRY(parsed.nonce, parse_nonce(nonce->body));
  }
  if (const auto* ke = payloads.find(PayloadType::key_exchange)) {
    SB_TRY(parsed.key_exchange, parse_key_exchange(ke->body));
  }
  if (const auto* ts = payloads.find(PayloadType::ts_initiator)) {
    SB_TRY(auto view, parse_traffic_selectors(ts->body));
    parsed.initiator_selectors = std::move(view.selectors);
  }
  if (const auto* ts = payloads.find(PayloadType::ts_responder)) {
    SB_TRY(auto view, parse_traffic_selectors(ts->body));
    parsed.responder_selectors = std::move(view.selectors);
  }
  return parsed;
}

bool is_narrowing(const packet::TrafficSelectors& answer, const packet::TrafficSelectors& offered) {
  return !answer.empty() && std::all_of(answer.begin(), answer.end(), [&](const TrafficSelector& chosen) {
    return std::any_of(offered.begin(), offered.end(),
                       [&](const TrafficSelector& outer) { return packet::covers(outer, chosen); });
  });
}

void SessionCore::send_child(IkeSa& sa, const Task& task, Instant now) {
  ChildRequest request;
  Child* old = nullptr;
  if (task.kind == TaskKind::rekey_child) {
    old = find_child(task.child);
    if (old == nullptr || !old->state.is(ChildState::installed)) return;  // settled otherwise meanwhile
    request.rekeys = old->inbound.get();
    request.family = old->family;
    request.local = old->local;  // RFC 7296 §2.9.2: the selectors do not shrink
    request.remote = old->remote;
  } else {
    if (children_.size() >= config_->max_children) return emit(ChildFailed{NotifyType::no_additional_sas, false});
    request.local = local_policy_;
    request.remote = remote_policy_;
  }
  if (request.local.empty() || request.remote.empty()) return;
  request.refusals = task.refusals;
  request.inbound = SpiLease{spis_, spis_.allocate_esp(random_, share_)};
  request.nonce = make_nonce();
  request.offered = offer(config_->esp_proposals, request.inbound.get(), ChildKeyExchange::negotiated);
  const auto method = task.key_exchange ? task.key_exchange : first_key_exchange(config_->esp_proposals);
  if (method) {
    auto generated = crypto::KeyExchange::generate(*method);
    if (!generated) {
      emit(ChildFailed{NotifyType::no_proposal_chosen, false});
      return;
    }
    request.key_exchange.emplace(std::move(*generated));
  }
  ChainBuilder chain;
  if (old != nullptr) {
    add_notify(chain, NotifyType::rekey_sa, ProtocolId::esp, old->inbound.get());
    old->state.enter(ChildState::rekeying);
  }
  add_sa(chain, request.offered);
  add_nonce(chain, request.nonce);
  if (request.key_exchange) add_key_exchange(chain, wire_id(*method), request.key_exchange->public_value());
  add_traffic_selectors(chain, PayloadType::ts_initiator, request.local);
  add_traffic_selectors(chain, PayloadType::ts_responder, request.remote);
  ask(sa, ExchangeType::create_child_sa, chain, std::move(request), config_->timers.retransmit, now);
}

void SessionCore::process_child_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now) {
  const auto refuse = [&](NotifyType error, ByteView data = {}) {
    respond_error(sa, ExchangeType::create_child_sa, error, path, data);
  };
  const auto parsed = parse_negotiation(message.payloads);
  if (!parsed || parsed->proposals.empty() || parsed->nonce.empty() || parsed->initiator_selectors.empty() ||
      parsed->responder_selectors.empty()) {
    return refuse(NotifyType::invalid_syntax);
  }
  // RFC 7296 §2.25.2: not while this IKE SA is being replaced or closed.
  if (!state_.is(SessionState::established) || !sa.state.is(IkeSaState::active) ||
      std::holds_alternative<RekeyIkeRequest>(sa.request)) {
    return refuse(NotifyType::temporary_failure);
  }
  Child* old = nullptr;
  if (const auto rekey = find_notify(message.payloads, NotifyType::rekey_sa)) {
    old = rekey->protocol == ProtocolId::esp ? find_child_by_outbound(rekey->esp_spi()) : nullptr;
    // What our own outstanding request makes may be what the peer means, if its answer is late.
    if (old == nullptr && std::holds_alternative<ChildRequest>(sa.request))
      return refuse(NotifyType::temporary_failure);
    if (old == nullptr) {  // §2.25.1
      ChainBuilder chain;
      add_notify(chain, NotifyType::child_sa_not_found, ProtocolId::esp, rekey->esp_spi());
      return respond(sa, ExchangeType::create_child_sa, chain, path);
    }
    if (old->state.any_of(ChildState::deleting, ChildState::replaced)) return refuse(NotifyType::temporary_failure);
  }
  if (children_.size() >= config_->max_children) return refuse(NotifyType::no_additional_sas);
  const auto chosen = choose_esp(config_->esp_proposals, parsed->proposals, ChildKeyExchange::negotiated);
  if (!chosen) return refuse(NotifyType::no_proposal_chosen);

  std::optional<crypto::KeyExchange> ours;
  std::optional<Secret> shared;
  if (chosen->suite.key_exchange) {
    const auto wanted = wire_id(*chosen->suite.key_exchange);
    if (!parsed->key_exchange || parsed->key_exchange->method != wanted) {
      ChainBuilder chain;
      add_invalid_ke(chain, wanted);
      return respond(sa, ExchangeType::create_child_sa, chain, path);
    }
    auto generated = crypto::KeyExchange::generate(*chosen->suite.key_exchange);
    if (!generated) return refuse(NotifyType::no_proposal_chosen);
    auto secret = generated->shared_secret(parsed->key_exchange->public_value);
    if (!secret) return refuse(NotifyType::invalid_syntax);
    ours.emplace(std::move(*generated));
    shared.emplace(std::move(*secret));
  }
  const auto& remote_policy = old != nullptr ? old->remote : remote_policy_;
  const auto& local_policy = old != nullptr ? old->local : local_policy_;
  ChildSpec spec;
  spec.remote = packet::narrow(parsed->initiator_selectors, remote_policy);
  spec.local = packet::narrow(parsed->responder_selectors, local_policy);
  if (spec.remote.empty() || spec.local.empty()) return refuse(NotifyType::ts_unacceptable);

  spec.inbound = SpiLease{spis_, spis_.allocate_esp(random_, share_)};
  const auto nonce = make_nonce();
  auto answer = chosen->answer;
  answer.spi = spi_octets(spec.inbound.get());
  ChainBuilder chain;
  add_sa(chain, std::span{&answer, 1});
  add_nonce(chain, nonce);
  if (ours) add_key_exchange(chain, wire_id(*chosen->suite.key_exchange), ours->public_value());
  add_traffic_selectors(chain, PayloadType::ts_initiator, spec.remote);
  add_traffic_selectors(chain, PayloadType::ts_responder, spec.local);
  respond(sa, ExchangeType::create_child_sa, chain, path);

  spec.outbound = chosen->spi;
  spec.suite = chosen->suite;
  if (old != nullptr) {
    spec.family = old->family;
    spec.replaces = old->inbound.get();
    // The peer starts to use the new SA when our answer arrives; until its first packet we keep to the old one.
    spec.use_outbound = false;
  }
  auto keys = derive_child_keys(sa.keys, spec.suite.encryption, shared ? &*shared : nullptr, {parsed->nonce, nonce});
  const auto& child = install_child(std::move(spec), std::move(keys), false, now);
  if (old == nullptr) return;

  auto* outstanding = std::get_if<ChildRequest>(&sa.request);
  if (outstanding != nullptr && outstanding->rekeys == old->inbound.get()) {
    // RFC 7296 §2.8.1: both are rekeying the same SA; the answer to ours decides which one stays.
    outstanding->collision = ChildCollision{child.inbound.get(), std::min(to_bytes(parsed->nonce), nonce)};
    return;
  }
  old->state.enter(ChildState::replaced);
  old->rekey_at.reset();
  old->stale_at = now + config_->timers.stale_sa;
}

void SessionCore::process_child_response(IkeSa& sa, ChildRequest request, OpenedMessage& message, Instant now) {
  const auto parsed = parse_negotiation(message.payloads);
  const bool complete = parsed && !parsed->proposals.empty() && !parsed->nonce.empty();
  if (const auto error = find_error(message.payloads); error && !complete) {
    return child_refused(request, *error, now);
  }
  const auto chosen = complete ? accept_esp(request.offered, parsed->proposals) : std::nullopt;
  std::optional<Secret> shared;
  const auto reject = [&](NotifyType why) {
    // The peer has installed what we cannot use: take it back (§1.3.1).
    if (chosen) queue({TaskKind::delete_child, request.inbound.get()});
    NotifyView error{ProtocolId::none, why, {}, {}};
    child_refused(request, error, now);
  };
  if (!chosen || !is_narrowing(parsed->initiator_selectors, request.local) ||
      !is_narrowing(parsed->responder_selectors, request.remote)) {
    return reject(NotifyType::invalid_syntax);
  }
  if (chosen->suite.key_exchange) {
    if (!parsed->key_exchange || !request.key_exchange ||
        parsed->key_exchange->method != wire_id(*chosen->suite.key_exchange) ||
        request.key_exchange->method() != *chosen->suite.key_exchange) {
      return reject(NotifyType::invalid_syntax);
    }
    auto secret = request.key_exchange->shared_secret(parsed->key_exchange->public_value);
    if (!secret) return reject(NotifyType::invalid_syntax);
    shared.emplace(std::move(*secret));
  }

  auto* old = request.rekeys ? find_child(*request.rekeys) : nullptr;
  const auto& early = request.deleted_early;
  if (std::find(early.begin(), early.end(), chosen->spi) != early.end()) {
    // The peer made it, deleted it again, and only now does its first answer get through.
    NotifyView gone{ProtocolId::none, NotifyType::temporary_failure, {}, {}};
    return child_refused(request, gone, now);
  }
  if (request.collision) {
    auto* rival = find_child(request.collision->inbound);
    // RFC 7296 §2.8.1: the SA with the lowest of the four nonces goes; its initiator deletes it.
    const bool ours_loses = std::min(request.nonce, to_bytes(parsed->nonce)) < request.collision->lowest_nonce;
    if (ours_loses) {
      queue({TaskKind::delete_child, request.inbound.get()});
      doomed_.push_back(std::move(request.inbound));
      if (old != nullptr) {
        old->state.enter(ChildState::replaced);
        old->rekey_at.reset();
        old->stale_at = now + config_->timers.stale_sa;
      }
      return;
    }
    if (rival != nullptr && !rival->state.is(ChildState::replaced)) {  // a hasty peer has rekeyed it already
      rival->state.enter(ChildState::replaced);
      rival->rekey_at.reset();
      rival->stale_at = now + config_->timers.stale_sa;
    }
  }
  ChildSpec spec;
  spec.inbound = std::move(request.inbound);
  spec.outbound = chosen->spi;
  spec.suite = chosen->suite;
  spec.local = parsed->initiator_selectors;
  spec.remote = parsed->responder_selectors;
  spec.family = request.family;
  spec.replaces = request.rekeys;
  auto keys =
      derive_child_keys(sa.keys, spec.suite.encryption, shared ? &*shared : nullptr, {request.nonce, parsed->nonce});
  install_child(std::move(spec), std::move(keys), true, now);
  if (old != nullptr) {
    old->state.enter(ChildState::replaced);
    old->rekey_at.reset();
    queue({TaskKind::delete_child, old->inbound.get()});
  }
}

void SessionCore::child_refused(ChildRequest& request, NotifyView error, Instant now) {
  auto* old = request.rekeys ? find_child(*request.rekeys) : nullptr;
  if (old != nullptr && old->state.is(ChildState::rekeying)) {
    const auto* rival = request.collision ? find_child(request.collision->inbound) : nullptr;
    if (rival != nullptr) {  // the peer's rekey stands
      old->state.enter(ChildState::replaced);
      old->rekey_at.reset();
      old->stale_at = now + config_->timers.stale_sa;
      return;
    }
    old->state.enter(ChildState::installed);
  }
  if (request.rekeys && old == nullptr) return;  // deleted meanwhile; nothing is left to rekey

  const Task again{old != nullptr ? TaskKind::rekey_child : TaskKind::create_child,
                   old != nullptr ? old->inbound.get() : Spi{}, std::nullopt, request.refusals + 1};
  switch (error.type) {
    case NotifyType::invalid_ke_payload: {
      const auto wanted = wanted_key_exchange(error);
      const auto method = wanted ? supported_key_exchange(*wanted) : std::nullopt;
      if (method && request.refusals < kMaxRefusals && offers_key_exchange(request.offered, *wanted)) {
        auto retry = again;
        retry.key_exchange = method;
        return queue(retry);
      }
      break;
    }
    case NotifyType::temporary_failure:
      if (old == nullptr && request.refusals < kMaxDelays) {
        auto retry = again;
        retry.not_before = now + jittered(config_->timers.rekey_retry);
        return queue(retry);
      }
      break;
    case NotifyType::child_sa_not_found:
      if (old != nullptr) {
        // RFC 7296 §2.25.1: the peer has it no more, and neither have we; start from scratch.
        const bool replaced = successor(*old) != nullptr;
        retire_child(*old, now);
        if (!replaced && role_ == Role::initiator) queue({TaskKind::create_child, Spi{}});
        return;
      }
      break;
    default: break;
  }
  if (old == nullptr) {
    emit(ChildFailed{error.type, true});
    return;
  }
  old->rekey_at = now + jittered(old->retry);
  old->retry = std::min(old->retry * 2, config_->timers.rekey_retry_cap);
}

}  // namespace switchback::ike
