#include "common/ike/session_core.h"

#include <algorithm>

#include "common/ike/fragment.h"
#include "common/ike/payload_ke.h"

namespace switchback::ike {

Spi SpiRegistry::allocate_esp(RandomSource& random, const SpiShare& share) {
  for (;;) {
    const auto drawn = public_random<std::uint32_t>(random);
    // Near the largest number the sum begins again at 0, which is refused below.
    const Spi spi{drawn - drawn % share.of + share.number};
    if (spi.value >= 256 && esp_.insert(spi).second) return spi;
  }
}

IkeSpi SpiRegistry::allocate_ike(RandomSource& random) {
  for (;;) {
    const IkeSpi spi{public_random<std::uint64_t>(random)};
    if (spi.value != 0 && ike_.insert(spi).second) return spi;
  }
}

std::string_view to_string(CloseReason reason) noexcept {
  switch (reason) {
    case CloseReason::requested: return "requested";
    case CloseReason::peer_deleted: return "peer_deleted";
    case CloseReason::timeout: return "timeout";
    case CloseReason::authentication_failed: return "authentication_failed";
    case CloseReason::no_proposal_chosen: return "no_proposal_chosen";
    case CloseReason::refused: return "refused";
    case CloseReason::protocol_error: return "protocol_error";
    case CloseReason::expired: return "expired";
    case CloseReason::replaced: return "replaced";
  }
  return "unknown";
}

SessionCore::SessionCore(Role role, std::shared_ptr<const SessionConfig> config, Environment environment)
    : role_{role},
      config_{std::move(config)},
      random_{environment.random},
      spis_{environment.spis},
      share_{environment.share} {}

Header SessionCore::header(const IkeSa& sa, ExchangeType exchange, bool response, MessageId id) const {
  Header h;
  h.initiator_spi = sa.initiator;
  h.responder_spi = sa.responder;
  h.exchange = exchange;
  h.from_initiator = sa.we_are_initiator;
  h.response = response;
  h.message_id = id;
  return h;
}

std::vector<Bytes> SessionCore::protect(IkeSa& sa, ExchangeType exchange, bool response, MessageId id,
                                        const ChainBuilder& chain) {
  const auto h = header(sa, exchange, response, id);
  if (config_->fragmentation && peer_fragmentation_) {
    // Room for the non-ESP marker is kept whether this path has one or not: a session may move between ports.
    const auto most = max_message_octets(config_->fragment_ip_octets, path_.remote.address.family(), true);
    return sa.sealer->seal(h, chain, most);
  }
  std::vector<Bytes> one;
  one.push_back(sa.sealer->seal(h, chain));
  return one;
}

void SessionCore::transmit(const std::vector<Bytes>& datagrams, const AddressPair& path) {
  for (const auto& datagram : datagrams) out_.push_back({path, datagram});
}

AddressPair SessionCore::request_path(const IkeSa& sa) const {
  if (const auto* check = std::get_if<PathCheckRequest>(&sa.request)) return check->candidate;
  return path_;
}

void SessionCore::ask(IkeSa& sa, ExchangeType exchange, const ChainBuilder& chain, Request request,
                      const RetransmitPolicy& policy, Instant now) {
  if (sa.send.exhausted()) {  // RFC 7296 §2.2: IDs must not wrap; the rekey at the threshold below has failed
    finish(CloseReason::expired, "message IDs used up");
    return;
  }
  sa.request = std::move(request);
  sa.asked = exchange;
  sa.send.open(protect(sa, exchange, false, sa.send.next_id(), chain), policy, random_, now);
  transmit(sa.send.datagrams(), request_path(sa));
}

void SessionCore::respond(IkeSa& sa, ExchangeType exchange, const ChainBuilder& chain, const AddressPair& path) {
  const MessageId id{sa.receive.expected().value - 1};
  sa.receive.answer(protect(sa, exchange, true, id, chain));
  transmit(sa.receive.response(), path);
}

void SessionCore::respond_error(IkeSa& sa, ExchangeType exchange, NotifyType error, const AddressPair& path,
                                ByteView data) {
  ChainBuilder chain;
  add_notify(chain, error, data);
  respond(sa, exchange, chain, path);
}

void SessionCore::finish(CloseReason reason, std::string detail) {
  if (state_.is(SessionState::closed)) return;
  for (auto& child : children_) {
    if (child->state.is(ChildState::gone)) continue;
    child->state.enter(ChildState::gone);
    emit(ChildRemoved{child->inbound.get(), child->outbound, false});
  }
  for (auto& sa : ikes_) remove_ike(*sa);
  state_.enter(SessionState::closed);
  tasks_.clear();
  held_.reset();
  init_.reset();
  candidate_.reset();
  connect_deadline_.reset();
  constexpr std::size_t kMaxDetail = 200;
  if (detail.size() > kMaxDetail) detail.resize(kMaxDetail);
  for (auto& c : detail) {
    if (c < ' ' || c > '~') c = '?';  // parts of it may come from the peer
  }
  emit(Closed{reason, std::move(detail)});
}

void SessionCore::announce(IkeSa& sa) {
  if (sa.announced) return;
  sa.announced = true;
  emit(IkeSpisAdded{sa.initiator, sa.responder, sa.we_are_initiator});
}

void SessionCore::install_keys(IkeSa& sa, IkeKeys keys) {
  sa.keys = std::move(keys);
  sa.sealer.emplace(sa.we_are_initiator ? sa.keys.sk_ei : sa.keys.sk_er);
  sa.opener.emplace(sa.we_are_initiator ? sa.keys.sk_er : sa.keys.sk_ei);
  if (init_) sa.opener->limit_reassembly(kMaxUnprovenOctets);
  if (config_->keylog) {
    emit(IkeKeylog{sa.initiator, sa.responder, sa.suite.encryption, sa.keys.sk_ei.key_and_salt.clone(),
                   sa.keys.sk_er.key_and_salt.clone()});
  }
}

Duration SessionCore::jittered(Duration full) {
  const double unit = static_cast<double>(public_random<std::uint32_t>(random_)) / 4294967295.0;
  const double share = 1.0 - config_->timers.rekey_jitter * unit;
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double, std::nano>(static_cast<double>(full.count()) * share));
}

void SessionCore::schedule_ike(IkeSa& sa, Instant now) {
  ike_retry_ = config_->timers.rekey_retry;
  sa.rekey_at = now + jittered(config_->timers.ike_rekey);
  sa.expires_at = now + config_->timers.ike_lifetime;
}

void SessionCore::remove_ike(IkeSa& sa) {
  if (sa.state.is(IkeSaState::gone)) return;
  sa.state.enter(IkeSaState::gone);
  if (sa.announced) emit(IkeSpisRemoved{sa.initiator, sa.responder, sa.we_are_initiator});
}

void SessionCore::sweep() {
  std::erase_if(ikes_, [](const auto& sa) { return sa->state.is(IkeSaState::gone); });
  std::erase_if(children_, [](const auto& child) { return child->state.is(ChildState::gone); });
}

IkeSa* SessionCore::find_ike(IkeSpi initiator, IkeSpi responder) noexcept {
  for (auto& sa : ikes_) {
    if (!sa->state.is(IkeSaState::gone) && sa->initiator == initiator && sa->responder == responder) return sa.get();
  }
  return nullptr;
}

IkeSa* SessionCore::find_local_ike(IkeSpi local) noexcept {
  for (auto& sa : ikes_) {
    if (!sa->state.is(IkeSaState::gone) && !sa->remove_at && sa->local_spi() == local) return sa.get();
  }
  return nullptr;
}

IkeSa* SessionCore::active() noexcept {
  for (auto& sa : ikes_) {
    if (sa->state.is(IkeSaState::active)) return sa.get();
  }
  return nullptr;
}

Child* SessionCore::find_child(Spi inbound) noexcept {
  for (auto& child : children_) {
    if (!child->state.any_of(ChildState::gone, ChildState::lingering) && child->inbound.get() == inbound) {
      return child.get();
    }
  }
  return nullptr;
}

Child* SessionCore::find_child_by_outbound(Spi outbound) noexcept {
  for (auto& child : children_) {
    if (!child->state.any_of(ChildState::gone, ChildState::lingering) && child->outbound == outbound) {
      return child.get();
    }
  }
  return nullptr;
}

Bytes SessionCore::make_nonce() {
  Bytes nonce(kNonceOctets);
  random_.public_fill(nonce);
  return nonce;
}

}  // namespace switchback::ike
