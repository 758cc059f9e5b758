#include "transports/tcp/outbox.h"

#include <catch2/catch.hpp>
#include <numeric>

#include "common/packet/pool.h"
#include "transports/tcp/tcp_health.h"

using namespace switchback;
using namespace switchback::transports;
using namespace switchback::transports::tcp;
using packet::Packet;
using packet::PacketKind;

namespace {

/// A stream that takes `room` octets.
class Narrow final : public ByteStream {
 public:
  explicit Narrow(std::size_t capacity) : room{capacity} {}
  IoStatus establish() override { return IoStatus::ok; }
  IoResult read(ByteSpan /*out*/) override { return {IoStatus::blocked, 0}; }
  IoResult write(std::span<const iovec> parts) override {
    if (broken) return {IoStatus::reset, 0};
    std::size_t taken = 0;
    for (const auto& part : parts) {
      const auto count = std::min(room, part.iov_len);
      append(seen, {static_cast<const std::uint8_t*>(part.iov_base), count});
      taken += count;
      room -= count;
      if (count < part.iov_len) return {IoStatus::blocked, taken};
    }
    return {IoStatus::ok, taken};
  }
  IoStatus flush() override { return IoStatus::ok; }
  bool wants_write() const noexcept override { return false; }
  bool has_pending() const noexcept override { return false; }
  void finish() override {}
  std::string error() const override { return {}; }
  std::size_t room;
  bool broken = false;
  Bytes seen;
};

struct Bench {
  packet::PacketPool pool{8};
  TransportCounters counters;
  Outbox outbox;
  IoStatus send(Narrow& stream, std::initializer_list<std::pair<PacketKind, std::size_t>> what) {
    std::vector<Packet> batch;
    std::uint8_t fill = 1;
    for (const auto& [kind, size] : what) {
      auto made = pool.allocate(0);
      for (auto& octet : made.append(size)) octet = fill;
      made.kind = kind;
      ++fill;
      batch.push_back(std::move(made));
    }
    std::vector<std::uint32_t> which(batch.size());
    std::iota(which.begin(), which.end(), 0U);
    const auto status = outbox.send(stream, batch, which, counters);
    for (const auto& packet : batch) CHECK_FALSE(packet);
    return status;
  }
};

}  // namespace

TEST_CASE("the rest of a frame that was cut goes first, whole frames behind it are dropped", "[tcp]") {
  Bench bench;
  Narrow stream{1500};
  CHECK(bench.send(stream, {{PacketKind::esp, 1000}, {PacketKind::esp, 1000}, {PacketKind::esp, 1000}}) ==
        IoStatus::blocked);
  CHECK(bench.counters.sent_packets == 2);
  CHECK(bench.counters.send_dropped == 1);
  CHECK(bench.outbox.waiting_bytes() == 500);
  stream.room = 100;
  CHECK(bench.outbox.flush(stream) == IoStatus::blocked);
  CHECK(bench.outbox.waiting_bytes() == 400);
  stream.room = 5000;
  CHECK(bench.send(stream, {{PacketKind::esp, 300}}) == IoStatus::ok);
  Bytes expected(1000, 1);
  expected.insert(expected.end(), 1000, 2);
  expected.insert(expected.end(), 300, 1);
  CHECK(stream.seen == expected);
}

TEST_CASE("IKE messages and small packets wait within bounds", "[tcp]") {
  Bench bench;
  Narrow stream{0};
  CHECK(bench.send(stream, {{PacketKind::ike, 3000}, {PacketKind::esp, 257}, {PacketKind::esp, 256}}) ==
        IoStatus::blocked);
  CHECK(bench.counters.send_dropped == 1);
  CHECK(bench.outbox.waiting_bytes() == 3256);
  while (bench.counters.send_dropped < 10) bench.send(stream, {{PacketKind::esp, 256}});
  CHECK(bench.outbox.waiting_bytes() <= Outbox::kSmallLimit);
  bench.send(stream, {{PacketKind::ike, 3000}});
  CHECK(bench.counters.send_dropped == 10);
  while (bench.counters.send_dropped < 20) bench.send(stream, {{PacketKind::ike, 3000}});
  CHECK(bench.outbox.waiting_bytes() <= Outbox::kIkeLimit);
  stream.room = 1'000'000;
  CHECK(bench.outbox.flush(stream) == IoStatus::ok);
  CHECK(bench.outbox.waiting_bytes() == 0);
}

TEST_CASE("a broken stream drops what it is given", "[tcp]") {
  Bench bench;
  Narrow stream{100};
  stream.broken = true;
  CHECK(bench.send(stream, {{PacketKind::ike, 100}, {PacketKind::esp, 100}}) == IoStatus::reset);
  CHECK(bench.counters.send_dropped == 2);
}

TEST_CASE("unsent data is bounded by 30 ms of the measured rate", "[tcp]") {
  CHECK(unsent_limit(0) == kLeastUnsentLimit);
  CHECK(unsent_limit(4'000'000) == 120'000);
  CHECK(unsent_limit(1'250'000'000) == kMostUnsentLimit);
  CHECK(unsent_limit(~std::uint64_t{0}) == kMostUnsentLimit);
}
