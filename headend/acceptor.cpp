#include "headend/acceptor.h"

#include <string_view>

namespace switchback::headend {
namespace {

constexpr std::chrono::seconds kRemembered{60};

}  // namespace

Acceptor::Key Acceptor::key_of(ByteView datagram, const AddressPair& path) noexcept {
  return {path.remote, std::hash<std::string_view>{}(as_text(datagram))};
}

Acceptor::Decision Acceptor::decide(ByteView datagram, const AddressPair& path, Instant now) {
  forget_old(now);
  if (const auto found = by_key_.find(key_of(datagram, path)); found != by_key_.end()) {
    ++counters_.duplicates;
    return Duplicate{found->second};
  }
  const auto from = half_open_from_.find(path.remote.address);
  const ike::GateLoad load{half_open_, from == half_open_from_.end() ? 0 : from->second};
  auto decision = gate_.decide(datagram, path, load, now);
  switch (decision.verdict) {
    case ike::GateVerdict::create: return Create{};
    case ike::GateVerdict::reply: ++counters_.replies; return Reply{std::move(decision.reply)};
    case ike::GateVerdict::drop: break;
  }
  ++counters_.dropped;
  return Drop{};
}

void Acceptor::opened(SessionTag session, ByteView datagram, const AddressPair& path) {
  const auto key = key_of(datagram, path);
  by_key_.emplace(key, session);
  entries_.emplace(session, Entry{key, true});
  ++half_open_;
  ++half_open_from_[path.remote.address];
  ++counters_.created;
}

void Acceptor::no_longer_half_open(Entry& entry) {
  if (!entry.half_open) return;
  entry.half_open = false;
  --half_open_;
  const auto from = half_open_from_.find(entry.key.remote.address);
  if (--from->second == 0) half_open_from_.erase(from);
}

void Acceptor::established(SessionTag session, Instant now) {
  const auto found = entries_.find(session);
  if (found == entries_.end() || !found->second.half_open) return;
  no_longer_half_open(found->second);
  remembered_.emplace_back(now + kRemembered, session);
}

void Acceptor::closed(SessionTag session) {
  const auto found = entries_.find(session);
  if (found == entries_.end()) return;
  no_longer_half_open(found->second);
  if (const auto key = by_key_.find(found->second.key); key != by_key_.end() && key->second == session) {
    by_key_.erase(key);
  }
  entries_.erase(found);
}

void Acceptor::forget_old(Instant now) {
  while (!remembered_.empty() && remembered_.front().first <= now) {
    closed(remembered_.front().second);
    remembered_.pop_front();
  }
}

}  // namespace switchback::headend
