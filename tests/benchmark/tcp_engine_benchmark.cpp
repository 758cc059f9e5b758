// cTCP's engine: taking a frame, making its segment, receiving it at the other end, and its acknowledgement.
#include <optional>
#include <vector>

#include "tests/benchmark/manual_time.h"
#include "tests/support/seeded_random.h"
#include "tests/support/virtual_clock.h"
#include "transports/ctcp/tcp_engine.h"

using namespace switchback;
using namespace switchback::transports::ctcp;
using switchback::transports::stream::Content;

namespace {

constexpr std::size_t kBatch = 45;  // what one super-segment holds

struct Kept {
  TcpHeader header;
  Bytes payload;
  [[nodiscard]] TcpSegmentView view() const { return {header, payload}; }
};

/// Two engines that have greeted each other.
struct Pair {
  test::VirtualClock clock;
  test::SeededRandom random{2};
  AddressPair path{{IpAddress::v4(1), 10000}, {IpAddress::v4(2), 40000}};
  TcpEngine client = TcpEngine::connect(config(40000, 10000), random, clock.now());
  std::optional<TcpEngine> headend;
  Bytes esp;

  Pair() {
    SynCookies cookies{Secret{32}, 1448};
    const auto syn = drain(client).at(0);
    const auto answer = cookies.answer(syn.view(), path, clock.now()).value();
    client.handle_segment({answer.header, {}}, clock.now());
    (void)drain(client);
    esp.assign(client.maximum_esp_bytes(), 0x5a);
    store_be(esp.data(), std::uint32_t{0xC0FFEE01});
    (void)client.send_frame(Content::esp, esp);
    const auto first = drain(client);  // two segments: the prefix leaves no room for all of the frame in one
    headend.emplace(TcpEngine::accept(config(10000, 40000),
                                      cookies.accept(first.at(0).view(), path, clock.now()).value(), clock.now()));
    headend->marks().add(Spi{0xC0FFEE01});
    for (const auto& segment : first) give(*headend, segment);
    // An answer and its acknowledgement, so that both ends are at rest.
    (void)headend->send_frame(Content::esp, esp);
    for (const auto& segment : drain(*headend)) give(client, segment);
    clock.advance(std::chrono::milliseconds{25});
    client.handle_deadline(clock.now());
    for (const auto& segment : drain(client)) give(*headend, segment);
  }
  static EngineConfig config(std::uint16_t local, std::uint16_t remote) {
    EngineConfig out;
    out.local_port = local;
    out.remote_port = remote;
    out.mss = 1448;
    return out;
  }
  std::vector<Kept> drain(TcpEngine& from) {
    std::vector<Kept> out;
    while (const auto segment = from.poll_segment(clock.now())) {
      out.push_back({segment->header, to_bytes(segment->payload)});
    }
    return out;
  }
  std::size_t give(TcpEngine& to, const Kept& segment) {
    std::size_t frames = 0;
    to.handle_segment(segment.view(), clock.now());
    while (to.poll_frame()) ++frames;
    return frames;
  }
  /// The headend's acknowledgements reach the client.
  void acknowledge() {
    clock.advance(std::chrono::milliseconds{1});
    if (const auto due = headend->next_deadline(); due && *due <= clock.now()) headend->handle_deadline(clock.now());
    for (const auto& segment : drain(*headend)) give(client, segment);
  }
};

/// Both ends, all segments arriving: a batch of frames and its acknowledgements, with the copies of a wire in memory.
void engine_round(benchmark::State& state) {
  Pair pair;
  std::vector<Kept> wire;
  std::size_t arrived = 0, sent = 0;
  for ([[maybe_unused]] auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      if (pair.client.send_frame(Content::esp, pair.esp) == SendVerdict::taken) ++sent;
    }
    wire = pair.drain(pair.client);
    for (const auto& segment : wire) arrived += pair.give(*pair.headend, segment);
    pair.acknowledge();
  }
  if (arrived != sent || sent == 0) state.SkipWithError("frames are missing");
  state.SetItemsProcessed(static_cast<std::int64_t>(arrived));
  state.SetBytesProcessed(static_cast<std::int64_t>(arrived * pair.esp.size()));
}

/// The sender alone: frames in, segments out and copied; what happens to them then is not counted.
void engine_send(benchmark::State& state) {
  Pair pair;
  std::vector<Kept> wire(kBatch);
  std::size_t sent = 0;
  for ([[maybe_unused]] auto _ : state) {
    std::size_t segments = 0;
    testing::timed(state, [&] {
      for (std::size_t i = 0; i < kBatch; ++i) {
        if (pair.client.send_frame(Content::esp, pair.esp) == SendVerdict::taken) ++sent;
        while (const auto segment = pair.client.poll_segment(pair.clock.now())) {
          if (segments == wire.size()) wire.emplace_back();
          wire[segments].header = segment->header;
          wire[segments].payload.assign(segment->payload.begin(), segment->payload.end());
          ++segments;
        }
      }
    });
    for (std::size_t i = 0; i < segments; ++i) pair.give(*pair.headend, wire[i]);
    pair.acknowledge();
  }
  if (sent == 0) state.SkipWithError("nothing was sent");
  state.counters["packets"] = benchmark::Counter(static_cast<double>(sent), benchmark::Counter::kIsRate);
}

/// The receiver alone: segments in, frames out.
void engine_receive(benchmark::State& state) {
  Pair pair;
  std::size_t arrived = 0;
  for ([[maybe_unused]] auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) (void)pair.client.send_frame(Content::esp, pair.esp);
    const auto wire = pair.drain(pair.client);
    testing::timed(state, [&] {
      for (const auto& segment : wire) arrived += pair.give(*pair.headend, segment);
    });
    pair.acknowledge();
  }
  state.counters["packets"] = benchmark::Counter(static_cast<double>(arrived), benchmark::Counter::kIsRate);
}

/// The sender's part of acknowledgements: one for each batch of segments.
void engine_acknowledge(benchmark::State& state) {
  Pair pair;
  for ([[maybe_unused]] auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) (void)pair.client.send_frame(Content::esp, pair.esp);
    for (const auto& segment : pair.drain(pair.client)) pair.give(*pair.headend, segment);
    pair.clock.advance(std::chrono::milliseconds{1});
    if (const auto due = pair.headend->next_deadline(); due && *due <= pair.clock.now()) {
      pair.headend->handle_deadline(pair.clock.now());
    }
    const auto acks = pair.drain(*pair.headend);
    testing::timed(state, [&] {
      for (const auto& ack : acks) pair.give(pair.client, ack);
    });
    state.counters["acks"] = static_cast<double>(acks.size());
  }
}

/// One segment in every batch is lost, sent again after duplicate ACKs, and arrives.
void engine_round_with_loss(benchmark::State& state) {
  Pair pair;
  std::size_t arrived = 0, sent = 0;
  for ([[maybe_unused]] auto _ : state) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      if (pair.client.send_frame(Content::esp, pair.esp) == SendVerdict::taken) ++sent;
    }
    auto wire = pair.drain(pair.client);
    if (!wire.empty()) wire.erase(wire.begin());
    for (const auto& segment : wire) {
      arrived += pair.give(*pair.headend, segment);
      for (const auto& ack : pair.drain(*pair.headend)) pair.give(pair.client, ack);
    }
    pair.clock.advance(std::chrono::milliseconds{25});
    pair.client.handle_deadline(pair.clock.now());
    for (const auto& segment : pair.drain(pair.client)) arrived += pair.give(*pair.headend, segment);
    pair.acknowledge();
  }
  state.counters["delivered"] = sent == 0 ? 0.0 : static_cast<double>(arrived) / static_cast<double>(sent);
  state.SetItemsProcessed(static_cast<std::int64_t>(sent));
}

BENCHMARK(engine_round);
BENCHMARK(engine_send)->UseManualTime();
BENCHMARK(engine_receive)->UseManualTime();
BENCHMARK(engine_acknowledge)->UseManualTime();
BENCHMARK(engine_round_with_loss);

}  // namespace
