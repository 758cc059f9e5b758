#include "common/ike/states.h"

namespace switchback::ike {

std::string_view to_string(SessionState state) noexcept {
  switch (state) {
    case SessionState::idle: return "idle";
    case SessionState::init_sent: return "init_sent";
    case SessionState::init_answered: return "init_answered";
    case SessionState::waiting: return "waiting";
    case SessionState::auth_sent: return "auth_sent";
    case SessionState::authorizing: return "authorizing";
    case SessionState::established: return "established";
    case SessionState::closing: return "closing";
    case SessionState::closed: return "closed";
  }
  return "unknown";
}

std::string_view to_string(IkeSaState state) noexcept {
  switch (state) {
    case IkeSaState::negotiating: return "negotiating";
    case IkeSaState::active: return "active";
    case IkeSaState::standby: return "standby";
    case IkeSaState::replaced: return "replaced";
    case IkeSaState::deleting: return "deleting";
    case IkeSaState::gone: return "gone";
  }
  return "unknown";
}

std::string_view to_string(ChildState state) noexcept {
  switch (state) {
    case ChildState::installed: return "installed";
    case ChildState::rekeying: return "rekeying";
    case ChildState::replaced: return "replaced";
    case ChildState::deleting: return "deleting";
    case ChildState::lingering: return "lingering";
    case ChildState::gone: return "gone";
  }
  return "unknown";
}

}  // namespace switchback::ike
