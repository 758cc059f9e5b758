// A datagram in pooled memory: payload with room in front for headers and behind for trailers.
#pragma once

#include <cassert>
#include <cstdint>
#include <utility>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"

namespace switchback::packet {

class PacketPool;

/// Room that every packet to be sent keeps in front of and behind the inner IP packet: ESP header and IV (16) or
/// trailer and tag (up to 2 + 3 + 16, RFC 4303), and the longest transport framing (TCP header with options and a
/// length; cTCP's 16-octet trailer).
inline constexpr std::size_t kSendHeadroom = 96;
inline constexpr std::size_t kSendTailroom = 48;

/// What a datagram off a transport holds; for packets to and from the TUN it is `inner`.
enum class PacketKind : std::uint8_t { inner, ike, esp, keepalive };

/// What is to become of a packet to be sent where its outer packet is longer than the path takes. All but `fits` travel
/// by themselves.
enum class OuterSize : std::uint8_t {
  fits,   // it is not, as far as is known
  probe,  // lost rather than cut: it asks
  cut     // it is, and what is inside must not be cut: the outer packet is
};

/// How a datagram came, for a transport that wants to know what became of it.
struct Arrival {
  std::uint8_t interface = 0;  // in the transport's own numbering; 0: nothing is wanted
  std::uint8_t joined = 0;     // not 0: the kernel had joined it with others, and those next to it share the number
  friend bool operator==(const Arrival&, const Arrival&) = default;
};

/// Memory of a pool that one or more packets share; counted without atomics, so it stays on the pool's thread.
struct Slab {
  PacketPool* pool;
  Slab* next_free;
  std::uint32_t references;
  std::uint32_t capacity;  // octets behind `memory`
  std::uint8_t* memory;
};

/// Move-only handle on a range of a slab. Cheap to move; belongs to the thread of its pool.
class Packet {
 public:
  Packet() noexcept = default;
  Packet(Packet&& other) noexcept
      : kind{other.kind},
        outer{other.outer},
        arrival{other.arrival},
        path{other.path},
        slab_{std::exchange(other.slab_, nullptr)},
        low_{other.low_},
        begin_{other.begin_},
        end_{other.end_},
        high_{other.high_} {}
  Packet& operator=(Packet&& other) noexcept {
    if (this == &other) return *this;
    reset();
    kind = other.kind;
    outer = other.outer;
    arrival = other.arrival;
    path = other.path;
    slab_ = std::exchange(other.slab_, nullptr);
    low_ = other.low_;
    begin_ = other.begin_;
    end_ = other.end_;
    high_ = other.high_;
    return *this;
  }
  Packet(const Packet&) = delete;
  Packet& operator=(const Packet&) = delete;
  ~Packet() { reset(); }

  explicit operator bool() const noexcept { return slab_ != nullptr; }
  [[nodiscard]] ByteSpan data() noexcept { return {slab_->memory + begin_, end_ - begin_}; }
  [[nodiscard]] ByteView data() const noexcept { return {slab_->memory + begin_, end_ - begin_}; }
  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] std::size_t headroom() const noexcept { return begin_ - low_; }
  [[nodiscard]] std::size_t tailroom() const noexcept { return high_ - end_; }

  /// Grows the payload to the front; returns the new octets, which hold anything. Pre: headroom() >= count.
  ByteSpan prepend(std::size_t count) noexcept {
    assert(headroom() >= count);
    begin_ -= static_cast<std::uint32_t>(count);
    return {slab_->memory + begin_, count};
  }
  /// Grows the payload to the back; returns the new octets, which hold anything. Pre: tailroom() >= count.
  ByteSpan append(std::size_t count) noexcept {
    assert(tailroom() >= count);
    end_ += static_cast<std::uint32_t>(count);
    return {slab_->memory + end_ - count, count};
  }
  /// Pre: size() >= count.
  void trim_front(std::size_t count) noexcept {
    assert(size() >= count);
    begin_ += static_cast<std::uint32_t>(count);
  }
  /// Pre: size() >= count.
  void trim_back(std::size_t count) noexcept {
    assert(size() >= count);
    end_ -= static_cast<std::uint32_t>(count);
  }
  /// Sets the payload size within the tailroom. Pre: size <= size() + tailroom().
  void resize(std::size_t size) noexcept {
    assert(begin_ + size <= high_);
    end_ = begin_ + static_cast<std::uint32_t>(size);
  }
  /// Another packet over part of this one's payload, sharing the slab, with neither headroom nor tailroom beyond it.
  /// Pre: offset + length <= size(). Two slices must not overlap if either is written.
  [[nodiscard]] Packet slice(std::size_t offset, std::size_t length) const noexcept {
    assert(offset + length <= size());
    const auto first = begin_ + static_cast<std::uint32_t>(offset);
    const auto last = first + static_cast<std::uint32_t>(length);
    Packet part{slab_, first, first, last, last};
    part.kind = kind;
    part.path = path;
    return part;
  }
  /// As slice(), but the range [offset, offset + room) of the payload becomes headroom, payload of zero octets and
  /// tailroom: how one slab is cut into many packets to be built. Pre: head <= room, offset + room <= size().
  [[nodiscard]] Packet carve(std::size_t offset, std::size_t room, std::size_t head) const noexcept {
    assert(head <= room && offset + room <= size());
    const auto first = begin_ + static_cast<std::uint32_t>(offset);
    const auto start = first + static_cast<std::uint32_t>(head);
    Packet part{slab_, first, start, start, first + static_cast<std::uint32_t>(room)};
    part.path = path;
    return part;
  }
  void reset() noexcept;

  PacketKind kind = PacketKind::inner;
  OuterSize outer = OuterSize::fits;
  Arrival arrival;
  AddressPair path;  // outer addresses: where it came from, or goes; empty for inner packets

 private:
  friend class PacketPool;
  Packet(Slab* slab, std::uint32_t low, std::uint32_t begin, std::uint32_t end, std::uint32_t high) noexcept
      : slab_{slab}, low_{low}, begin_{begin}, end_{end}, high_{high} {
    ++slab_->references;
  }

  Slab* slab_ = nullptr;
  std::uint32_t low_ = 0, begin_ = 0, end_ = 0, high_ = 0;  // octets into the slab: low <= begin <= end <= high
};

}  // namespace switchback::packet
