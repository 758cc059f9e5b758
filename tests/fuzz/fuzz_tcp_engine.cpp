// An established engine and a peer that knows its numbers. Each command: a kind, then small fields that shift the
// sequence and acknowledgement numbers of a segment, time, or what the engine is told to send.
#include <algorithm>
#include <cstdlib>

#include "transports/ctcp/tcp_engine.h"

using namespace switchback;
using namespace switchback::transports::ctcp;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void drain(TcpEngine& engine, Instant now, std::uint32_t& highest) {
  while (const auto frame = engine.poll_frame()) require(frame->payload.size() <= 65535);
  for (unsigned count = 0; const auto out = engine.poll_segment(now); ++count) {
    require(count < 10000);
    require(header_bytes(out->header.options) + out->payload.size() <= 1460 + 20);
    highest = out->header.sequence + static_cast<std::uint32_t>(out->payload.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  WireReader r{{data, size}};
  Instant now{std::chrono::hours{1}};
  const auto options = r.u8();
  EngineConfig config;
  config.ring_bytes = 64 * 1024;
  config.window = 64 * 1024;
  config.reliable = (options & 1U) != 0;
  Handshake agreed;
  agreed.local_isn = 0xFFFFFF00;
  agreed.remote_isn = 0xFFFFFFF0;
  agreed.peer_mss = 1460;
  agreed.sack = true;
  agreed.timestamps = (options & 2U) != 0;
  agreed.peer_is_engine = (options & 4U) != 0;
  agreed.peer_window_scale = 4;
  agreed.peer_window = 65535;
  auto engine = TcpEngine::accept(config, agreed, now);
  engine.marks().add(Spi{0x01020304});
  std::uint32_t sent = agreed.local_isn + 1;
  while (!r.at_end() && r.ok()) {
    const auto kind = r.u8();
    if (kind < 0xC0) {
      TcpSegmentView segment;
      auto& header = segment.header;
      header.flags = kind & 0x3FU;
      header.sequence = agreed.remote_isn + 1 + r.u16be();
      header.acknowledgement = sent - r.u16be();
      header.window = r.u8();
      if (agreed.timestamps) {
        header.options.timestamps = Timestamps{r.u16be(), timestamp_at(now, 0) - r.u8()};
      }
      if ((kind & 0x40U) != 0) {
        header.options.sack_count = 1;
        const auto left = header.acknowledgement + r.u8();
        header.options.sack[0] = {left, left + r.u16be()};
      }
      segment.payload = r.bytes(std::min<std::size_t>(r.u8(), r.remaining()));
      engine.handle_segment(segment, now);
    } else if (kind < 0xD0) {
      now += std::chrono::milliseconds{r.u16be()};
      engine.handle_deadline(now);
    } else if (kind < 0xF0) {
      const Bytes payload(34 + std::size_t{r.u8()} * 4, 1);
      (void)engine.send_frame(kind < 0xE0 ? transports::stream::Content::esp : transports::stream::Content::ike,
                              payload);
    } else if (kind == 0xF0) {
      engine.close(now);
    }
    drain(engine, now, sent);
    // Every deadline in the past must be answered by handle_deadline() and polling, or a loop would spin.
    engine.handle_deadline(now);
    drain(engine, now, sent);
    const auto due = engine.next_deadline();
    require(!due || *due > now || engine.state() == EngineState::closed);
    if (engine.sender() != nullptr) require(engine.sender()->una() <= engine.sender()->highest_sent() + 1);
  }
  return 0;
}
