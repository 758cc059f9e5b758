#include "headend/session_table.h"

#include <algorithm>
#include <cassert>

namespace switchback::headend {

SessionTag SessionTable::open() {
  const SessionTag tag{++last_tag_};
  sessions_.emplace(tag, Entry{});
  return tag;
}

void SessionTable::close(SessionTag session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  for (const auto spi : found->second.spis) spis_.erase(spi);
  if (const auto user = found->second.user) {
    auto& list = users_[*user];
    list.erase(std::remove(list.begin(), list.end(), session), list.end());
    if (list.empty()) users_.erase(*user);
  }
  sessions_.erase(found);
}

void SessionTable::add_spi(SessionTag session, IkeSpi own) {
  const auto found = sessions_.find(session);
  assert(found != sessions_.end());
  if (spis_.emplace(own, session).second) found->second.spis.push_back(own);
}

void SessionTable::remove_spi(IkeSpi own) {
  const auto found = spis_.find(own);
  if (found == spis_.end()) return;
  auto& list = sessions_.at(found->second).spis;
  list.erase(std::remove(list.begin(), list.end(), own), list.end());
  spis_.erase(found);
}

std::optional<SessionTag> SessionTable::by_spi(IkeSpi own) const {
  const auto found = spis_.find(own);
  if (found == spis_.end()) return std::nullopt;
  return found->second;
}

void SessionTable::set_user(SessionTag session, UserId user) {
  auto& entry = sessions_.at(session);
  assert(!entry.user);
  entry.user = user;
  users_[user].push_back(session);
}

std::optional<UserId> SessionTable::user_of(SessionTag session) const {
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? std::nullopt : found->second.user;
}

std::vector<SessionTag> SessionTable::of_user(UserId user) const {
  const auto found = users_.find(user);
  return found == users_.end() ? std::vector<SessionTag>{} : found->second;
}

std::optional<IkeSpi> own_spi(ByteView datagram) noexcept {
  constexpr std::size_t kHeader = 28;
  constexpr std::size_t kFlags = 19;
  constexpr std::uint8_t kInitiator = 0x08;  // RFC 7296 §3.1
  if (datagram.size() < kHeader) return std::nullopt;
  const bool from_initiator = (datagram[kFlags] & kInitiator) != 0;
  return IkeSpi{load_be<std::uint64_t>(datagram.data() + (from_initiator ? 8 : 0))};
}

}  // namespace switchback::headend
