// A session as the packet thread holds it: its Child SAs and the paths that its peer may be reached by.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "transports/dataplane/dataplane.h"

namespace switchback::transports {

struct Child;

/// Adds to a counter that only this thread writes, so that no read-modify-write of the bus is needed.
inline void count_up(std::atomic<std::uint64_t>& counter, std::uint64_t more) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

struct PathSlot {
  AddressPair path;
  std::shared_ptr<PathActivity> activity;  // empty: nobody has this slot
  Instant last_sent{};

  /// Whether a packet that was seen to come by `seen` came by this path: an unspecified local address is any.
  [[nodiscard]] bool covers(const AddressPair& seen) const noexcept {
    return seen.transport == path.transport && seen.remote == path.remote &&
           (path.local.address.empty() || path.local.address.is_unspecified() || seen.local == path.local);
  }
  void count_sent(std::uint64_t packets, std::uint64_t data, Instant now) noexcept {
    count_up(activity->sent_packets, packets);
    count_up(activity->sent_data, data);
    last_sent = now;
  }
  /// Of those counted by count_sent(): the transport had no room for them. They stay what the user wanted to send.
  void count_not_sent(std::uint64_t packets) noexcept {
    const auto counted = activity->sent_packets.load(std::memory_order_relaxed);
    activity->sent_packets.store(counted - std::min(counted, packets), std::memory_order_relaxed);
  }
  void count_received(std::uint64_t packets, std::uint64_t octets, Instant now) noexcept {
    count_up(activity->received_packets, packets);
    count_up(activity->received_octets, octets);
    activity->last_in.store(now.time_since_epoch().count(), std::memory_order_relaxed);
  }
};

/// Slots are found by index, which stays; finding one never allocates.
struct CarriedSession {
  static constexpr std::size_t kNone = kMaxPaths;

  /// The slot that packets coming by `seen` belong to: an exact one before one with any local address. Packets come in
  /// runs, so the last answer is tried first.
  [[nodiscard]] PathSlot* slot_seen(const AddressPair& seen) noexcept {
    if (!(seen_valid && seen == last_seen)) {
      last_slot = look_up(seen);
      last_seen = seen;
      seen_valid = true;
    }
    return last_slot == kNone ? nullptr : &slots[last_slot];
  }
  [[nodiscard]] std::size_t index_of(const AddressPair& path) const noexcept {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (slots[i].activity && slots[i].path == path) return i;
    }
    return kNone;
  }
  [[nodiscard]] PathSlot* find(const AddressPair& path) noexcept { return at(index_of(path)); }
  [[nodiscard]] PathSlot* at(std::size_t index) noexcept { return index == kNone ? nullptr : &slots[index]; }
  /// The path's slot, made if it is not there; kNone if all are taken.
  [[nodiscard]] std::size_t place(const AddressPair& path, const std::shared_ptr<PathActivity>& activity) {
    if (const auto there = index_of(path); there != kNone) return there;
    seen_valid = false;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (slots[i].activity) continue;
      slots[i] = {path, activity, {}};
      return i;
    }
    if (slots.size() == kMaxPaths) return kNone;
    slots.push_back({path, activity, {}});
    return slots.size() - 1;
  }
  void take_away(std::size_t index) noexcept {
    slots[index] = {};
    if (in_use == index) in_use = kNone;
    if (twin == index) twin = kNone;
    seen_valid = false;
  }

  SessionTag tag;
  std::vector<Child*> children;  // oldest first
  std::vector<PathSlot> slots;
  std::size_t in_use = kNone, twin = kNone;
  /// Control messages on their way to the control thread: this thread adds, that one takes away.
  std::shared_ptr<std::atomic<std::uint32_t>> control_waiting;

 private:
  [[nodiscard]] std::size_t look_up(const AddressPair& seen) const noexcept {
    std::size_t loose = kNone;
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (!slots[i].activity) continue;
      if (slots[i].path == seen) return i;
      if (loose == kNone && slots[i].covers(seen)) loose = i;
    }
    return loose;
  }

  AddressPair last_seen;
  std::size_t last_slot = kNone;
  bool seen_valid = false;
};

}  // namespace switchback::transports
