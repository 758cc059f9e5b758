#include "tools/middlebox/chain.h"

#include <algorithm>

namespace switchback::middlebox {

void Chain::handle(Segment segment, Instant now, Output& out) {
  if (devices_.empty()) {
    out.forward.push_back(std::move(segment));
    return;
  }
  const auto first = segment.direction == Direction::outward ? 0 : devices_.size() - 1;
  between_.emplace_back(first, std::move(segment));
  run(now, out);
}

/// What a device let out goes to its neighbours, or out at the ends.
void Chain::leave(std::size_t device, Output& made, Output& out) {
  out.decisions.insert(out.decisions.end(), made.decisions.begin(), made.decisions.end());
  for (auto& segment : made.forward) {
    const bool outward = segment.direction == Direction::outward;
    if (outward ? device + 1 == devices_.size() : device == 0) {
      out.forward.push_back(std::move(segment));
    } else {
      between_.emplace_back(outward ? device + 1 : device - 1, std::move(segment));
    }
  }
}

void Chain::run(Instant now, Output& out) {
  for (std::size_t steps = 0; !between_.empty(); ++steps) {
    if (steps == kStepsMost) {
      out.decisions.push_back(
          {"drop", "the devices do not come to an end", between_.front().second.direction, 0, between_.size()});
      between_.clear();
      return;
    }
    auto [device, segment] = std::move(between_.front());
    between_.pop_front();
    Output made;
    devices_[device]->handle(std::move(segment), now, made);
    leave(device, made, out);
  }
}

std::optional<Instant> Chain::next_deadline() const {
  std::optional<Instant> next;
  for (const auto& device : devices_) next = earliest(next, device->next_deadline());
  return next;
}

void Chain::handle_deadline(Instant now, Output& out) {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    const auto due = devices_[i]->next_deadline();
    if (!due || *due > now) continue;
    Output made;
    devices_[i]->handle_deadline(now, made);
    leave(i, made, out);
    run(now, out);
  }
}

bool Chain::dead() const noexcept {
  return std::any_of(devices_.begin(), devices_.end(), [](const auto& device) { return device->dead(); });
}

std::size_t Chain::kept_octets() const noexcept {
  std::size_t sum = 0;
  for (const auto& device : devices_) sum += device->kept_octets();
  return sum;
}

}  // namespace switchback::middlebox
