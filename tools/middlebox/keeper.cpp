#include "tools/middlebox/keeper.h"

#include <algorithm>

namespace switchback::middlebox {

void Keeper::keep(std::uint64_t begin, ByteView payload, Instant now) {
  if (payload.empty() || begin + payload.size() <= acknowledged_) return;
  if (!copies_.emplace(begin, to_bytes(payload)).second) return;
  octets_ += payload.size();
  if (!due_) due_ = now + kPatience;
}

bool Keeper::acknowledged(std::uint64_t upto, bool pure, Instant now) {
  if (upto <= acknowledged_) {
    return pure && upto == acknowledged_ && !copies_.empty() && ++duplicates_ == 3;  // RFC 5681 §3.2
  }
  acknowledged_ = upto;
  duplicates_ = tries_ = 0;
  while (!copies_.empty() && copies_.begin()->first + copies_.begin()->second.size() <= upto) {
    octets_ -= copies_.begin()->second.size();
    copies_.erase(copies_.begin());
  }
  due_ = copies_.empty() ? std::nullopt : std::optional{now + kPatience};
  return false;
}

bool Keeper::handle_deadline(Instant now) {
  if (!due_ || now < *due_) return false;
  due_.reset();
  if (++tries_ > kTriesMost) {
    copies_.clear();
    octets_ = 0;
    return false;
  }
  duplicates_ = 0;
  due_ = now + std::min<Duration>(kPatience * (1U << tries_), std::chrono::seconds{3});
  return !copies_.empty();
}

std::optional<Keeper::Oldest> Keeper::oldest() const noexcept {
  if (copies_.empty()) return std::nullopt;
  return Oldest{copies_.begin()->first, copies_.begin()->second};
}

}  // namespace switchback::middlebox
