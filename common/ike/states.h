// The states of a session, of each IKE SA and of each Child SA, and which may follow which. docs/ike-states.md draws
// these tables; a test keeps the two alike.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "common/base/state_table.h"

namespace switchback::ike {

/// The session as a whole.
enum class SessionState : std::uint8_t {
  idle,           // constructed
  init_sent,      // initiator: IKE_SA_INIT asked
  init_answered,  // responder: IKE_SA_INIT answered, IKE_AUTH awaited
  waiting,        // initiator: IKE_SA_INIT was answered, the shell has not said yet that IKE_AUTH goes here
  auth_sent,      // initiator: IKE_AUTH asked
  authorizing,    // responder: the peer is authentic, the shell decides what it gets
  established,
  closing,  // our DELETE of the IKE SA is under way
  closed,
};

/// One IKE SA of the session. A session has several while it rekeys.
enum class IkeSaState : std::uint8_t {
  negotiating,  // keys not proven yet
  active,       // the one that new requests go out on
  standby,      // made by a rekey that collides with another; lives or dies when the collision is decided
  replaced,     // rekeyed; waits for its deletion by whoever rekeyed it
  deleting,     // our DELETE is under way
  gone,
};

/// One Child SA pair.
enum class ChildState : std::uint8_t {
  installed,  // carries traffic
  rekeying,   // our rekey request is under way; still carries traffic
  replaced,   // a successor is installed; waits for its deletion
  deleting,   // our DELETE is under way
  lingering,  // deleted for IKE; its inbound side receives what was under way
  gone,
};

inline constexpr std::array kSessionTransitions{
    Transition{SessionState::idle, SessionState::init_sent},
    Transition{SessionState::idle, SessionState::init_answered},
    Transition{SessionState::idle, SessionState::closed},
    Transition{SessionState::init_sent, SessionState::auth_sent},
    Transition{SessionState::init_sent, SessionState::waiting},
    Transition{SessionState::init_sent, SessionState::closed},
    Transition{SessionState::waiting, SessionState::auth_sent},
    Transition{SessionState::waiting, SessionState::closed},
    Transition{SessionState::init_answered, SessionState::authorizing},
    Transition{SessionState::init_answered, SessionState::closed},
    Transition{SessionState::auth_sent, SessionState::established},
    Transition{SessionState::auth_sent, SessionState::closed},
    Transition{SessionState::authorizing, SessionState::established},
    Transition{SessionState::authorizing, SessionState::closed},
    Transition{SessionState::established, SessionState::closing},
    Transition{SessionState::established, SessionState::closed},
    Transition{SessionState::closing, SessionState::closed},
};

inline constexpr std::array kIkeSaTransitions{
    Transition{IkeSaState::negotiating, IkeSaState::active}, Transition{IkeSaState::negotiating, IkeSaState::standby},
    Transition{IkeSaState::negotiating, IkeSaState::gone},   Transition{IkeSaState::active, IkeSaState::replaced},
    Transition{IkeSaState::active, IkeSaState::deleting},    Transition{IkeSaState::active, IkeSaState::gone},
    Transition{IkeSaState::standby, IkeSaState::active},     Transition{IkeSaState::standby, IkeSaState::deleting},
    Transition{IkeSaState::standby, IkeSaState::replaced},   Transition{IkeSaState::standby, IkeSaState::gone},
    Transition{IkeSaState::replaced, IkeSaState::deleting},  Transition{IkeSaState::replaced, IkeSaState::gone},
    Transition{IkeSaState::deleting, IkeSaState::gone},
};

inline constexpr std::array kChildTransitions{
    Transition{ChildState::installed, ChildState::rekeying}, Transition{ChildState::installed, ChildState::replaced},
    Transition{ChildState::installed, ChildState::deleting}, Transition{ChildState::installed, ChildState::lingering},
    Transition{ChildState::installed, ChildState::gone},     Transition{ChildState::rekeying, ChildState::installed},
    Transition{ChildState::rekeying, ChildState::replaced},  Transition{ChildState::rekeying, ChildState::deleting},
    Transition{ChildState::rekeying, ChildState::lingering}, Transition{ChildState::rekeying, ChildState::gone},
    Transition{ChildState::replaced, ChildState::deleting},  Transition{ChildState::replaced, ChildState::lingering},
    Transition{ChildState::replaced, ChildState::gone},      Transition{ChildState::deleting, ChildState::lingering},
    Transition{ChildState::deleting, ChildState::gone},      Transition{ChildState::lingering, ChildState::gone},
};

[[nodiscard]] constexpr bool may_follow(SessionState from, SessionState to) noexcept {
  return allowed(kSessionTransitions, from, to);
}
[[nodiscard]] constexpr bool may_follow(IkeSaState from, IkeSaState to) noexcept {
  return allowed(kIkeSaTransitions, from, to);
}
[[nodiscard]] constexpr bool may_follow(ChildState from, ChildState to) noexcept {
  return allowed(kChildTransitions, from, to);
}

[[nodiscard]] std::string_view to_string(SessionState state) noexcept;
[[nodiscard]] std::string_view to_string(IkeSaState state) noexcept;
[[nodiscard]] std::string_view to_string(ChildState state) noexcept;

}  // namespace switchback::ike
