// Coalescer: what a card's receive offload would do on the way in.
#include <algorithm>
#include <cassert>

#include "common/packet/checksum.h"
#include "common/packet/ip.h"
#include "common/packet/offload.h"

namespace switchback::packet {
namespace {

constexpr std::uint32_t kMaxTcpPackets = 256;  // keeps writev well below IOV_MAX
constexpr std::uint32_t kMaxUdpPackets = 64;   // UDP_MAX_SEGMENTS of older kernels

std::size_t address_offset(bool v6) noexcept { return v6 ? 8 : 12; }
std::size_t addresses_bytes(bool v6) noexcept { return v6 ? 32 : 8; }

std::uint64_t mix(std::uint64_t hash, std::uint64_t more) noexcept {
  hash = (hash ^ more) * 0x9E3779B97F4A7C15U;
  return hash ^ (hash >> 29U);
}

}  // namespace

// Fills the item from its packet. `none`: no flow that anything else here could belong to. `unknown`: part of some flow
// that cannot be told (fragments, options), which must not be overtaken by any.
Coalescer::Flow Coalescer::classify(Item& item, const CoalesceMode& mode) noexcept {
  const ByteView packet{item.data, item.size};
  const auto ip = parse_ip(packet);
  if (!ip) return Flow::none;
  if (ip->fragment || ip->l4_offset != ip->header_bytes) return Flow::unknown;
  item.tcp = ip->is(IpProtocol::tcp);
  if (!item.tcp && !ip->is(IpProtocol::udp)) return Flow::none;
  const auto header = item.tcp ? tcp_header_bytes(packet, *ip) : kUdpHeaderBytes;
  if (header == 0 || ip->total_bytes - ip->l4_offset < header) return Flow::unknown;
  const bool plain_ip = ip->header_bytes == (ip->family == IpFamily::v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes);
  if (!plain_ip) return Flow::unknown;

  item.v6 = ip->family == IpFamily::v6;
  item.l3_bytes = static_cast<std::uint8_t>(ip->l4_offset);
  item.header_bytes = static_cast<std::uint8_t>(ip->l4_offset + header);
  std::uint64_t hash = mix(item.tcp ? 6 : 17, load_be<std::uint32_t>(item.data + ip->l4_offset));
  for (std::size_t i = 0; i < addresses_bytes(item.v6); i += 8) {
    hash = mix(hash, load_be<std::uint64_t>(item.data + address_offset(item.v6) + i));
  }
  item.bucket = static_cast<std::uint32_t>(hash) % kBuckets;

  const auto payload = ip->total_bytes - item.header_bytes;
  if (payload == 0 || ip->total_bytes != item.size || item.size > kMaxIpPacketBytes) return Flow::known;
  item.payload_bytes = static_cast<std::uint16_t>(payload);
  const auto* l4 = item.data + item.l3_bytes;
  if (item.tcp) {
    constexpr unsigned kRelevant = kTcpSyn | kTcpRst | kTcpUrg | kTcpCwr | kTcpAck;
    item.mergeable = mode.vnet_header && mode.tcp && (l4[13] & kRelevant) == kTcpAck;
  } else {
    item.mergeable = mode.vnet_header && mode.udp && load_be<std::uint16_t>(l4 + 4) == payload + kUdpHeaderBytes &&
                     load_be<std::uint16_t>(l4 + 6) != 0;
  }
  return Flow::known;
}

bool Coalescer::same_flow(const Item& a, const Item& b) noexcept {
  if (a.v6 != b.v6 || a.tcp != b.tcp) return false;
  const auto at = address_offset(a.v6);
  return std::memcmp(a.data + at, b.data + at, addresses_bytes(a.v6)) == 0 &&
         std::memcmp(a.data + a.l3_bytes, b.data + b.l3_bytes, 4) == 0;
}

// Everything but lengths, checksums and what counts on from packet to packet. Pre: same_flow().
bool Coalescer::same_headers(const Item& head, const Item& item, std::uint32_t position) noexcept {
  const auto* a = head.data;
  const auto* b = item.data;
  if (head.header_bytes != item.header_bytes) return false;
  if (head.v6) {
    // Version, traffic class, flow label; hop limit.
    if (std::memcmp(a, b, 4) != 0 || a[7] != b[7]) return false;
  } else {
    // TOS; flags (an offset there is none); TTL.
    if (a[1] != b[1] || a[6] != b[6] || a[8] != b[8]) return false;
    // The identification counts on, so that segmenting gives the same packets again. With DF it means nothing
    // (RFC 6864 §4.1).
    const bool dont_fragment = (a[6] & 0x40U) != 0;
    const auto expected = static_cast<std::uint16_t>(load_be<std::uint16_t>(a + 4) + position);
    if (!dont_fragment && load_be<std::uint16_t>(b + 4) != expected) return false;
  }
  if (!head.tcp) return true;
  a += head.l3_bytes;
  b += item.l3_bytes;
  // Acknowledgement number; header length, flags and window; urgent pointer and options.
  const auto word_a = load_be<std::uint32_t>(a + 12), word_b = load_be<std::uint32_t>(b + 12);
  constexpr std::uint32_t kEnds = static_cast<std::uint32_t>(kTcpFin | kTcpPsh) << 16U;
  const auto behind = static_cast<std::size_t>(head.header_bytes - head.l3_bytes) - 18U;
  return std::memcmp(a + 8, b + 8, 4) == 0 && ((word_a ^ word_b) & ~kEnds) == 0 &&
         std::memcmp(a + 18, b + 18, behind) == 0;
}

// A merged packet is handed over as checked, so that a wrong checksum would be healed: never merge one.
bool Coalescer::verified(Item& item) noexcept {
  if (item.checked) return item.right;
  item.checked = true;
  const ByteView packet{item.data, item.size};
  if (!item.v6 && checksum(packet.first(kIpv4HeaderBytes)) != 0) return item.right = false;
  const auto l4 = packet.subspan(item.l3_bytes);
  const auto addresses = packet.subspan(address_offset(item.v6), addresses_bytes(item.v6));
  const auto protocol = static_cast<std::uint8_t>(item.tcp ? IpProtocol::tcp : IpProtocol::udp);
  const auto sum =
      ChecksumSum{}.add_pseudo_header(addresses, protocol, static_cast<std::uint32_t>(l4.size())).add(l4).finish();
  return item.right = sum == 0;
}

// The link that holds the newest group of this flow, or the end of its bucket's chain.
std::uint32_t& Coalescer::newest_of_flow(const Item& item) noexcept {
  auto* link = &buckets_[item.bucket];
  while (*link != kNone && !same_flow(items_[groups_[*link].head], item)) link = &groups_[*link].next_in_bucket;
  return *link;
}

bool Coalescer::try_append(std::uint32_t group_index, std::uint32_t item_index) noexcept {
  auto& group = groups_[group_index];
  auto& item = items_[item_index];
  auto& head = items_[group.head];
  if (!group.open || group_index < barrier_ || !item.mergeable) return false;
  if (item.payload_bytes > group.gso_size || group.total_bytes + item.payload_bytes > kMaxIpPacketBytes) return false;
  if (group.packets >= (item.tcp ? kMaxTcpPackets : kMaxUdpPackets)) return false;
  if (!same_headers(head, item, group.packets)) return false;
  std::uint8_t end_flags = 0;
  if (item.tcp) {
    const auto expected = static_cast<std::uint32_t>(load_be<std::uint32_t>(head.data + head.l3_bytes + 4) +
                                                     group.total_bytes - head.header_bytes);
    if (load_be<std::uint32_t>(item.data + item.l3_bytes + 4) != expected) return false;
    end_flags = static_cast<std::uint8_t>(item.data[item.l3_bytes + 13U] & (kTcpFin | kTcpPsh));
  }
  if (!verified(head) || !verified(item)) return false;

  items_[group.tail].next = item_index;
  group.tail = item_index;
  ++group.packets;
  group.total_bytes += item.payload_bytes;
  group.end_flags = static_cast<std::uint8_t>(group.end_flags | end_flags);
  group.open = end_flags == 0 && item.payload_bytes == group.gso_size;
  return true;
}

void Coalescer::add(std::uint32_t index) {
  auto& packet = batch_[index];
  if (!packet || packet.size() == 0) return;
  const auto item_index = static_cast<std::uint32_t>(items_.size());
  auto& item = items_.emplace_back();
  item = Item{};
  item.data = packet.data().data();
  item.index = index;
  item.next = kNone;
  item.size = static_cast<std::uint32_t>(packet.size());
  const auto flow = classify(item, mode_);

  auto* link = flow == Flow::known ? &newest_of_flow(item) : nullptr;
  if (link != nullptr && *link != kNone && try_append(*link, item_index)) return;

  const auto group_index = static_cast<std::uint32_t>(groups_.size());
  auto& group = groups_.emplace_back();  // within capacity: `link` stays good
  group = Group{};
  group.head = group.tail = item_index;
  group.next_in_bucket = kNone;
  group.packets = 1;
  group.total_bytes = item.size;
  group.gso_size = item.payload_bytes;
  group.open = item.mergeable;
  if (item.mergeable && item.tcp) {
    group.end_flags = static_cast<std::uint8_t>(item.data[item.l3_bytes + 13U] & (kTcpFin | kTcpPsh));
    group.open = group.end_flags == 0;
  }
  if (flow == Flow::unknown) barrier_ = group_index + 1;
  if (link != nullptr) {
    // Takes the place of the flow's group before, which is complete with this.
    if (*link != kNone) group.next_in_bucket = groups_[*link].next_in_bucket;
    *link = group_index;
  }
}

// Makes the head of a merged group a packet that the kernel takes for one from a card.
void Coalescer::finish(Group& group) const noexcept {
  VirtioNetHeader header;
  if (group.packets > 1) {
    const auto& head = items_[group.head];
    const auto l4_bytes = group.total_bytes - head.l3_bytes;
    auto* data = head.data;
    auto* l4 = data + head.l3_bytes;
    if (head.v6) {
      store_be(data + 4, static_cast<std::uint16_t>(group.total_bytes - kIpv6HeaderBytes));
    } else {
      store_be(data + 2, static_cast<std::uint16_t>(group.total_bytes));
      store_be(data + 10, std::uint16_t{0});
      store_be(data + 10, checksum({data, kIpv4HeaderBytes}));
    }
    const ByteView addresses{data + address_offset(head.v6), addresses_bytes(head.v6)};
    const auto protocol = static_cast<std::uint8_t>(head.tcp ? IpProtocol::tcp : IpProtocol::udp);
    const auto partial = ChecksumSum{}.add_pseudo_header(addresses, protocol, l4_bytes).folded();
    if (head.tcp) {
      l4[13] = static_cast<std::uint8_t>(l4[13] | group.end_flags);
      header.gso_type = head.v6 ? kVirtioGsoTcpV6 : kVirtioGsoTcpV4;
      header.csum_offset = 16;
    } else {
      store_be(l4 + 4, static_cast<std::uint16_t>(l4_bytes));
      header.gso_type = kVirtioGsoUdpL4;
      header.csum_offset = 6;
    }
    store_be(l4 + header.csum_offset, partial);
    header.flags = kVirtioNeedsCsum;
    header.hdr_len = head.header_bytes;
    header.gso_size = group.gso_size;
    header.csum_start = head.l3_bytes;
  }
  header.store(group.header);
}

void Coalescer::lay_out() {
  iov_.clear();
  writes_.clear();
  iov_.reserve(items_.size() + groups_.size());
  for (auto& group : groups_) {
    finish(group);
    const auto first = iov_.size();
    TunWrite write;
    write.packets = group.packets;
    write.first = items_[group.head].index;
    write.bytes = group.total_bytes;
    if (mode_.vnet_header) {
      iov_.push_back({group.header.data(), group.header.size()});
      write.bytes += group.header.size();
    }
    std::size_t skip = 0;  // of every packet but the head, the payload only
    for (auto i = group.head; i != kNone; i = items_[i].next) {
      iov_.push_back({items_[i].data + skip, items_[i].size - skip});
      skip = items_[group.head].header_bytes;
    }
    write.iov = std::span{iov_}.subspan(first);
    writes_.push_back(write);
  }
}

std::span<const TunWrite> Coalescer::run(std::span<Packet> batch) {
  assert(batch.size() < kNone);
  batch_ = batch;
  items_.clear();
  groups_.clear();
  items_.reserve(batch.size());
  groups_.reserve(batch.size());
  buckets_.fill(kNone);
  barrier_ = 0;
  for (std::uint32_t i = 0; i < batch.size(); ++i) add(i);
  lay_out();
  batch_ = {};
  return writes_;
}

}  // namespace switchback::packet
