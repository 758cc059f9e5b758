// Who may come in, and what they get: users and revocations from the store, addresses from the pools.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/ike/session.h"
#include "headend/address_pool.h"
#include "headend/config.h"
#include "headend/store.h"

namespace switchback::headend {

/// The answer to an authenticated peer.
struct Admission {
  std::optional<UserId> user;  // none: refused
  std::string name;            // of the user; what the peer called itself if refused
  std::string refusal;         // for the log, empty if admitted
  ike::Authorization answer;
  std::vector<IpAddress> leases;  // to be given back with release()
};

/// Reads the store at every decision, so a user added or removed a moment ago counts at once. Control thread.
class Authorizer {
 public:
  /// Takes over the reservations of the store; those of other pools than the configured ones are dropped.
  [[nodiscard]] static Result<Authorizer, UserError> create(std::shared_ptr<const Config> config, Store& store);

  /// Routes, DNS and search domains of `config` count from now on; pools stay as they were.
  void reconfigure(std::shared_ptr<const Config> config) { config_ = std::move(config); }

  /// Whom a proof belongs to; the first half of admit(), so that the caller can end older sessions and free their
  /// addresses before new ones are given. `answer.granted` and the addresses are not filled in yet.
  [[nodiscard]] Admission identify(const ike::AuthorizationNeeded& peer);
  /// Grants addresses and networks to an identified user.
  void grant(Admission& admission, const std::optional<ike::NetworkRequest>& request, WallTime now);
  /// The session has ended.
  void release(const std::vector<IpAddress>& leases, WallTime now);
  /// The user was removed: nothing is reserved for them any more.
  void forget(UserId user);

  [[nodiscard]] const std::optional<AddressPool>& pool(IpFamily family) const noexcept {
    return family == IpFamily::v4 ? pool4_ : pool6_;
  }

 private:
  Authorizer(std::shared_ptr<const Config> config, Store& store);
  [[nodiscard]] std::optional<IpAddress> lease(std::optional<AddressPool>& pool, UserId user,
                                               const IpAddress& preferred, WallTime now);

  std::shared_ptr<const Config> config_;
  Store* store_;
  std::optional<AddressPool> pool4_, pool6_;
};

}  // namespace switchback::headend
