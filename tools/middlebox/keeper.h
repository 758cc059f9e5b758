// What a device has acknowledged on behalf of a receiver and must therefore see through to it.
#pragma once

#include <map>
#include <optional>

#include "common/base/bytes.h"
#include "common/base/time.h"

namespace switchback::middlebox {

/// Octets of one direction between what the receiver acknowledged and what was acknowledged on its behalf. Asks for the
/// oldest to be sent again after three duplicate ACKs, and after a while without any progress; gives up in the end.
class Keeper {
 public:
  static constexpr std::size_t kOctetsMost = std::size_t{256} << 10U;

  [[nodiscard]] bool room(std::size_t octets) const noexcept { return octets_ + octets <= kOctetsMost; }
  void keep(std::uint64_t begin, ByteView payload, Instant now);
  /// @param pure  without data, so that a repetition is a request. True: send the oldest again now.
  [[nodiscard]] bool acknowledged(std::uint64_t upto, bool pure, Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const noexcept { return due_; }
  /// True: send the oldest again now.
  [[nodiscard]] bool handle_deadline(Instant now);

  struct Oldest {
    std::uint64_t begin;
    ByteView payload;  // borrowed until the next change
  };
  [[nodiscard]] std::optional<Oldest> oldest() const noexcept;
  [[nodiscard]] std::size_t octets() const noexcept { return octets_; }

 private:
  static constexpr Duration kPatience = std::chrono::milliseconds{300};
  static constexpr unsigned kTriesMost = 8;

  std::map<std::uint64_t, Bytes> copies_;  // by position
  std::size_t octets_ = 0;
  std::uint64_t acknowledged_ = 0;
  unsigned duplicates_ = 0, tries_ = 0;
  std::optional<Instant> due_;
};

}  // namespace switchback::middlebox
