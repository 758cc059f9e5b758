// Inner addresses: who holds which, who held which last, and who gets the next one. Pure.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/strong.h"

namespace switchback::headend {

/// A user's row in the store.
using UserId = Strong<std::int64_t, struct UserIdTag>;

/// Leases of one prefix. An address that a session gave back stays reserved to its user until the pool has no address
/// that nobody ever had; then the longest unused reservation goes to whoever asks. All operations take constant time
/// but the first allocation after many restored reservations.
class AddressPool {
 public:
  /// The first host address is the headend's own; the network address, an IPv4 broadcast address and an IPv6
  /// subnet-router anycast address (RFC 4291 §2.6.1) are nobody's. At most 2^20 addresses of a larger prefix are used.
  /// Pre: usable(prefix).
  explicit AddressPool(const IpPrefix& prefix);
  /// Whether a prefix has room for the headend and at least one client: /30 or shorter, /126 or shorter.
  [[nodiscard]] static bool usable(const IpPrefix& prefix) noexcept;

  [[nodiscard]] const IpPrefix& prefix() const noexcept { return prefix_; }
  [[nodiscard]] IpAddress gateway() const noexcept;
  /// Addresses for clients.
  [[nodiscard]] std::uint64_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::uint64_t in_use() const noexcept { return in_use_; }
  [[nodiscard]] std::uint64_t reserved() const noexcept { return entries_.size() - in_use_; }

  /// A reservation from before a restart. Call in the order of last use, the longest unused first. False (and nothing
  /// done) if the address is not one of this pool's or is taken.
  bool restore(const IpAddress& address, UserId user);

  struct Lease {
    IpAddress address;
    bool fresh = false;             // this reservation is new: to be remembered
    std::optional<UserId> evicted;  // whose reservation it was, to be forgotten
  };
  /// For a session that starts. In this order: `preferred`, if it is the user's own or nobody's; another address that
  /// the user had; one that nobody ever had; the longest unused reservation of somebody else. Nothing: exhausted.
  [[nodiscard]] std::optional<Lease> allocate(UserId user, const IpAddress& preferred);
  /// The session has ended: the address stays reserved to its user.
  void release(const IpAddress& address);
  /// The user is gone: reservations that no session uses are given up; those in use are when they are released.
  void forget(UserId user);

 private:
  struct Entry {
    UserId user;
    bool used = false;
    bool forgotten = false;
    std::list<std::uint64_t>::iterator idle;  // place in idle_ unless used
  };

  [[nodiscard]] IpAddress at(std::uint64_t index) const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> index_of(const IpAddress& address) const noexcept;
  void take(Entry& entry);
  void insert_idle(std::uint64_t index, UserId user);
  void erase(std::uint64_t index);

  IpPrefix prefix_;
  std::uint64_t capacity_ = 0;
  std::uint64_t in_use_ = 0;
  std::uint64_t next_ = 0;               // indexes below were all handed out or restored at some time
  std::vector<std::uint64_t> given_up_;  // below next_, nobody's again
  std::unordered_map<std::uint64_t, Entry> entries_;
  std::unordered_map<UserId, std::vector<std::uint64_t>> of_user_;
  std::list<std::uint64_t> idle_;  // reservations without a session, the longest unused first
};

}  // namespace switchback::headend
