// The other end of the selector: which paths a headend sends on, from what the client claims about them. Authentic
// claims only; the SA has seen to that.
#pragma once

#include <cstdint>
#include <optional>

#include "common/path/control.h"
#include "common/path/types.h"

namespace switchback::path {

class Follower {
 public:
  /// A probe or a report came by `path`. Returns whether the choice changed. Claims overtaken by newer ones are
  /// ignored, so a message that was late on the old path does not bring it back.
  bool handle_claim(PathId path, const Claim& claim) noexcept {
    if (claim.decision < decision_) return false;
    const auto before = *this;
    if (claim.decision > decision_) {
      decision_ = claim.decision;
      twin_.reset();  // each decision names its twin anew
    }
    switch (claim.role) {
      case Role::in_use:
        in_use_ = path;
        if (twin_ == path) twin_.reset();
        break;
      case Role::twin:
        if (in_use_ != path) twin_ = path;
        break;
      case Role::standby: break;
    }
    return before.in_use_ != in_use_ || before.twin_ != twin_;
  }
  /// The path does not exist any more. What was sent on it alone has nowhere to go until the next claim.
  void handle_closed(PathId path) noexcept {
    if (twin_ == path) twin_.reset();
    if (in_use_ != path) return;
    in_use_ = twin_;
    twin_.reset();
  }

  [[nodiscard]] std::optional<PathId> in_use() const noexcept { return in_use_; }
  [[nodiscard]] std::optional<PathId> twin() const noexcept { return twin_; }
  /// For ProbeAnswer::decision.
  [[nodiscard]] std::uint32_t decision() const noexcept { return decision_; }

 private:
  std::uint32_t decision_ = 0;
  std::optional<PathId> in_use_, twin_;
};

}  // namespace switchback::path
