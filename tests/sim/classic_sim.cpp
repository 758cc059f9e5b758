#include "tests/sim/classic_sim.h"

namespace switchback::test {

using namespace transports::ctcp;
namespace stream = transports::stream;

ClassicSim::ClassicSim(std::uint64_t seed, SimConditions with, std::unique_ptr<Device> between)
    : random{seed}, conditions{with}, device{std::move(between)}, cookies_{Secret{32}, 1448} {
  headend_path_ = {{IpAddress::v4(0xC0000201), CtcpSim::kHeadendPort},
                   {IpAddress::v4(0x0A000002), CtcpSim::kClientPort}};
  client.connection.emplace(
      ClassicConnection::connect(CtcpSim::kClientPort, CtcpSim::kHeadendPort, random, clock.now()));
  drain(client);
}

void ClassicSim::launch(bool at_device, bool to_headend, Wire wire) {
  const bool near_client = at_device == to_headend;  // between client and device
  if (random.chance(near_client ? conditions.loss : conditions.loss_behind)) return;
  const auto delay = near_client ? conditions.delay : Duration{std::chrono::microseconds{100}};
  flying_.emplace(clock.now() + delay, Flying{at_device, to_headend, std::move(wire)});
}

void ClassicSim::drain(End& end) {
  while (const auto out = end.connection->poll_segment(clock.now())) {
    launch(true, &end == &client, {out->header, to_bytes(out->payload)});
  }
}

void ClassicSim::arrive(const Flying& flying) {
  const auto now = clock.now();
  if (flying.at_device) {
    for (auto& next : device->pass(flying.to_headend, flying.wire, now)) {
      launch(false, next.to_headend, std::move(next.wire));
    }
    return;
  }
  const auto view = flying.wire.view();
  auto& end = flying.to_headend ? headend : client;
  if (!end.connection) {
    if (const auto answer = cookies_.answer(view, headend_path_, now)) {
      launch(true, false, {answer->header, {}});
      return;
    }
    const auto agreed = cookies_.accept(view, headend_path_, now);
    if (!agreed) return;
    end.connection.emplace(ClassicConnection::accept(CtcpSim::kHeadendPort, CtcpSim::kClientPort, *agreed, now));
  }
  if (const auto frame = end.connection->handle_segment(view, now);
      frame && frame->content == stream::Content::esp && frame->payload.size() == CtcpSim::kFrameBytes) {
    if (end.delivered.insert(load_be<std::uint32_t>(frame->payload.data() + 4)).second) end.last_delivery = now;
  }
  drain(end);
}

bool ClassicSim::step(Instant until) {
  auto next = device->next_deadline();
  if (!flying_.empty()) next = earliest(next, flying_.begin()->first);
  for (const auto* end : {&client, &headend}) {
    if (end->connection) next = earliest(next, end->connection->next_deadline());
  }
  if (!next || *next > until) {
    clock.advance_to(until);
    return false;
  }
  clock.advance_to(*next);
  const auto now = clock.now();
  if (!flying_.empty() && flying_.begin()->first <= now) arrive(flying_.extract(flying_.begin()).mapped());
  for (auto* end : {&client, &headend}) {
    if (!end->connection) continue;
    const auto due = end->connection->next_deadline();
    if (due && *due <= now) end->connection->handle_deadline(now);
    drain(*end);
  }
  if (const auto due = device->next_deadline(); due && *due <= now) {
    for (auto& out : device->handle_deadline(now)) launch(false, out.to_headend, std::move(out.wire));
  }
  return true;
}

void ClassicSim::offer(End& from) {
  if (!from.connection || from.connection->state() != ClassicState::established) return;
  Wire wire;
  wire.payload.resize(CtcpSim::kFrameBytes + kTrailerBytes);
  const auto header = from.connection->next_header(wire.payload.size(), clock.now());
  if (!header) return;
  wire.header = *header;
  store_be(wire.payload.data(), &from == &client ? CtcpSim::kSpiToHeadend : CtcpSim::kSpiToClient);
  store_be(wire.payload.data() + 4, from.offered++);
  write_trailer(stream::Content::esp, &from == &client ? ClassicRole::client : ClassicRole::headend, 0,
                ByteSpan{wire.payload}.last(kTrailerBytes));
  launch(true, &from == &client, std::move(wire));
}

void ClassicSim::run(Duration time, Duration interval) {
  const auto end = clock.now() + time;
  while (clock.now() < end) {
    const auto until = clock.now() + interval;
    while (step(until)) {
    }
    offer(client);
    offer(headend);
  }
  while (step(end + std::chrono::seconds{1})) {
  }
}

}  // namespace switchback::test
