#include "transports/ctcp/segment.h"

#include <algorithm>
#include <cassert>

#include "common/packet/checksum.h"

namespace switchback::transports::ctcp {
namespace {

// IANA TCP option kinds.
constexpr std::uint8_t kEnd = 0, kNop = 1, kMss = 2, kWindowScale = 3, kSackPermitted = 4, kSack = 5, kTimestamps = 8;
constexpr std::uint8_t kTcpProtocol = 6;

void take_option(std::uint8_t kind, ByteView body, bool syn, TcpOptions& out) noexcept {
  WireReader r{body};
  // The first three are for SYN segments only (RFC 9293 §3.2, RFC 7323 §2.2, RFC 2018 §2).
  if (kind == kMss && body.size() == 2 && syn) out.mss = r.u16be();
  if (kind == kWindowScale && body.size() == 1 && syn) out.window_scale = std::min(r.u8(), kMaximumWindowScale);
  if (kind == kSackPermitted && body.empty() && syn) out.sack_permitted = true;
  if (kind == kTimestamps && body.size() == 8) {
    const auto value = r.u32be();
    out.timestamps = Timestamps{value, r.u32be()};
  }
  if (kind == kSack && body.size() % 8 == 0) {
    while (!r.at_end() && out.sack_count < out.sack.size()) {
      const auto left = r.u32be();
      out.sack[out.sack_count++] = {left, r.u32be()};
    }
  }
}

}  // namespace

Result<TcpSegmentView, ParseError> parse_segment(ByteView segment) noexcept {
  WireReader r{segment};
  TcpSegmentView view;
  auto& header = view.header;
  header.source_port = r.u16be();
  header.destination_port = r.u16be();
  header.sequence = r.u32be();
  header.acknowledgement = r.u32be();
  const std::size_t header_size = static_cast<std::size_t>(r.u8() >> 4U) * 4;
  header.flags = r.u8() & 0x3FU;
  header.window = r.u16be();
  r.skip(4);  // checksum, urgent pointer
  if (!r.ok()) return fail(ParseErrc::truncated, segment.size());
  if (header_size < kTcpHeaderBytes || header_size > segment.size()) return fail(ParseErrc::bad_length, 12);
  const auto options = segment.subspan(kTcpHeaderBytes, header_size - kTcpHeaderBytes);
  for (std::size_t at = 0; at < options.size();) {
    if (options[at] == kEnd) break;
    if (options[at] == kNop) {
      ++at;
      continue;
    }
    if (options.size() - at < 2) return fail(ParseErrc::bad_length, kTcpHeaderBytes + at);
    const std::size_t length = options[at + 1];
    if (length < 2 || length > options.size() - at) return fail(ParseErrc::bad_length, kTcpHeaderBytes + at);
    take_option(options[at], options.subspan(at + 2, length - 2), header.has(kSyn), header.options);
    at += length;
  }
  view.payload = segment.subspan(header_size);
  return view;
}

std::size_t header_bytes(const TcpOptions& options) noexcept {
  std::size_t size = kTcpHeaderBytes;
  if (options.mss) size += 4;
  if (options.sack_permitted) size += 4;
  if (options.timestamps) size += 12;
  if (options.window_scale) size += 4;
  if (options.sack_count > 0) size += 4 + 8 * std::size_t{options.sack_count};
  assert(size <= kTcpMaximumHeaderBytes);
  return size;
}

std::size_t write_header(const TcpHeader& header, ByteSpan out) noexcept {
  const auto size = header_bytes(header.options);
  assert(out.size() >= size);
  auto* to = out.data();
  const auto u8 = [&](unsigned value) { *to++ = static_cast<std::uint8_t>(value); };
  const auto u16 = [&](std::uint16_t value) { store_be(to, value), to += 2; };
  const auto u32 = [&](std::uint32_t value) { store_be(to, value), to += 4; };
  u16(header.source_port);
  u16(header.destination_port);
  u32(header.sequence);
  u32(header.acknowledgement);
  u8(static_cast<unsigned>(size / 4) << 4U);
  u8(header.flags);
  u16(header.window);
  u32(0);  // checksum, urgent pointer
  // Order and padding are Linux's, which every device has seen.
  const auto& options = header.options;
  if (options.mss) u8(kMss), u8(4), u16(*options.mss);
  if (options.sack_permitted) u8(kNop), u8(kNop), u8(kSackPermitted), u8(2);
  if (options.timestamps) {
    u8(kNop), u8(kNop), u8(kTimestamps), u8(10);
    u32(options.timestamps->value);
    u32(options.timestamps->echo);
  }
  if (options.window_scale) u8(kNop), u8(kWindowScale), u8(3), u8(*options.window_scale);
  if (options.sack_count > 0) {
    u8(kNop), u8(kNop), u8(kSack), u8(2U + 8U * options.sack_count);
    for (std::size_t i = 0; i < options.sack_count; ++i) u32(options.sack[i].left), u32(options.sack[i].right);
  }
  return size;
}

std::uint16_t tcp_checksum(ByteView header, ByteView payload, const IpAddress& source,
                           const IpAddress& destination) noexcept {
  packet::ChecksumSum sum;
  sum.add(source.bytes());
  sum.add_pseudo_header(destination.bytes(), kTcpProtocol, static_cast<std::uint32_t>(header.size() + payload.size()));
  return sum.add(header).add(payload).finish();
}

Bytes build_segment(const TcpHeader& header, ByteView payload, const IpAddress& source, const IpAddress& destination) {
  Bytes out(header_bytes(header.options));
  write_header(header, out);
  store_be(out.data() + 16, tcp_checksum(out, payload, source, destination));
  append(out, payload);
  return out;
}

}  // namespace switchback::transports::ctcp
