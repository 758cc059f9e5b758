// What a network card would do for the kernel, done between TUN and ESP: segmentation and coalescing with virtio-net
// headers. Pure: no system call in here.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "common/packet/carver.h"
#include "common/packet/packet.h"

namespace switchback::packet {

/// Values of virtio_net_hdr, as <linux/virtio_net.h> has them (UDP_L4 came with Linux 6.2).
inline constexpr std::uint8_t kVirtioNeedsCsum = 1;
inline constexpr std::uint8_t kVirtioGsoNone = 0, kVirtioGsoTcpV4 = 1, kVirtioGsoUdp = 3, kVirtioGsoTcpV6 = 4,
                              kVirtioGsoUdpL4 = 5, kVirtioGsoEcn = 0x80;

/// The legacy header in front of every packet of a TUN device with IFF_VNET_HDR. Fields are in host byte order.
struct VirtioNetHeader {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = kVirtioGsoNone;
  std::uint16_t hdr_len = 0;      // octets before the payload; a hint only when it comes from the kernel
  std::uint16_t gso_size = 0;     // payload octets of every segment but the last
  std::uint16_t csum_start = 0;   // octets from the start of the IP packet
  std::uint16_t csum_offset = 0;  // octets from csum_start

  static constexpr std::size_t kBytes = 10;
  /// Pre: from.size() >= kBytes.
  [[nodiscard]] static VirtioNetHeader load(ByteView from) noexcept;
  /// Pre: to.size() >= kBytes.
  void store(ByteSpan to) const noexcept;
  friend bool operator==(const VirtioNetHeader&, const VirtioNetHeader&) = default;
};

/// More than the smallest MSS that Linux sends with (48 octets) cuts out of 65535 octets.
inline constexpr std::size_t kMaxSegments = 1400;

enum class SegmentVerdict : std::uint8_t {
  ok,
  malformed,    // lengths, offsets or versions that contradict each other
  unsupported,  // a kind of offload that was never asked for (UDP fragmentation offload), or of fragments
  exhausted,    // no slab left in the pool
};

/// Cuts one packet as the kernel handed it over into the packets that go on the wire: TCP (v4, v6) and UDP segmentation
/// with every header field and checksum as a card would make them; for a packet without segmentation, completes the
/// checksum if asked for. Each result is carved with kSendHeadroom and kSendTailroom, kind `inner`.
/// @param header  from the TUN; `ip_packet` is what followed it. Neither is trusted.
/// @param out     results are appended; on any verdict but `ok`, nothing is. Keep its capacity from batch to batch.
[[nodiscard]] SegmentVerdict segment(const VirtioNetHeader& header, ByteView ip_packet, PacketCarver& carver,
                                     std::vector<Packet>& out);

/// What the TUN takes.
struct CoalesceMode {
  bool vnet_header = true;  // IFF_VNET_HDR; without it nothing is ever coalesced
  bool tcp = true;          // TUN_F_CSUM with TSO4 and TSO6
  bool udp = true;          // the kernel knows VIRTIO_NET_HDR_GSO_UDP_L4
};

/// One write to the TUN. Views are borrowed from the coalescer and the batch, until the next run().
struct TunWrite {
  std::span<const iovec> iov;  // for writev: a virtio header if the mode has one, then pieces of packets
  std::size_t bytes = 0;       // sum of iov, header included
  std::uint32_t packets = 0;   // how many of the batch
  std::uint32_t first = 0;     // index of the first of them
};

/// Merges what belongs together, by the rules of Linux GRO (net/ipv4/tcp_offload.c, udp_offload.c): equal headers,
/// contiguous sequence numbers, equal sizes but for the last, PSH and FIN end a run. Checksums are verified first, as
/// the merged packet will carry none of the old ones. Flows may be interleaved in the batch; the order within a flow is
/// kept. Everything else passes as it is. One per packet thread; allocates only while batches still grow.
class Coalescer {
 public:
  explicit Coalescer(CoalesceMode mode) noexcept : mode_{mode} {}

  /// @param batch  inner IP packets (as esp::open gives them), which must stay until the writes are done. Headers of
  ///               first packets are changed in place. Packets with no data are skipped.
  [[nodiscard]] std::span<const TunWrite> run(std::span<Packet> batch);

 private:
  static constexpr std::size_t kBuckets = 256;
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  /// One packet of the batch. Fields behind `mergeable` are set for TCP and UDP only.
  struct Item {
    std::uint8_t* data;
    std::uint32_t index;  // into the batch
    std::uint32_t next;   // item of the same group
    std::uint32_t size;
    bool mergeable;       // of a kind that can be merged with its like
    bool checked, right;  // checksums looked at; and right
    bool v6, tcp;
    std::uint8_t l3_bytes;      // IP header
    std::uint8_t header_bytes;  // IP and transport headers
    std::uint16_t payload_bytes;
    std::uint32_t bucket;
  };
  /// What becomes one write.
  struct Group {
    std::uint32_t head, tail;  // items
    std::uint32_t next_in_bucket;
    std::uint32_t packets;
    std::uint32_t total_bytes;  // of the merged IP packet
    std::uint16_t gso_size;
    bool open;               // more may follow
    std::uint8_t end_flags;  // PSH and FIN of its packets
    std::array<std::uint8_t, VirtioNetHeader::kBytes> header;
  };
  enum class Flow : std::uint8_t { none, unknown, known };

  void add(std::uint32_t index);
  [[nodiscard]] static Flow classify(Item& item, const CoalesceMode& mode) noexcept;
  [[nodiscard]] static bool same_flow(const Item& a, const Item& b) noexcept;
  [[nodiscard]] static bool same_headers(const Item& head, const Item& item, std::uint32_t position) noexcept;
  [[nodiscard]] static bool verified(Item& item) noexcept;
  [[nodiscard]] std::uint32_t& newest_of_flow(const Item& item) noexcept;
  [[nodiscard]] bool try_append(std::uint32_t group_index, std::uint32_t item_index) noexcept;
  void finish(Group& group) const noexcept;
  void lay_out();

  CoalesceMode mode_;
  std::span<Packet> batch_;
  std::vector<Item> items_;
  std::vector<Group> groups_;
  std::array<std::uint32_t, kBuckets> buckets_{};
  std::uint32_t barrier_ = 0;  // groups before this one take no more
  std::vector<iovec> iov_;
  std::vector<TunWrite> writes_;
};

}  // namespace switchback::packet
