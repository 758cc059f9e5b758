// Applies route plans to the system and takes them back.
#pragma once

#include "client/route_plan.h"
#include "client/undo_journal.h"
#include "common/base/result.h"
#include "common/io/netlink.h"

namespace switchback::client {

/// What is applied now, and the way to something else. The journal and netlink outlive it.
class Routes {
 public:
  Routes(io::Netlink& netlink, UndoJournal& journal, unsigned ifindex) noexcept
      : netlink_{netlink}, journal_{journal}, ifindex_{ifindex} {}
  Routes(const Routes&) = delete;
  Routes& operator=(const Routes&) = delete;
  ~Routes() { revert(); }

  /// Changes what differs from the present plan. On an error everything applied so far is taken back.
  [[nodiscard]] Result<void, UserError> apply(const RoutePlan& plan);
  /// Back to nothing.
  void revert();
  [[nodiscard]] const RoutePlan& applied() const noexcept { return applied_; }

 private:
  [[nodiscard]] Result<void, UserError> run(const Change& change);

  io::Netlink& netlink_;
  UndoJournal& journal_;
  unsigned ifindex_;
  RoutePlan applied_;
};

/// One line for people and logs: "route 10.0.0.0/8 into the tunnel".
[[nodiscard]] std::string describe(const Change& change);

}  // namespace switchback::client
