#include "headend/tracer.h"

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::headend;
using namespace std::chrono_literals;

namespace {

const AddressPair kPath{*Endpoint::parse("192.0.2.1:4500"), *Endpoint::parse("198.51.100.2:4500"), 0};
const Instant kStart{std::chrono::seconds{100}};

transports::LimitedSent left(std::uint8_t hop_limit, bool possible = true) {
  transports::LimitedSent sent;
  sent.path = kPath;
  sent.hop_limit = hop_limit;
  sent.possible = possible;
  if (possible) sent.packet = packet::LimitedPacket{};
  return sent;
}

path::LimitedAnswer answered(std::uint8_t hop_limit, Duration rtt, const char* from = "10.0.4.1") {
  path::LimitedAnswer answer;
  answer.hop_limit = hop_limit;
  answer.from = *IpAddress::parse(from);
  answer.round_trip = rtt;
  return answer;
}

path::TraceOrder order(std::uint64_t id, std::uint8_t hop_limit, std::uint16_t octets = path::kTraceOctets) {
  return {id, hop_limit, octets};
}

}  // namespace

TEST_CASE("an order brings one packet, and the report what became of it", "[headend]") {
  Tracer tracer;
  const auto packet = tracer.handle_order(order(5, 2), kPath, kStart);
  REQUIRE(packet);
  CHECK(*packet == path::TracePacket{5, 2});
  tracer.handle_sent(left(2));
  tracer.handle_answer(answered(2, 900us));
  CHECK_FALSE(tracer.poll_report(7, kStart));  // longer than the one order
  (void)tracer.handle_order(order(5, path::kTraceReportOnly, 100), kPath, kStart);
  const auto report = tracer.poll_report(7, kStart);
  REQUIRE(report);
  CHECK(report->id == 5);
  CHECK(report->sent_count == 7);
  CHECK(report->hops_available);
  REQUIRE(report->hops.size() == 1);
  CHECK(report->hops[0] == path::TraceHop{2, 1, 1, 900, *IpAddress::parse("10.0.4.1")});
  Bytes body;
  path::build_control(*report, body);
  CHECK(path::parse_control(body).has_value());
}

TEST_CASE("orders and reports are bounded, and a report never has more octets than the orders", "[headend]") {
  Tracer tracer;
  std::size_t packets = 0, ordered = 0, reported = 0, reports = 0;
  for (int i = 0; i < 10000; ++i) {  // ten seconds, a thousand a second
    const auto now = kStart + i * 1ms;
    const auto hop = static_cast<std::uint8_t>(1 + i % path::kMaxTraceHops);
    ordered += path::kTraceOctets;
    if (const auto packet = tracer.handle_order(order(1, hop), kPath, now)) {
      ++packets;
      tracer.handle_sent(left(packet->hop_limit));
    }
    if (const auto report = tracer.poll_report(0, now)) {
      Bytes body;
      path::build_control(*report, body);
      reported += body.size();
      ++reports;
    }
    REQUIRE(reported <= ordered);
  }
  CHECK(packets <= 1700);
  CHECK(packets >= 1500);
  CHECK(reports <= 41);
  CHECK(reports >= 20);
}

TEST_CASE("another id or path begins anew", "[headend]") {
  Tracer tracer;
  (void)tracer.handle_order(order(1, 3, 900), kPath, kStart);
  const auto first = tracer.generation();
  tracer.handle_sent(left(3));
  (void)tracer.handle_order(order(2, 1, 900), kPath, kStart + 1s);
  CHECK(tracer.generation() != first);
  const auto report = tracer.poll_report(0, kStart + 1s);
  REQUIRE(report);
  CHECK(report->id == 2);
  CHECK(report->hops.empty());
  auto elsewhere = kPath;
  elsewhere.remote.port = 4501;
  const auto second = tracer.generation();
  (void)tracer.handle_order(order(2, 1), elsewhere, kStart + 2s);
  CHECK(tracer.generation() != second);
  CHECK(tracer.path() == elsewhere);
}

TEST_CASE("more answers than packets, answers of no hop, and a path that cannot are told as they are", "[headend]") {
  Tracer tracer;
  (void)tracer.handle_order(order(1, 3, 900), kPath, kStart);
  tracer.handle_answer(answered(3, 1ms));
  tracer.handle_answer(answered(0, 1ms));
  tracer.handle_answer(answered(200, 1ms));
  tracer.handle_sent(left(3, false));
  const auto report = tracer.poll_report(0, kStart);
  REQUIRE(report);
  CHECK_FALSE(report->hops_available);
  CHECK(report->hops.empty());
}

TEST_CASE("only orders are orders", "[headend]") {
  Bytes body;
  path::build_control(order(1, 3, 40), body);
  CHECK(parse_order(body) == order(1, 3, 40));
  body[16] = 99;
  CHECK_FALSE(parse_order(body));
  Bytes other;
  path::build_control(path::TracePacket{1, 3}, other);
  CHECK_FALSE(parse_order(other));
  CHECK_FALSE(parse_order({}));
}
