#include "headend/authorizer.h"

#include <algorithm>

#include "common/base/log.h"

namespace switchback::headend {
namespace {

/// The store's failures do not stop the headend: they are told and the session goes on without what was to be stored.
void report(const Result<void, UserError>& result) {
  if (!result) log::error("store_failed", {{"detail", result.error().message}});
}

}  // namespace

Authorizer::Authorizer(std::shared_ptr<const Config> config, Store& store)
    : config_{std::move(config)}, store_{&store} {
  if (config_->pool) pool4_.emplace(*config_->pool);
  if (config_->pool6) pool6_.emplace(*config_->pool6);
}

Result<Authorizer, UserError> Authorizer::create(std::shared_ptr<const Config> config, Store& store) {
  Authorizer made{std::move(config), store};
  SB_TRY(const auto leases, store.leases());
  std::vector<IpAddress> foreign;
  for (const auto& lease : leases) {
    auto& pool = lease.address.is_v4() ? made.pool4_ : made.pool6_;
    if (!pool || !pool->restore(lease.address, lease.user)) foreign.push_back(lease.address);
  }
  if (!foreign.empty()) SB_CHECK(store.forget_leases(foreign));
  return made;
}

Admission Authorizer::identify(const ike::AuthorizationNeeded& peer) {
  Admission admission;
  admission.name = peer.peer.to_string();
  const auto refused = [&](std::string why) {
    admission.refusal = std::move(why);
    return admission;
  };
  if (!peer.certificate_sha256.empty()) {
    const auto owner = store_->certificate_owner(peer.certificate_sha256);
    if (!owner) return refused(owner.error().message);
    if (!*owner) return refused("this certificate is not in the database, though our CA issued it");
    if ((*owner)->revoked) return refused("the user was removed");
    admission.name = (*owner)->name;
    admission.user = (*owner)->user;
    return admission;
  }
  const auto user = store_->find_user(admission.name);
  if (!user) return refused(user.error().message);
  if (!*user || (*user)->credential != Credential::pre_shared_key) return refused("no such user with a pre-shared key");
  admission.name = (*user)->name;
  admission.user = (*user)->id;
  return admission;
}

std::optional<IpAddress> Authorizer::lease(std::optional<AddressPool>& pool, UserId user, const IpAddress& preferred,
                                           WallTime now) {
  if (!pool) return std::nullopt;
  const auto lease = pool->allocate(user, preferred);
  if (!lease) {
    log::warning("pool_exhausted", {{"pool", pool->prefix()}, {"in_use", pool->in_use()}});
    return std::nullopt;
  }
  // An evicted reservation has the same address, so its row is replaced.
  if (lease->fresh) report(store_->remember_lease(lease->address, user, now));
  return lease->address;
}

void Authorizer::grant(Admission& admission, const std::optional<ike::NetworkRequest>& request, WallTime now) {
  auto& answer = admission.answer;
  answer.granted = true;
  auto& network = answer.network;
  if (request) {
    const auto user = admission.user.value();
    if (request->ipv4) {
      if (const auto address = lease(pool4_, user, request->preferred_v4, now)) admission.leases.push_back(*address);
    }
    if (request->ipv6) {
      if (const auto address = lease(pool6_, user, request->preferred_v6, now)) admission.leases.push_back(*address);
    }
  }
  if (admission.leases.empty()) {
    // RFC 7296 §3.15.4: INTERNAL_ADDRESS_FAILURE. A peer that asks for no address has none to be routed to.
    answer.address_failure = true;
    return;
  }
  std::vector<IpPrefix> reachable;
  const auto reach = [&](const IpPrefix& prefix) {
    const auto covers = [&](const IpPrefix& other) {
      return other.length <= prefix.length && other.contains(prefix.first());
    };
    if (std::none_of(reachable.begin(), reachable.end(), covers)) reachable.push_back({prefix.first(), prefix.length});
  };
  for (const auto& address : admission.leases) {
    network.addresses.push_back(IpPrefix::host(address));
    answer.remote_selectors.push_back(packet::from_host(address));
    for (const auto& route : config_->routes) {
      if (route.address.family() == address.family()) reach(route);
    }
    // The headend itself and the name servers can be reached even in a split tunnel that leaves them out.
    reach(IpPrefix::host((address.is_v4() ? pool4_ : pool6_)->gateway()));
    for (const auto& server : config_->dns) {
      if (server.family() != address.family()) continue;
      network.dns.push_back(server);
      reach(IpPrefix::host(server));
    }
  }
  answer.local_selectors = packet::from_prefixes(reachable);
  const bool everything =
      std::any_of(reachable.begin(), reachable.end(), [](const IpPrefix& prefix) { return prefix.length == 0; });
  if (!everything) network.subnets = std::move(reachable);
  network.search_domains = config_->search_domains;
}

void Authorizer::release(const std::vector<IpAddress>& leases, WallTime now) {
  for (const auto& address : leases) {
    auto& pool = address.is_v4() ? pool4_ : pool6_;
    if (!pool) continue;
    pool->release(address);
    report(store_->touch_lease(address, now));
  }
}

void Authorizer::forget(UserId user) {
  if (pool4_) pool4_->forget(user);
  if (pool6_) pool6_->forget(user);
}

}  // namespace switchback::headend
