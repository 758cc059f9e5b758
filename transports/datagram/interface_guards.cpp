#include "transports/datagram/interface_guards.h"

#include <net/if.h>

#include <array>

namespace switchback::transports::datagram {

std::uint8_t InterfaceGuards::number_of(unsigned index) {
  if (index == 0) return 0;
  if (last_ != 0 && interfaces_[last_ - 1U].index == index) return last_;
  for (std::size_t i = 0; i < interfaces_.size(); ++i) {
    if (interfaces_[i].index == index) return last_ = static_cast<std::uint8_t>(i + 1);
  }
  if (interfaces_.size() == kMost) return 0;
  std::array<char, IF_NAMESIZE> name{};
  const bool known = ::if_indextoname(index, name.data()) != nullptr;
  const auto called = known ? std::string{name.data()} : "interface " + std::to_string(index);
  // One that was made anew, as those of dialled lines are, gets another index.
  for (std::size_t i = 0; i < interfaces_.size(); ++i) {
    if (interfaces_[i].name != called) continue;
    interfaces_[i].index = index;
    return last_ = static_cast<std::uint8_t>(i + 1);
  }
  interfaces_.push_back({index, called, {}});
  return last_ = static_cast<std::uint8_t>(interfaces_.size());
}

bool InterfaceGuards::handle_evidence(const ArrivalEvidence& evidence, Instant now) {
  if (evidence.interface == 0 || evidence.interface > interfaces_.size()) return false;
  auto& one = interfaces_[evidence.interface - 1U];
  return one.guard.handle_packets(evidence.joined, evidence.flow, evidence.authentic, evidence.failed, now) &&
         note_change(one);
}

bool InterfaceGuards::handle_deadline(Instant now) {
  bool changed = false;
  for (auto& one : interfaces_) {
    if (one.guard.handle_deadline(now)) changed = note_change(one) || changed;
  }
  return changed;
}

bool InterfaceGuards::note_change(const Interface& one) {
  const auto before = off_;
  off_ = 0;
  deadline_.reset();
  for (std::size_t i = 0; i < interfaces_.size(); ++i) {
    const auto& guard = interfaces_[i].guard;
    if (guard.is_off()) off_ |= set_of(static_cast<std::uint8_t>(i + 1));
    deadline_ = earliest(deadline_, guard.next_deadline());
  }
  changes_.push_back(status_of(one));
  return off_ != before;
}

std::optional<OffloadStatus> InterfaceGuards::poll_change() {
  if (changes_.empty()) return std::nullopt;
  auto first = std::move(changes_.front());
  changes_.pop_front();
  return first;
}

OffloadStatus InterfaceGuards::status_of(const Interface& one) {
  return {"receive",          one.name,          name_of(one.guard.state()),
          one.guard.reason(), one.guard.since(), one.guard.next_deadline()};
}

void InterfaceGuards::append_status(std::vector<OffloadStatus>& out) const {
  for (const auto& one : interfaces_) out.push_back(status_of(one));
}

}  // namespace switchback::transports::datagram
