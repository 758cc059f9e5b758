#include "transports/dataplane/path_book.h"

#include <algorithm>

namespace switchback::transports {

PathBook::Added PathBook::add_to(Session& session, const AddressPair& path) {
  auto& paths = session.paths;
  const auto found = std::find_if(paths.begin(), paths.end(), [&](const Entry& entry) { return entry.path == path; });
  if (found != paths.end()) return {found->activity, true, {}};
  Added added{std::make_shared<PathActivity>(), true, {}};
  if (paths.size() == kMaxPaths) {
    const auto oldest = std::find_if(paths.begin(), paths.end(), [&](const Entry& entry) {
      return entry.path != session.in_use && entry.path != session.twin;
    });
    added.evicted = oldest->path;  // there is one: only two are not idle
    paths.erase(oldest);
  }
  paths.push_back({path, added.activity});
  return added;
}

PathBook::Installed PathBook::install(SessionTag session, unsigned worker, const AddressPair& path) {
  auto& known = sessions_[session];
  if (!known.control_waiting) {
    known.control_waiting = std::make_shared<std::atomic<std::uint32_t>>(0);
    known.worker = worker;
  }
  Installed installed{nullptr, known.control_waiting, {}};
  if (!known.in_use) {
    auto added = add_to(known, path);
    known.in_use = path;
    installed.activity = std::move(added.activity);
    installed.evicted = added.evicted;
  }
  return installed;
}

PathBook::Added PathBook::add(SessionTag session, const AddressPair& path) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return {std::make_shared<PathActivity>(), false, {}};
  return add_to(found->second, path);
}

void PathBook::use(SessionTag session, const AddressPair& in_use, const std::optional<AddressPair>& twin) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  found->second.in_use = in_use;
  found->second.twin = twin;
}

void PathBook::remove(SessionTag session, const AddressPair& path) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  auto& known = found->second;
  std::erase_if(known.paths, [&](const Entry& entry) { return entry.path == path; });
  if (known.in_use == path) known.in_use.reset();
  if (known.twin == path) known.twin.reset();
}

void PathBook::control_taken(SessionTag session) noexcept {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  // Messages of an earlier session with this tag were never added here; only this thread takes away.
  auto& waiting = *found->second.control_waiting;
  if (waiting.load(std::memory_order_relaxed) != 0) waiting.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace switchback::transports
