// The receive offload of each interface that a transport's packets come by: numbers, guards, and what is told of them.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "transports/datagram/offload_guard.h"
#include "transports/offload_status.h"

namespace switchback::transports::datagram {

class InterfaceGuards {
 public:
  /// More than that are not looked after.
  static constexpr std::size_t kMost = 31;
  /// A set of interfaces, by bits.
  using Set = std::uint32_t;

  /// packet::Arrival's number of the interface with this index, which is given one if it is new; 0: none.
  [[nodiscard]] std::uint8_t number_of(unsigned index);
  [[nodiscard]] static Set set_of(std::uint8_t number) noexcept { return number == 0 ? 0U : 1U << number; }

  /// Those whose offload is to be off.
  [[nodiscard]] Set off() const noexcept { return off_; }
  /// True: off() changed.
  bool handle_evidence(const ArrivalEvidence& evidence, Instant now);
  bool handle_deadline(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept { return deadline_; }

  /// The next change of state, until there is none.
  [[nodiscard]] std::optional<OffloadStatus> poll_change();
  void append_status(std::vector<OffloadStatus>& out) const;

 private:
  struct Interface {
    unsigned index;
    std::string name;
    OffloadGuard guard;
  };
  [[nodiscard]] static OffloadStatus status_of(const Interface& one);
  /// After a guard changed.
  [[nodiscard]] bool note_change(const Interface& one);

  std::vector<Interface> interfaces_;  // number 1 is the first
  std::uint8_t last_ = 0;              // the number that was asked for last
  Set off_ = 0;
  std::optional<Instant> deadline_;
  std::deque<OffloadStatus> changes_;
};

}  // namespace switchback::transports::datagram
