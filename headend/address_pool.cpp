#include "headend/address_pool.h"

#include <algorithm>
#include <cassert>

namespace switchback::headend {
namespace {

constexpr std::uint64_t kMaxAddresses = std::uint64_t{1} << 20U;
constexpr std::uint64_t kFirstClient = 2;  // 0 is the network (or anycast) address, 1 the headend's

}  // namespace

bool AddressPool::usable(const IpPrefix& prefix) noexcept {
  return !prefix.address.empty() && prefix.length + 2U <= prefix.address.bits();
}

AddressPool::AddressPool(const IpPrefix& prefix) : prefix_{prefix.first(), prefix.length} {
  assert(usable(prefix));
  const auto host_bits = prefix.address.bits() - prefix.length;
  const auto size = host_bits >= 20 ? kMaxAddresses : std::uint64_t{1} << host_bits;
  const bool has_broadcast = prefix.address.is_v4() && host_bits <= 20;
  capacity_ = size - kFirstClient - (has_broadcast ? 1 : 0);
}

IpAddress AddressPool::gateway() const noexcept { return prefix_.address.plus(1); }

IpAddress AddressPool::at(std::uint64_t index) const noexcept { return prefix_.address.plus(index + kFirstClient); }

std::optional<std::uint64_t> AddressPool::index_of(const IpAddress& address) const noexcept {
  if (!prefix_.contains(address)) return std::nullopt;
  // Only the low 32 bits can differ within the addresses that are used; plus() proves the others.
  const auto low = load_be<std::uint32_t>(address.bytes().last(4).data());
  const auto base = load_be<std::uint32_t>(prefix_.address.bytes().last(4).data());
  const std::uint64_t offset = low - base;
  if (low < base || offset < kFirstClient || offset - kFirstClient >= capacity_) return std::nullopt;
  if (prefix_.address.plus(offset) != address) return std::nullopt;
  return offset - kFirstClient;
}

void AddressPool::insert_idle(std::uint64_t index, UserId user) {
  const auto place = idle_.insert(idle_.end(), index);
  entries_.emplace(index, Entry{user, false, false, place});
  of_user_[user].push_back(index);
}

bool AddressPool::restore(const IpAddress& address, UserId user) {
  const auto index = index_of(address);
  if (!index || entries_.count(*index) != 0) return false;
  insert_idle(*index, user);
  return true;
}

void AddressPool::take(Entry& entry) {
  idle_.erase(entry.idle);
  entry.used = true;
  ++in_use_;
}

void AddressPool::erase(std::uint64_t index) {
  const auto found = entries_.find(index);
  const auto user = found->second.user;
  auto& list = of_user_[user];
  list.erase(std::find(list.begin(), list.end(), index));
  if (list.empty()) of_user_.erase(user);
  if (found->second.used) {
    --in_use_;
  } else {
    idle_.erase(found->second.idle);
  }
  entries_.erase(found);
}

std::optional<AddressPool::Lease> AddressPool::allocate(UserId user, const IpAddress& preferred) {
  const auto fresh = [&](std::uint64_t index, std::optional<UserId> evicted) {
    insert_idle(index, user);
    take(entries_.at(index));
    return Lease{at(index), true, evicted};
  };

  if (const auto index = index_of(preferred)) {
    const auto found = entries_.find(*index);
    if (found == entries_.end()) {
      // It may stand in given_up_ or lie above next_; both are passed over later because the entry exists.
      return fresh(*index, std::nullopt);
    }
    if (found->second.user == user && !found->second.used) {
      take(found->second);
      return Lease{at(*index), false, std::nullopt};
    }
  }
  if (const auto own = of_user_.find(user); own != of_user_.end()) {
    for (const auto index : own->second) {
      if (auto& entry = entries_.at(index); !entry.used) {
        take(entry);
        return Lease{at(index), false, std::nullopt};
      }
    }
  }
  while (!given_up_.empty()) {
    const auto index = given_up_.back();
    given_up_.pop_back();
    if (entries_.count(index) == 0) return fresh(index, std::nullopt);
  }
  while (next_ < capacity_) {
    const auto index = next_++;
    if (entries_.count(index) == 0) return fresh(index, std::nullopt);
  }
  if (idle_.empty()) return std::nullopt;
  const auto oldest = idle_.front();
  const auto evicted = entries_.at(oldest).user;
  erase(oldest);
  return fresh(oldest, evicted);
}

void AddressPool::release(const IpAddress& address) {
  const auto index = index_of(address);
  if (!index) return;
  const auto found = entries_.find(*index);
  if (found == entries_.end() || !found->second.used) return;
  if (found->second.forgotten) {
    erase(*index);
    given_up_.push_back(*index);
    return;
  }
  found->second.used = false;
  found->second.idle = idle_.insert(idle_.end(), *index);
  --in_use_;
}

void AddressPool::forget(UserId user) {
  const auto own = of_user_.find(user);
  if (own == of_user_.end()) return;
  for (const auto index : std::vector{own->second}) {
    if (auto& entry = entries_.at(index); entry.used) {
      entry.forgotten = true;
    } else {
      erase(index);
      given_up_.push_back(index);
    }
  }
}

}  // namespace switchback::headend
