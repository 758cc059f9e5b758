// CREATE_CHILD_SA that replaces the IKE SA (RFC 7296 §1.3.2, §2.8.2, §2.18, §2.25.2).
#include <algorithm>

#include "common/ike/exchange_child.h"
#include "common/ike/session_core.h"

namespace switchback::ike {
namespace {

constexpr unsigned kMaxRefusals = 3;

Bytes spi_octets(IkeSpi spi) {
  Bytes octets(8);
  store_be(octets.data(), spi.value);
  return octets;
}

}  // namespace

void SessionCore::send_rekey_ike(IkeSa& sa, const Task& task, Instant now) {
  const auto method = task.key_exchange ? task.key_exchange : std::optional{sa.suite.key_exchange};
  auto generated = crypto::KeyExchange::generate(*method);
  // A peer that rekeyed again and again has to wait: what it deletes is gone in seconds.
  if (!generated || ikes_.size() >= kMaxIkeSas) {
    sa.rekey_at = now + ike_retry_;
    return;
  }
  IkeSpiLease lease{spis_, spis_.allocate_ike(random_)};
  auto offered = offer(config_->ike_proposals, lease.get());
  RekeyIkeRequest request{
      std::move(lease), make_nonce(), std::move(*generated), std::move(offered), task.refusals, std::nullopt, {}};
  ChainBuilder chain;
  add_sa(chain, request.offered);
  add_nonce(chain, request.nonce);
  add_key_exchange(chain, wire_id(*method), request.key_exchange.public_value());
  ask(sa, ExchangeType::create_child_sa, chain, std::move(request), config_->timers.retransmit, now);
}

void SessionCore::process_rekey_ike_request(IkeSa& sa, OpenedMessage& message, const AddressPair& path, Instant now) {
  const auto refuse = [&](NotifyType error) { respond_error(sa, ExchangeType::create_child_sa, error, path); };
  const auto parsed = parse_negotiation(message.payloads);
  if (!parsed || parsed->nonce.empty() || !parsed->key_exchange) return refuse(NotifyType::invalid_syntax);

  // RFC 7296 §2.25.2: not while a Child SA is being made or deleted, nor while this IKE SA is on its way out.
  const bool child_exchange =
      std::holds_alternative<ChildRequest>(sa.request) || std::holds_alternative<DeleteChildRequest>(sa.request);
  const bool another = std::any_of(ikes_.begin(), ikes_.end(), [&](const auto& other) {
    return other.get() != &sa && other->state.is(IkeSaState::standby) && !other->remove_at;
  });
  const std::size_t ours = std::holds_alternative<RekeyIkeRequest>(sa.request) ? 1 : 0;  // that may come of it
  if (!state_.is(SessionState::established) || !sa.state.is(IkeSaState::active) || child_exchange || another ||
      ikes_.size() + ours >= kMaxIkeSas) {
    return refuse(NotifyType::temporary_failure);
  }
  const auto chosen = choose_ike(config_->ike_proposals, parsed->proposals, true);
  if (!chosen || chosen->spi.value == 0) return refuse(NotifyType::no_proposal_chosen);
  const auto wanted = wire_id(chosen->suite.key_exchange);
  if (parsed->key_exchange->method != wanted) {
    ChainBuilder chain;
    add_invalid_ke(chain, wanted);
    return respond(sa, ExchangeType::create_child_sa, chain, path);
  }
  auto generated = crypto::KeyExchange::generate(chosen->suite.key_exchange);
  if (!generated) return refuse(NotifyType::no_proposal_chosen);
  const auto shared = generated->shared_secret(parsed->key_exchange->public_value);
  if (!shared) return refuse(NotifyType::invalid_syntax);

  auto owned = std::make_unique<IkeSa>();
  auto& next = *owned;
  next.we_are_initiator = false;
  next.initiator = chosen->spi;
  next.lease = IkeSpiLease{spis_, spis_.allocate_ike(random_)};
  next.responder = next.lease.get();
  next.suite = chosen->suite;
  const auto nonce = make_nonce();
  const Nonces nonces{parsed->nonce, nonce};

  auto answer = chosen->answer;
  answer.spi = spi_octets(next.responder);
  ChainBuilder chain;
  add_sa(chain, std::span{&answer, 1});
  add_nonce(chain, nonce);
  add_key_exchange(chain, wanted, generated->public_value());
  respond(sa, ExchangeType::create_child_sa, chain, path);

  const auto seed = rekey_skeyseed(sa.keys, *shared, nonces);
  install_keys(next, derive_ike_keys(next.suite, seed, nonces, next.initiator, next.responder));
  announce(next);
  ikes_.push_back(std::move(owned));
  if (auto* outstanding = std::get_if<RekeyIkeRequest>(&sa.request)) {
    // §2.8.2: both rekey; the answer to ours decides. Either may turn out to be the one that stays.
    next.state.enter(IkeSaState::standby);
    next.stale_at = now + config_->timers.stale_sa;
    outstanding->rival = next.local_spi();
    outstanding->rival_nonce = std::min(to_bytes(parsed->nonce), nonce);
    return;
  }
  adopt(next, &sa, now);
}

void SessionCore::adopt(IkeSa& next, IkeSa* previous, Instant now) {
  if (previous != nullptr && previous->state.is(IkeSaState::active)) {
    previous->state.enter(IkeSaState::replaced);
    previous->rekey_at.reset();
    previous->expires_at.reset();
    // Whoever rekeyed deletes it; should that never come, we do.
    previous->stale_at = now + config_->timers.stale_sa;
  }
  next.state.enter(IkeSaState::active);
  next.stale_at.reset();
  schedule_ike(next, now);
  std::erase_if(tasks_, [](const Task& task) { return task.kind == TaskKind::rekey_ike; });
  emit(IkeRekeyed{to_string(next.suite)});
}

void SessionCore::process_rekey_ike_response(IkeSa& sa, RekeyIkeRequest request, OpenedMessage& message, Instant now) {
  const auto parsed = parse_negotiation(message.payloads);
  const bool complete = parsed && !parsed->proposals.empty() && !parsed->nonce.empty() && parsed->key_exchange;
  if (!complete) {
    if (const auto error = find_error(message.payloads); error && error->type == NotifyType::invalid_ke_payload) {
      const auto wanted = wanted_key_exchange(*error);
      const auto method = wanted ? supported_key_exchange(*wanted) : std::nullopt;
      if (method && !request.rival && request.refusals < kMaxRefusals &&
          offers_key_exchange(request.offered, *wanted)) {
        return queue({TaskKind::rekey_ike, Spi{}, method, request.refusals + 1});
      }
    }
    return rekey_failed(sa, request, now);
  }
  const auto chosen = accept_ike(request.offered, parsed->proposals);
  if (!chosen || chosen->spi.value == 0 || parsed->key_exchange->method != wire_id(chosen->suite.key_exchange) ||
      request.key_exchange.method() != chosen->suite.key_exchange) {
    return rekey_failed(sa, request, now);
  }
  const auto shared = request.key_exchange.shared_secret(parsed->key_exchange->public_value);
  if (!shared) return rekey_failed(sa, request, now);

  auto owned = std::make_unique<IkeSa>();
  auto& next = *owned;
  next.we_are_initiator = true;
  next.lease = std::move(request.spi);
  next.initiator = next.lease.get();
  next.responder = chosen->spi;
  next.suite = chosen->suite;
  const Nonces nonces{request.nonce, parsed->nonce};
  const auto seed = rekey_skeyseed(sa.keys, *shared, nonces);
  install_keys(next, derive_ike_keys(next.suite, seed, nonces, next.initiator, next.responder));
  announce(next);
  ikes_.push_back(std::move(owned));

  auto* rival = request.rival ? find_local_ike(*request.rival) : nullptr;
  if (rival != nullptr && std::min(request.nonce, to_bytes(parsed->nonce)) < request.rival_nonce) {
    // RFC 7296 §2.8.2: the one with the lowest nonce is deleted by whoever made it; the other inherits the Child SAs.
    next.state.enter(IkeSaState::standby);
    adopt(*rival, &sa, now);
    send_delete_ike(next, config_->timers.retransmit, now);
    return;
  }
  if (rival != nullptr) rival->stale_at = now + config_->timers.stale_sa;  // the peer deletes it
  adopt(next, &sa, now);
  send_delete_ike(sa, config_->timers.retransmit, now);
}

void SessionCore::rekey_failed(IkeSa& sa, RekeyIkeRequest& request, Instant now) {
  if (auto* rival = request.rival ? find_local_ike(*request.rival) : nullptr) {  // the peer's stands
    adopt(*rival, &sa, now);
    return;
  }
  if (!sa.state.is(IkeSaState::active)) return;
  sa.rekey_at = now + jittered(ike_retry_);
  ike_retry_ = std::min(ike_retry_ * 2, config_->timers.rekey_retry_cap);
}

}  // namespace switchback::ike
