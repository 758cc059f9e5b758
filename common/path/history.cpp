#include "common/path/history.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "common/base/bytes.h"

namespace switchback::path {
namespace {

std::string_view next_word(std::string_view& line) {
  const auto end = std::min(line.find(' '), line.size());
  const auto word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

}  // namespace

void History::worked(NetworkId network, Candidate candidate) {
  if (network.value == 0) return;
  std::erase_if(entries_, [&](const Entry& entry) { return entry.network == network; });
  if (entries_.size() == kMaxNetworks) entries_.erase(entries_.begin());
  entries_.push_back({network, candidate});
}

std::optional<Candidate> History::last_good(NetworkId network) const noexcept {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.network == network; });
  if (found == entries_.end()) return std::nullopt;
  return found->candidate;
}

std::string History::render() const {
  std::string text;
  for (const auto& entry : entries_) {
    std::array<std::uint8_t, 8> octets{};
    store_be(octets.data(), entry.network.value);
    text += to_hex(octets);
    text += ' ';
    text += to_string(entry.candidate.transport);
    text += ' ';
    text += to_string(entry.candidate.family);
    text += '\n';
  }
  return text;
}

History History::parse(std::string_view text) {
  History history;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto digits = next_word(line);
    const auto transport = transport_from(next_word(line));
    const auto family = next_word(line);
    std::uint64_t network = 0;
    const auto* const last = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), last, network, 16);
    const bool sound = error == std::errc{} && stop == last && digits.size() == 16 && line.empty();
    if (!sound || !transport || (family != "v4" && family != "v6")) continue;
    history.worked(NetworkId{network}, {*transport, family == "v6" ? IpFamily::v6 : IpFamily::v4});
  }
  return history;
}

}  // namespace switchback::path
