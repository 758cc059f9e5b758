// What worked, per network: the candidate that carried a session last, so that the next start on that network begins
// with it. Bounded; the shell keeps it in a file of the user between runs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/path/types.h"

namespace switchback::path {

class History {
 public:
  static constexpr std::size_t kMaxNetworks = 64;

  /// `candidate` carries data on `network`. The network used longest ago is forgotten when there is no room.
  void worked(NetworkId network, Candidate candidate);
  [[nodiscard]] std::optional<Candidate> last_good(NetworkId network) const noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return entries_.size(); }

  /// One line for each network, oldest first: 16 hexadecimal digits, transport, family.
  [[nodiscard]] std::string render() const;
  /// Lines that make no sense are passed over, so a damaged or newer file costs a memory and nothing else.
  [[nodiscard]] static History parse(std::string_view text);

 private:
  struct Entry {
    NetworkId network;
    Candidate candidate;
  };
  std::vector<Entry> entries_;  // by time of use, the latest last
};

}  // namespace switchback::path
