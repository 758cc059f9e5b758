// Builds IP packets for tests, with checksums from a plain reference implementation of its own.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "common/base/bytes.h"
#include "common/base/ip_address.h"
#include "common/packet/pool.h"

namespace switchback::testing {

/// RFC 1071 word by word, as slow and plain as it gets.
inline std::uint16_t reference_checksum(ByteView octets, std::uint32_t start = 0) {
  std::uint32_t sum = start;
  for (std::size_t i = 0; i < octets.size(); ++i) sum += i % 2 == 0 ? octets[i] * 256U : octets[i];
  while (sum > 0xFFFF) sum = (sum & 0xFFFFU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

/// Sum of a pseudo header, to start reference_checksum with. `addresses`: both, in order.
inline std::uint32_t reference_pseudo(ByteView addresses, std::uint8_t protocol, std::size_t l4_bytes) {
  std::uint32_t sum = protocol + static_cast<std::uint32_t>(l4_bytes);
  for (std::size_t i = 0; i < addresses.size(); i += 2) sum += load_be<std::uint16_t>(&addresses[i]);
  return sum;
}

struct PacketSpec {
  std::string source = "10.0.0.1", destination = "10.0.0.2";
  std::uint16_t source_port = 40000, destination_port = 443;
  std::uint8_t tos = 0, ttl = 64;
  std::uint16_t id = 1;
  bool dont_fragment = false;
  std::uint32_t flow_label = 0x12345;
  // TCP
  std::uint32_t seq = 1000, ack = 5000;
  std::uint16_t window = 500;
  std::uint8_t flags = 0x10;
  Bytes options;  // a multiple of 4 octets
  Bytes payload;
};

inline Bytes counting(std::size_t size, std::uint8_t from = 0) {
  Bytes bytes(size);
  for (auto& octet : bytes) octet = from++;
  return bytes;
}

/// IP header of either family around a transport part.
inline Bytes make_ip(const PacketSpec& spec, std::uint8_t protocol, ByteView l4) {
  const auto source = *IpAddress::parse(spec.source);
  const auto destination = *IpAddress::parse(spec.destination);
  Bytes packet;
  if (source.is_v4()) {
    packet.assign(20, 0);
    packet[0] = 0x45;
    packet[1] = spec.tos;
    store_be(&packet[2], static_cast<std::uint16_t>(20 + l4.size()));
    store_be(&packet[4], spec.id);
    packet[6] = spec.dont_fragment ? 0x40 : 0;
    packet[8] = spec.ttl;
    packet[9] = protocol;
    std::copy_n(source.bytes().begin(), 4, &packet[12]);
    std::copy_n(destination.bytes().begin(), 4, &packet[16]);
    store_be(&packet[10], reference_checksum(packet));
  } else {
    packet.assign(40, 0);
    store_be(&packet[0], static_cast<std::uint32_t>(0x60000000U | (std::uint32_t{spec.tos} << 20U) | spec.flow_label));
    store_be(&packet[4], static_cast<std::uint16_t>(l4.size()));
    packet[6] = protocol;
    packet[7] = spec.ttl;
    std::copy_n(source.bytes().begin(), 16, &packet[8]);
    std::copy_n(destination.bytes().begin(), 16, &packet[24]);
  }
  append(packet, l4);
  return packet;
}

inline ByteView addresses_of(ByteView packet) {
  return packet[0] >> 4U == 4 ? packet.subspan(12, 8) : packet.subspan(8, 32);
}
inline std::size_t l3_bytes_of(ByteView packet) { return packet[0] >> 4U == 4 ? (packet[0] & 15U) * 4U : 40U; }

/// Whether the transport checksum is right.
inline bool transport_checksum_right(ByteView packet, std::uint8_t protocol) {
  const auto l4 = packet.subspan(l3_bytes_of(packet));
  return reference_checksum(l4, reference_pseudo(addresses_of(packet), protocol, l4.size())) == 0;
}
inline bool ip_checksum_right(ByteView packet) {
  return packet[0] >> 4U == 6 || reference_checksum(packet.first(l3_bytes_of(packet))) == 0;
}

inline void fix_transport_checksum(Bytes& packet, std::uint8_t protocol) {
  const auto l3 = l3_bytes_of(packet);
  const auto field = l3 + (protocol == 6 ? 16U : 6U);
  store_be(&packet[field], std::uint16_t{0});
  const auto l4 = ByteView{packet}.subspan(l3);
  auto sum = reference_checksum(l4, reference_pseudo(addresses_of(packet), protocol, l4.size()));
  if (protocol == 17 && sum == 0) sum = 0xFFFF;
  store_be(&packet[field], sum);
}

inline Bytes make_tcp(const PacketSpec& spec) {
  Bytes l4(20, 0);
  store_be(&l4[0], spec.source_port);
  store_be(&l4[2], spec.destination_port);
  store_be(&l4[4], spec.seq);
  store_be(&l4[8], spec.ack);
  l4[12] = static_cast<std::uint8_t>((5 + spec.options.size() / 4) << 4U);
  l4[13] = spec.flags;
  store_be(&l4[14], spec.window);
  append(l4, spec.options);
  append(l4, spec.payload);
  auto packet = make_ip(spec, 6, l4);
  fix_transport_checksum(packet, 6);
  return packet;
}

inline Bytes make_udp(const PacketSpec& spec) {
  Bytes l4(8, 0);
  store_be(&l4[0], spec.source_port);
  store_be(&l4[2], spec.destination_port);
  store_be(&l4[4], static_cast<std::uint16_t>(8 + spec.payload.size()));
  append(l4, spec.payload);
  auto packet = make_ip(spec, 17, l4);
  fix_transport_checksum(packet, 17);
  return packet;
}

/// A packet of a pool that holds these octets, with room as kSendHeadroom and kSendTailroom give it.
inline packet::Packet pooled(packet::PacketPool& pool, ByteView octets) {
  auto packet = pool.allocate(packet::kSendHeadroom);
  const auto into = packet.append(octets.size());
  std::copy(octets.begin(), octets.end(), into.begin());
  return packet;
}

}  // namespace switchback::testing
