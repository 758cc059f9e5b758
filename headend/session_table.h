// Who is who: our IKE SPIs to sessions, users to their sessions. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/base/strong.h"
#include "headend/address_pool.h"
#include "transports/dataplane/dataplane.h"

namespace switchback::headend {

using transports::SessionTag;

/// Names of sessions and ways to find them; the sessions themselves live with the server. Tags are never used twice.
class SessionTable {
 public:
  [[nodiscard]] SessionTag open();
  /// Forgets the session with all its SPIs and its user.
  void close(SessionTag session);
  [[nodiscard]] bool contains(SessionTag session) const noexcept { return sessions_.count(session) != 0; }
  [[nodiscard]] std::size_t size() const noexcept { return sessions_.size(); }

  /// @param own  our SPI of one of the session's IKE SAs; ike::SpiRegistry keeps them unique among all sessions
  void add_spi(SessionTag session, IkeSpi own);
  void remove_spi(IkeSpi own);
  [[nodiscard]] std::optional<SessionTag> by_spi(IkeSpi own) const;

  /// A session has one user for life. Pre: open, and without a user.
  void set_user(SessionTag session, UserId user);
  [[nodiscard]] std::optional<UserId> user_of(SessionTag session) const;
  /// In the order in which they got their user, the oldest first.
  [[nodiscard]] std::vector<SessionTag> of_user(UserId user) const;
  [[nodiscard]] std::size_t users() const noexcept { return users_.size(); }

 private:
  struct Entry {
    std::vector<IkeSpi> spis;  // one at rest, two while the IKE SA is being rekeyed
    std::optional<UserId> user;
  };
  std::uint64_t last_tag_ = 0;
  std::unordered_map<SessionTag, Entry> sessions_;
  std::unordered_map<IkeSpi, SessionTag> spis_;
  std::unordered_map<UserId, std::vector<SessionTag>> users_;
};

/// Our own SPI of a message's IKE SA: the responder's if the sender is its original initiator, RFC 7296 §3.1.
/// Nothing if the datagram is too short to have a header.
[[nodiscard]] std::optional<IkeSpi> own_spi(ByteView datagram) noexcept;

}  // namespace switchback::headend
