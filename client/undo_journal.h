// What has to be undone if this process cannot: written before each change, replayed by the next start after kill -9.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "client/resolv_conf.h"
#include "common/base/result.h"
#include "common/io/netlink.h"

namespace switchback::client {

/// A policy rule of ours. The kernel keeps it when the process is gone.
struct RuleStep {
  io::Rule rule;
  friend bool operator==(const RuleStep&, const RuleStep&) = default;
};
/// A route of ours that does not go away with the TUN: one to nowhere.
struct RouteStep {
  io::Route route;
  friend bool operator==(const RouteStep&, const RouteStep&) = default;
};
/// /etc/resolv.conf was replaced.
struct ResolvConfStep {
  ResolvConfBackup backup;
  friend bool operator==(const ResolvConfStep&, const ResolvConfStep&) = default;
};
using UndoStep = std::variant<RuleStep, RouteStep, ResolvConfStep>;

/// One file for each TUN name, /run/switchback/client-<tun>.undo: JSON, mode 0600, replaced whole (written to a
/// temporary file, fsync, rename), so that it is never half a journal. Gone when there is nothing to undo. The folder
/// is on a file system that a reboot empties, as the kernel's rules are.
class UndoJournal {
 public:
  /// @param directory  created with mode 0700 if it is missing
  UndoJournal(std::string directory, std::string tun);

  /// Steps that were written before; those that are written now come after them. Errors: unreadable or not a journal.
  [[nodiscard]] Result<std::vector<UndoStep>, UserError> read() const;
  /// Adds steps; on disk when this returns. Call before making the change.
  [[nodiscard]] Result<void, UserError> record(const std::vector<UndoStep>& steps);
  /// Removes a step that was undone; the file goes with its last step. Failing leaves it: undoing twice is harmless.
  void forget(const UndoStep& step);
  void clear();

  [[nodiscard]] const std::vector<UndoStep>& steps() const noexcept { return steps_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  [[nodiscard]] Result<void, UserError> write() const;

  std::string directory_, tun_, path_;
  std::vector<UndoStep> steps_;
};

/// The journal's text form; both ways, for tests.
[[nodiscard]] std::string to_json(const std::vector<UndoStep>& steps, const std::string& tun);
[[nodiscard]] Result<std::vector<UndoStep>, UserError> steps_from_json(const std::string& text);

/// Undoes one step, as far as the world is still as that step left it. Errors are logged: the rest goes on.
void undo(const UndoStep& step, io::Netlink& netlink);

/// Undoes, last first, what the journal of `tun` says, and removes it. Its lock must be held.
/// Returns how many steps there were.
[[nodiscard]] Result<std::size_t, UserError> replay_journal(const std::string& directory, const std::string& tun,
                                                            io::Netlink& netlink);
/// The same for every TUN name whose client is not running any more.
void replay_abandoned_journals(const std::string& directory, io::Netlink& netlink);

}  // namespace switchback::client
