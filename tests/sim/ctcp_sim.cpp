#include "tests/sim/ctcp_sim.h"

namespace switchback::test {

using namespace transports::ctcp;
namespace stream = transports::stream;

CtcpSim::CtcpSim(std::uint64_t seed, SimConditions with, std::unique_ptr<Device> between, bool reliable)
    : random{seed}, conditions{with}, device{std::move(between)}, cookies_{Secret{32}, 1448} {
  client_config_.local_port = headend_config_.remote_port = kClientPort;
  client_config_.remote_port = headend_config_.local_port = kHeadendPort;
  client_config_.reliable = headend_config_.reliable = reliable;
  headend_path_ = {{IpAddress::v4(0xC0000201), kHeadendPort}, {IpAddress::v4(0x0A000002), kClientPort}};
  client.engine.emplace(TcpEngine::connect(client_config_, random, clock.now()));
  client.engine->marks().add(Spi{kSpiToClient});
  client.last_delivery = headend.last_delivery = clock.now();
  drain(client);
}

void CtcpSim::launch(Hop hop, Wire wire) {
  const bool near_client = hop == Hop::client_device || hop == Hop::device_client;
  const unsigned copies = near_client && random.chance(conditions.duplication) ? 2 : 1;
  for (unsigned i = 0; i < copies; ++i) {
    if (random.chance(near_client ? conditions.loss : conditions.loss_behind)) continue;
    const bool into_device = hop == Hop::client_device || hop == Hop::headend_device;
    if (into_device && conditions.loss_before > 0 && random.chance(conditions.loss_before)) continue;
    auto due = clock.now() + (near_client ? conditions.delay : Duration{std::chrono::microseconds{100}});
    if (near_client && conditions.jitter > Duration::zero()) {
      due += Duration{static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(conditions.jitter.count())))};
    }
    flying_.emplace(due, Flying{hop, wire});
  }
}

void CtcpSim::take(End& end, const TcpSegmentView& view) {
  end.engine->handle_segment(view, clock.now());
  auto& from = &end == &client ? headend : client;
  while (const auto frame = end.engine->poll_frame()) {
    if (frame->content != stream::Content::esp || frame->payload.size() != kFrameBytes) {
      ++end.corrupt;
      continue;
    }
    const auto number = load_be<std::uint32_t>(frame->payload.data() + 4);
    bool right = from.sent_at.contains(number);
    for (std::size_t i = 8; i < kFrameBytes; ++i) right = right && frame->payload[i] == ((number * 7 + i) & 0xFFU);
    if (!right) {
      ++end.corrupt;
      continue;
    }
    if (!end.delivered.insert(number).second) continue;  // what ESP's replay window drops
    end.latencies.push_back(clock.now() - from.sent_at[number]);
    end.longest_silence = std::max(end.longest_silence, clock.now() - end.last_delivery);
    end.last_delivery = clock.now();
  }
  drain(end);
}

void CtcpSim::drain(End& end) {
  while (const auto out = end.engine->poll_segment(clock.now())) {
    launch(&end == &client ? Hop::client_device : Hop::headend_device, {out->header, to_bytes(out->payload)});
  }
}

void CtcpSim::arrive(const Flying& flying) {
  const auto now = clock.now();
  if (flying.hop == Hop::client_device || flying.hop == Hop::headend_device) {
    for (auto& next : device->pass(flying.hop == Hop::client_device, flying.wire, now)) {
      launch(next.to_headend ? Hop::device_headend : Hop::device_client, std::move(next.wire));
    }
    return;
  }
  // Through octets and back, as on a wire.
  const auto octets =
      build_segment(flying.wire.header, flying.wire.payload, headend_path_.remote.address, headend_path_.local.address);
  const auto view = parse_segment(octets).value();
  if (flying.hop == Hop::device_client) return take(client, view);
  if (!headend.engine) {
    if (const auto answer = cookies_.answer(view, headend_path_, now)) {
      launch(Hop::headend_device, {answer->header, {}});
      return;
    }
    const auto agreed = cookies_.accept(view, headend_path_, now);
    if (!agreed) return;
    headend.engine.emplace(TcpEngine::accept(headend_config_, *agreed, now));
    headend.engine->marks().add(Spi{kSpiToHeadend});
  }
  take(headend, view);
}

bool CtcpSim::step(Instant until) {
  auto next = device->next_deadline();
  if (!flying_.empty()) next = earliest(next, flying_.begin()->first);
  for (const auto* end : {&client, &headend}) {
    if (end->engine) next = earliest(next, end->engine->next_deadline());
  }
  if (!next || *next > until) {
    clock.advance_to(until);
    return false;
  }
  clock.advance_to(*next);
  const auto now = clock.now();
  if (!flying_.empty() && flying_.begin()->first <= now) {
    const auto flying = flying_.extract(flying_.begin());
    arrive(flying.mapped());
  }
  for (auto* end : {&client, &headend}) {
    if (!end->engine) continue;
    const auto due = end->engine->next_deadline();
    if (due && *due <= now) end->engine->handle_deadline(now);
    drain(*end);
  }
  if (const auto due = device->next_deadline(); due && *due <= now) {
    for (auto& out : device->handle_deadline(now)) {
      launch(out.to_headend ? Hop::device_headend : Hop::device_client, std::move(out.wire));
    }
  }
  return true;
}

void CtcpSim::offer(End& from, End& to, std::uint32_t spi) {
  (void)to;
  if (!from.engine || from.engine->state() != EngineState::established) return;
  Bytes frame(kFrameBytes);
  const auto number = from.offered++;
  store_be(frame.data(), spi);
  store_be(frame.data() + 4, number);
  for (std::size_t i = 8; i < frame.size(); ++i) frame[i] = static_cast<std::uint8_t>(number * 7 + i);
  if (from.engine->send_frame(stream::Content::esp, frame) == SendVerdict::taken) {
    ++from.taken;
    from.sent_at[number] = clock.now();
  }
  drain(from);
}

void CtcpSim::settle(Duration time) {
  const auto end = clock.now() + time;
  while (step(end)) {
  }
}

void CtcpSim::run(Duration time, Duration interval) {
  const auto end = clock.now() + time;
  while (clock.now() < end) {
    settle(interval);
    offer(client, headend, kSpiToHeadend);
    offer(headend, client, kSpiToClient);
  }
  settle(std::chrono::seconds{3});
}

double CtcpSim::milliseconds_at(const End& end, double quantile) {
  if (end.latencies.empty()) return 0;
  auto sorted = end.latencies;
  const auto at = static_cast<std::size_t>(quantile * static_cast<double>(sorted.size() - 1));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(at), sorted.end());
  return std::chrono::duration<double, std::milli>(sorted[at]).count();
}

}  // namespace switchback::test
