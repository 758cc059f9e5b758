// What every end does on a path: answers, reports, figures. Two of them make a conversation.
#include "common/path/answerer.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::path;
using namespace std::chrono_literals;

namespace {

const Instant kStart{1h};

/// Everything that is due at `now`.
std::vector<ControlMessage> due(Answerer& answerer, const PathTotals& totals, Instant now, Claim claim = {}) {
  std::vector<ControlMessage> all;
  while (auto message = answerer.poll(totals, claim, now)) {
    all.push_back(std::move(*message));
    REQUIRE(all.size() < 10);
  }
  return all;
}

}  // namespace

TEST_CASE("a probe is answered with its own fields and this end's", "[path][answerer]") {
  Answerer answerer;
  PathTotals totals;
  totals.received_packets = 17;
  const auto reply = answerer.handle_message(Probe{9, 123, 40, {5, Role::in_use}}, totals, 5, kStart, kStart + 3us);
  REQUIRE(reply);
  CHECK(std::get<ProbeAnswer>(*reply) ==
        ProbeAnswer{9, 123, to_microseconds(kStart), to_microseconds(kStart) + 3, 17, 5});
  const auto pmtu = answerer.handle_message(PmtuProbe{3, 1400, 1300}, totals, 5, kStart, kStart);
  REQUIRE(pmtu);
  CHECK(std::get<PmtuAnswer>(*pmtu) == PmtuAnswer{3, 1400, 1300});
  CHECK_FALSE(answerer.handle_message(Report{}, totals, 5, kStart, kStart));
  CHECK_FALSE(answerer.handle_message(PmtuAnswer{}, totals, 5, kStart, kStart));
}

TEST_CASE("a flood of probes is answered at a bounded rate and counted", "[path][answerer]") {
  Answerer answerer;
  unsigned answers = 0;
  for (int i = 0; i < 10'000; ++i) {  // within ten seconds
    const auto now = kStart + i * 1ms;
    ControlMessage probe = Probe{static_cast<std::uint64_t>(i), 0, 0, {}};
    if (i % 2 == 1) probe = PmtuProbe{1, 1400, 100};
    if (answerer.handle_message(probe, {}, 0, now, now)) ++answers;
  }
  CHECK(answers >= 400);
  CHECK(answers <= 441);
  CHECK(answerer.answered() == answers);
  CHECK(answerer.refused() == 10'000 - answers);
  CHECK(answerer.handle_message(Probe{}, {}, 0, kStart + 20s, kStart + 20s));  // and recovers
}

TEST_CASE("reports come every 250 ms while data arrives, once more after it stops, and then not", "[path][answerer]") {
  Answerer answerer;
  PathTotals totals;
  CHECK(due(answerer, totals, kStart).empty());
  CHECK_FALSE(answerer.next_deadline());
  std::vector<Instant> at;
  Instant stopped{};
  for (int i = 1; i <= 300; ++i) {  // 3 s
    const auto now = kStart + i * 10ms;
    if (i <= 100) {
      totals.received_octets += 1000;
      ++totals.received_packets;
      totals.last_in = now;
      stopped = now;
    }
    for (const auto& message : due(answerer, totals, now)) {
      CHECK(std::get<Report>(message).number == at.size() + 1);
      at.push_back(now);
    }
  }
  REQUIRE(at.size() >= 3);
  for (std::size_t i = 1; i < at.size(); ++i) CHECK(at[i] - at[i - 1] == 250ms);
  CHECK(at.front() == kStart + 10ms);
  CHECK(at.back() > stopped);
  CHECK(at.back() - stopped <= 510ms);
  CHECK_FALSE(answerer.next_deadline());
}

TEST_CASE("control messages alone cause no reports", "[path][answerer]") {
  Answerer one, other;
  PathTotals totals;
  for (int i = 1; i <= 100; ++i) {  // each end gets what would be the other's reports
    const auto now = kStart + i * 100ms;
    ++totals.received_packets;
    totals.last_in = now;
    Report report;
    report.received_count = static_cast<std::uint64_t>(i);
    (void)one.handle_message(report, totals, 0, now, now);
    (void)other.handle_message(Probe{}, totals, 0, now, now);
    CHECK(due(one, totals, now).empty());
    CHECK(due(other, totals, now).empty());
  }
}

TEST_CASE("the peer's first probe after a rest makes the next report come in time", "[path][answerer]") {
  Answerer answerer;
  PathTotals totals;
  (void)answerer.handle_message(Probe{}, totals, 0, kStart, kStart);
  REQUIRE(answerer.next_deadline() == kStart + 250ms);
  totals.received_octets = 500;
  CHECK(due(answerer, totals, kStart + 250ms).size() == 1);
  // And data that was there already is reported at once.
  Answerer another;
  (void)another.handle_message(Probe{}, totals, 0, kStart, kStart);
  CHECK(another.next_deadline() == kStart);
}

TEST_CASE("a report carries the newest count of what was sent with what had come", "[path][answerer]") {
  Answerer answerer;
  PathTotals totals;
  totals.received_packets = 90;
  (void)answerer.handle_message(Probe{1, 0, 100, {}}, totals, 0, kStart, kStart);
  totals.received_packets = 95;
  Report theirs;
  theirs.sent_count = 110;
  (void)answerer.handle_message(theirs, totals, 0, kStart, kStart);
  totals.received_packets = 96;
  (void)answerer.handle_message(Probe{2, 0, 105, {}}, totals, 0, kStart, kStart);  // overtaken
  totals.received_packets = 97;
  totals.received_octets = 97'000;
  totals.sent_packets = 33;
  totals.last_in = kStart;
  totals.spi = Spi{0x1234};
  totals.highest = 120;
  const auto messages = due(answerer, totals, kStart + 250ms, {7, Role::twin});
  REQUIRE(messages.size() == 1);
  const auto& report = std::get<Report>(messages.front());
  CHECK(report.peer_sent_count == 110);
  CHECK(report.received_then == 95);
  CHECK(report.received_count == 97);
  CHECK(report.received_octets == 97'000);
  CHECK(report.sent_count == 33);
  CHECK(report.quiet_us == 250'000);
  CHECK(report.spi == Spi{0x1234});
  CHECK(report.highest == 120);
  CHECK(report.claim == Claim{7, Role::twin});
  Bytes body;
  build_control(report, body);
  CHECK(parse_control(body).has_value());
}

TEST_CASE("an end that follows probes now and then while data comes, and claims nothing", "[path][answerer]") {
  AnswererConfig config;
  config.probe_every = 5s;
  config.first_probe_id = 100;
  Answerer answerer{config};
  PathTotals totals;
  unsigned probes = 0;
  for (int i = 0; i < 2400; ++i) {  // two minutes, data in the first
    const auto now = kStart + i * 50ms;
    if (i < 1200) totals.received_octets += 1000;
    for (const auto& message : due(answerer, totals, now)) {
      const auto* probe = std::get_if<Probe>(&message);
      if (probe == nullptr) continue;
      CHECK(probe->claim == Claim{});
      CHECK(probe->id == 100 + probes);
      ++probes;
      const ProbeAnswer answer{probe->id, probe->sent_at_us, 0, 0, 0, 0};
      (void)answerer.handle_message(answer, totals, 0, now + 30ms, now + 30ms);
      (void)answerer.handle_message(answer, totals, 0, now + 2s, now + 2s);  // a second copy counts for nothing
    }
  }
  CHECK((probes == 12 || probes == 13));
  REQUIRE(answerer.quality().srtt);
  CHECK(*answerer.quality().srtt == 30ms);
}

TEST_CASE("loss and goodput of both directions follow from the conversation", "[path][answerer]") {
  Answerer near, far;
  PathTotals near_totals, far_totals;
  for (int i = 1; i <= 400; ++i) {  // 10 ms each: of ten packets to `far` two are lost, of those to `near` one
    const auto now = kStart + i * 10ms;
    ++near_totals.sent_packets;
    ++far_totals.sent_packets;
    if (i % 5 != 0) {
      ++far_totals.received_packets;
      far_totals.received_octets += 1000;
    }
    if (i % 10 != 0) {
      ++near_totals.received_packets;
      near_totals.received_octets += 500;
    }
    for (const auto& message : due(near, near_totals, now)) {
      ++near_totals.sent_packets, ++far_totals.received_packets;
      (void)far.handle_message(message, far_totals, 0, now, now);
    }
    for (const auto& message : due(far, far_totals, now)) {
      ++far_totals.sent_packets, ++near_totals.received_packets;
      (void)near.handle_message(message, near_totals, 0, now, now);
    }
  }
  const auto seen = near.quality();
  REQUIRE((seen.loss_out && seen.loss_in));
  CHECK(*seen.loss_out == Approx(0.2).margin(0.03));
  CHECK(*seen.loss_in == Approx(0.1).margin(0.03));
  CHECK(seen.goodput_out == Approx(80'000).epsilon(0.1));
  CHECK(seen.goodput_in == Approx(45'000).epsilon(0.1));
  const auto mirrored = far.quality();
  REQUIRE((mirrored.loss_out && mirrored.loss_in));
  CHECK(*mirrored.loss_out == Approx(0.1).margin(0.03));
  CHECK(*mirrored.loss_in == Approx(0.2).margin(0.03));
  CHECK_FALSE(near.take_mtu_doubt());  // a fifth is a bad line
}

TEST_CASE("an end that follows doubts the path MTU where its large packets vanish", "[path][answerer]") {
  AnswererConfig config;
  config.probe_every = 5s;
  Answerer answerer{config};
  PathTotals totals;
  std::uint64_t peer_received = 0;
  unsigned doubts = 0;
  for (int i = 1; i <= 400; ++i) {  // 20 s; the peer's small packets come, ours arrive for the first 6 s only
    const auto now = kStart + i * 50ms;
    ++totals.sent_packets;
    if (i < 120) ++peer_received;
    totals.received_octets += 50;
    for (const auto& message : due(answerer, totals, now)) {
      ++totals.sent_packets, ++peer_received;
      const auto* probe = std::get_if<Probe>(&message);
      if (probe == nullptr) continue;
      const ProbeAnswer answer{probe->id, probe->sent_at_us, 0, 0, peer_received, 0};
      (void)answerer.handle_message(answer, totals, 0, now, now);
    }
    if (answerer.take_mtu_doubt()) ++doubts;
    if (i < 120) CHECK(doubts == 0);
  }
  CHECK(doubts >= 1);
  CHECK(doubts <= 3);
}
