// What the control thread knows of the sessions' paths, so that their counters can be handed out without waiting for a
// packet thread.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "transports/dataplane/dataplane.h"

namespace switchback::transports {

/// The packet threads' slots mirror this: a path gets one here first, and goes from here first.
class PathBook {
 public:
  struct Added {
    std::shared_ptr<PathActivity> activity;  // never empty
    bool recorded = false;                   // false: no such session
    std::optional<AddressPair> evicted;      // the oldest idle one: it went to make room
  };
  struct Installed {
    std::shared_ptr<PathActivity> activity;  // of the first path; empty if the session has one in use
    std::shared_ptr<std::atomic<std::uint32_t>> control_waiting;
    std::optional<AddressPair> evicted;
  };

  /// @param worker  the session's from its first install on
  [[nodiscard]] Installed install(SessionTag session, unsigned worker, const AddressPair& path);
  /// 0 for a session that is not known.
  [[nodiscard]] unsigned worker_of(SessionTag session) const noexcept {
    const auto found = sessions_.find(session);
    return found == sessions_.end() ? 0 : found->second.worker;
  }
  [[nodiscard]] Added add(SessionTag session, const AddressPair& path);
  void use(SessionTag session, const AddressPair& in_use, const std::optional<AddressPair>& twin);
  void remove(SessionTag session, const AddressPair& path);
  void remove_session(SessionTag session) { sessions_.erase(session); }
  /// One of the session's control messages was taken.
  void control_taken(SessionTag session) noexcept;

 private:
  struct Entry {
    AddressPair path;
    std::shared_ptr<PathActivity> activity;
  };
  struct Session {
    std::vector<Entry> paths;  // oldest first
    std::optional<AddressPair> in_use, twin;
    unsigned worker = 0;
    std::shared_ptr<std::atomic<std::uint32_t>> control_waiting;
  };
  [[nodiscard]] static Added add_to(Session& session, const AddressPair& path);

  std::unordered_map<SessionTag, Session> sessions_;
};

}  // namespace switchback::transports
