// What packet threads hand to each other, and how they wake each other. Nothing here locks.
//
// Every Child SA lives on one worker, which its inbound SPI names, and is touched by no other. Three things can be at
// the wrong one: an inner packet that the kernel put into another queue of the TUN; an ESP packet that came in by a
// socket of another worker; and a sealed packet for a transport that another worker runs. Each has a ring of its own
// for every pair of workers, since each waits for something else.
//
// Order: a flow is read from one queue of the TUN, so all of it comes directly or all of it by one ring. The queue
// changes when the owner first writes an answer (the kernel remembers the flow, up to 4096 of them, until it pauses for
// three seconds): packets that are still on the old way may then come after the first by the new one, as they may with
// any multi-queue device. The owner empties its rings before it reads its own queue, so that this needs another worker
// which is behind.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <memory>
#include <new>
#include <vector>

#include "common/base/ip_address.h"
#include "common/base/unique_fd.h"
#include "common/packet/offload.h"
#include "common/packet/packet.h"
#include "common/packet/selector_matcher.h"
#include "common/packet/traffic_selector.h"
#include "transports/dataplane/handover_ring.h"

namespace switchback::transports {

inline constexpr unsigned kMaxWorkers = 16;

/// Which worker a Child SA lives on: the one rule that sockets, workers and whoever chooses SPIs agree on.
[[nodiscard]] constexpr unsigned worker_of(Spi inbound, unsigned workers) noexcept { return inbound.value % workers; }

/// Where inner packets of another worker's Child SA go: what a worker needs to know of it.
struct ForeignRoute {
  Spi child;
  unsigned worker = 0;
  packet::TrafficSelectors remote;
  packet::SelectorMatcher sources, destinations;

  [[nodiscard]] bool permits(ByteView packet, const packet::IpView& ip) const noexcept {
    return sources.matches_source(packet, ip) && destinations.matches_destination(packet, ip);
  }
};

// Records. They stay within the process, so they stand in memory as the compiler lays them out.
struct InnerRecord {  // and the packet, whole as the TUN gave it
  packet::VirtioNetHeader header;
};
struct OuterRecord {  // and the ESP packet, or the IKE message or keepalive
  AddressPair path;
  packet::PacketKind kind = packet::PacketKind::esp;
  packet::OuterSize outer = packet::OuterSize::fits;
};
static_assert(std::is_trivially_copyable_v<InnerRecord> && std::is_trivially_copyable_v<OuterRecord>);

/// From one worker to one other.
struct Lane {
  explicit Lane(bool few)
      : inner{few ? kOctets : kOctets / 2}, arrived{few ? 4 * kOctets : kOctets}, sealed{few ? kOctets : kOctets / 2} {}
  /// A super-packet with its header must fit four times. What arrived gets as much as a socket buffer, because it is
  /// dropped when the other worker has no processor for some milliseconds; towards a transport nothing is.
  static constexpr std::size_t kOctets = std::size_t{1} << 20U;
  HandoverRing inner, arrived, sealed;
};

/// Wakes a worker that sleeps, and costs no system call while it does not.
class Doorbell {
 public:
  Doorbell() : fd_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)} {
    if (!fd_) throw std::bad_alloc{};  // start-up
  }
  /// After a record was committed. Once for each batch is enough.
  void ring() noexcept {
    if (!asleep_.exchange(false, std::memory_order_acq_rel)) return;
    const std::uint64_t one = 1;
    (void)!::write(fd_.get(), &one, sizeof one);
  }
  /// Before looking into the rings for the last time and going to sleep: what is committed after that look rings.
  void about_to_sleep() noexcept { asleep_.exchange(true, std::memory_order_acq_rel); }
  void awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }
  void silence() noexcept {
    std::uint64_t count = 0;
    (void)!::read(fd_.get(), &count, sizeof count);
  }
  /// Readable when somebody rang. Borrowed.
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::atomic<bool> asleep_{false};
};

/// All lanes and doorbells of a data plane with several workers. Outlives them.
class Handover {
 public:
  explicit Handover(unsigned workers) : workers_{workers}, doorbells_(workers) {
    lanes_.resize(std::size_t{workers} * workers);
    for (unsigned from = 0; from < workers; ++from) {
      for (unsigned to = 0; to < workers; ++to) {
        if (from != to) lanes_[std::size_t{from} * workers + to] = std::make_unique<Lane>(workers <= 4);
      }
    }
  }
  [[nodiscard]] unsigned workers() const noexcept { return workers_; }
  /// Pre: from != to.
  [[nodiscard]] Lane& lane(unsigned from, unsigned to) noexcept { return *lanes_[std::size_t{from} * workers_ + to]; }
  [[nodiscard]] Doorbell& doorbell(unsigned worker) noexcept { return doorbells_[worker]; }

 private:
  unsigned workers_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<Doorbell> doorbells_;
};

}  // namespace switchback::transports
