// Any packets at any times through a box with any of its devices: no crash, IP packets out, and no more kept than the
// input could account for. The first two octets choose the devices; then come steps: octets as a packet, a segment of
// one flow made of a few octets so that its checksums are right, or time.
#include <algorithm>
#include <array>
#include <optional>

#include "common/base/wire_reader.h"
#include "tests/fuzz/require.h"
#include "tools/middlebox/box.h"

using namespace switchback;
using namespace switchback::middlebox;
using switchback::test::require;

namespace {

const auto kInner = IpAddress::v4(0x0A000002), kOuter = IpAddress::v4(0xC0000201), kOwn = IpAddress::v4(0x0A000001);

/// 12 octets: direction and flags, sequence and ACK near the ISNs, window, options, length of the payload.
Bytes made_segment(WireReader& reader, Direction& direction) {
  const auto control = reader.u8();
  const auto flags = reader.u8();
  direction = (control & 1U) != 0 ? Direction::inward : Direction::outward;
  const bool outward = direction == Direction::outward;
  const FlowKey flow{6, {kInner, 40000}, {kOuter, 10000}};
  Segment segment;
  segment.direction = direction;
  auto& header = segment.header;
  header.source_port = outward ? 40000 : 10000;
  header.destination_port = outward ? 10000 : 40000;
  header.flags = flags;
  header.sequence = (outward ? 0xFFFFFF00U : 5000U) + reader.u16be();
  header.acknowledgement = (outward ? 5000U : 0xFFFFFF00U) + reader.u16be();
  header.window = reader.u16be();
  const auto options = reader.u8();
  if ((options & 1U) != 0) header.options.mss = 1460;
  if ((options & 2U) != 0) header.options.window_scale = static_cast<std::uint8_t>(options >> 5U);
  if ((options & 4U) != 0) header.options.sack_permitted = true;
  if ((options & 8U) != 0) header.options.timestamps = transports::ctcp::Timestamps{header.sequence, options};
  if ((options & 16U) != 0) {
    header.options.sack_count = 1;
    header.options.sack[0] = {header.acknowledgement + 10, header.acknowledgement + 20};
  }
  segment.payload.resize(reader.u16be() % 1400, control);
  return packet_of(flow, std::move(segment));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return 0;
  WireReader reader{ByteView{data, size}};
  const auto choice = reader.u8();
  const auto more = reader.u8();
  BoxRules rules;
  rules.seed = more;
  const auto& profiles = device_profiles();
  require(add_profile(rules, profiles[choice % profiles.size()].name).has_value());
  if ((more & 1U) != 0) require(add_profile(rules, "edit=isn,strip=sack/ts/wscale,mss=500").has_value());
  if ((more & 2U) != 0) {
    require(add_profile(rules, profiles[(choice / profiles.size() + more) % profiles.size()].name).has_value());
  }
  if ((more & 4U) != 0) require(add_profile(rules, "nat=203.0.113.9/1s").has_value());
  if ((more & 8U) != 0) require(add_profile(rules, "idle-rst=5s").has_value());
  if ((more & 16U) != 0) {
    rules.impair[0][0] = *parse_impairment("loss=10%,duplicate=10%,corrupt=10%,delay=10ms,jitter=5ms,mtu=1000");
    rules.impair[1][1] = *parse_impairment("rate=1M,reorder=10%");
  }
  Box box{std::move(rules), kOwn, IpAddress{}};
  Instant now{std::chrono::hours{1}};
  std::size_t given = 0;
  while (reader.ok() && reader.remaining() > 0) {
    const auto step = reader.u8();
    if (step < 64) {
      now += std::chrono::milliseconds{1} * (std::int64_t{1} << (step % 14));
      for (int i = 0; i < 64; ++i) {
        const auto due = box.next_deadline();
        if (!due || *due > now) break;
        box.handle_deadline(std::max(*due, now));
      }
    } else if (step < 96) {
      const auto octets = reader.bytes(std::min<std::size_t>(reader.u8(), reader.remaining()));
      box.handle(step % 2 == 0 ? Direction::outward : Direction::inward, octets, now);
      given += octets.size();
    } else {
      Direction direction{};
      const auto packet = made_segment(reader, direction);
      if (!reader.ok()) break;
      box.handle(direction, packet, now);
      given += packet.size();
    }
    while (const auto sent = box.poll_packet()) require(!sent->packet.empty() && sent->packet.size() <= 65535);
    while (box.poll_note()) {
    }
    // Each packet and its duplicate, copies for comparing, and what holding it costs.
    require(box.kept_octets() <= given * 32 + 4096);
  }
  return 0;
}
