#include <catch2/catch.hpp>

#include "common/path/control.h"

using namespace switchback;
using namespace switchback::path;

namespace {

Bytes built(const ControlMessage& message) {
  Bytes out;
  build_control(message, out);
  return out;
}

Report full_report() {
  Report report;
  report.number = 7;
  report.spi = Spi{0x11223344};
  report.highest = 0x1'0000'0100;
  report.received_count = 200;
  report.received_octets = 250'000;
  report.peer_sent_count = 256;
  report.received_then = 199;
  report.sent_count = 31;
  report.quiet_us = 1500;
  report.claim = {9, Role::twin};
  report.holes_omitted = true;
  report.holes = {{1, 1}, {20, 10}, {100, 50}};
  report.tcp = TcpView{1, 2, 3, 4, 5, 6, 7, 8};
  return report;
}

Observation full_observation(bool v6, std::uint16_t octets) {
  Observation seen;
  seen.id = 11;
  seen.remote = *Endpoint::parse(v6 ? "[2001:db8::7]:40000" : "192.0.2.7:40000");
  seen.local = *Endpoint::parse(v6 ? "[2001:db8::1]:443" : "192.0.2.1:443");
  seen.received_count = 100;
  seen.sent_count = 90;
  seen.clock_s = 1'800'000'000;
  if (v6) seen.tcp = TcpObservation{true, 1, 2, 1440, std::uint8_t{8}, true, false, true, 3, 4, 5};
  seen.body_octets = octets;
  return seen;
}

TraceReport full_trace(bool v6) {
  TraceReport report;
  report.id = 12;
  report.sent_count = 345;
  report.data_segments_sent = 400;
  report.data_segments_received = 500;
  report.hops.push_back({1, 20, 19, 812, *IpAddress::parse(v6 ? "2001:db8::7" : "10.0.0.1")});
  report.hops.push_back({3, 5, 0, 0, {}});
  report.hops.push_back({32, 1, 1, 9000, *IpAddress::parse(v6 ? "2001:db8::9" : "10.0.9.1")});
  return report;
}

std::vector<ControlMessage> samples() {
  return {Probe{1, 2, 3, {4, Role::in_use}},
          ProbeAnswer{1, 2, 3, 4, 5, 6},
          full_report(),
          Report{},
          PmtuProbe{77, 1400, 1350},
          PmtuAnswer{77, 1400, 1350},
          Observe{5, 1300},
          full_observation(true, 104),
          full_observation(false, 1300),
          TraceOrder{9, 3, 20},
          TraceOrder{9, 255, 900},
          TracePacket{9, 32},
          full_trace(false),
          full_trace(true),
          TraceReport{1, 2, 3, 4, false, {}}};
}

}  // namespace

TEST_CASE("a probe has the octets that docs/protocol.md gives", "[path]") {
  CHECK(to_hex(built(Probe{0x0102030405060708, 0x1112131415161718, 0x2122232425262728, {0x31323334, Role::twin}})) ==
        "5377426b"  // "SwBk"
        "01"
        "01"
        "0028"              // version, type, length
        "0102030405060708"  // id
        "1112131415161718"  // sent_at_us
        "2122232425262728"  // sent_count
        "31323334"
        "02"  // decision, role
        "000000");
  CHECK(to_hex(built(PmtuAnswer{1, 1500, 1460})) ==
        "5377426b"
        "01"
        "05"
        "0014"
        "0000000000000001"
        "05dc"
        "05b4");
}

TEST_CASE("what is built is parsed to the same message and has the documented size", "[path]") {
  const std::array sizes{kProbeOctets,
                         kProbeAnswerOctets,
                         kReportOctets + 3 * kHoleOctets + kTcpViewOctets,
                         kReportOctets,
                         std::size_t{1350},
                         kPmtuOctets,
                         kObserveOctets,
                         kObservationOctets,
                         std::size_t{1300},
                         kTraceOctets,
                         std::size_t{900},
                         kTraceOctets,
                         kTraceReportOctets + 3 * kTraceHopOctets,
                         kTraceReportOctets + 3 * kTraceHopOctets,
                         kTraceReportOctets};
  const auto all = samples();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto octets = built(all[i]);
    CHECK(octets.size() == sizes[i]);
    CHECK(is_control(octets));
    const auto parsed = parse_control(octets);
    REQUIRE(parsed.has_value());
    CHECK(*parsed == all[i]);
  }
  CHECK(kMaxReportOctets < 576 - 100);  // a report fits the smallest path
}

TEST_CASE("a message cut short or lengthened anywhere is refused", "[path]") {
  for (const auto& message : samples()) {
    const auto octets = built(message);
    for (std::size_t size = 0; size < octets.size(); ++size) {
      auto cut = Bytes{octets.begin(), octets.begin() + static_cast<std::ptrdiff_t>(size)};
      CHECK_FALSE(parse_control(cut).has_value());
      if (size < kControlHeaderOctets) continue;
      store_be(cut.data() + 6, static_cast<std::uint16_t>(size));  // and with a length to match
      CHECK_FALSE(parse_control(cut).has_value());
    }
    auto longer = octets;
    longer.push_back(0);
    CHECK(parse_control(longer).error().code == ParseErrc::bad_length);
    store_be(longer.data() + 6, static_cast<std::uint16_t>(longer.size()));
    CHECK_FALSE(parse_control(longer).has_value());
  }
}

TEST_CASE("other dummies are told apart and newer versions are unsupported", "[path]") {
  CHECK_FALSE(is_control({}));
  CHECK_FALSE(is_control(Bytes(100, 0)));
  CHECK(parse_control(Bytes(100, 0)).error() == ParseError{ParseErrc::bad_value, 0});
  auto octets = built(Probe{});
  octets[4] = 2;
  CHECK(parse_control(octets).error() == ParseError{ParseErrc::unsupported, 4});
  octets[4] = 1;
  octets[5] = 11;
  CHECK(parse_control(octets).error() == ParseError{ParseErrc::unsupported, 5});
}

TEST_CASE("unknown roles, reserved octets and padding that is not zero are refused", "[path]") {
  auto probe = built(Probe{});
  probe[36] = 3;
  CHECK(parse_control(probe).error().code == ParseErrc::bad_value);
  probe[36] = 0;
  probe[39] = 1;
  CHECK(parse_control(probe).error().code == ParseErrc::bad_value);
  auto pmtu = built(PmtuProbe{1, 1400, 1300});
  pmtu.back() = 1;
  CHECK(parse_control(pmtu).error().code == ParseErrc::bad_value);
  auto report = built(Report{});
  report[73] = 4;  // flags
  CHECK(parse_control(report).error().code == ParseErrc::bad_value);
}

TEST_CASE("an observation has zeros wherever it says nothing", "[path]") {
  const auto refused = [](Bytes octets, std::size_t at) {
    octets[at] ^= 0x80;
    const auto parsed = parse_control(octets);
    return !parsed && parsed.error().code == ParseErrc::bad_value;
  };
  const auto v4 = built(full_observation(false, 104));
  CHECK(refused(v4, 16));      // an unknown flag
  CHECK(refused(v4, 17));      // a window scale that nobody told
  CHECK(refused(v4, 24 + 4));  // behind an IPv4 address
  CHECK(refused(v4, 80));      // a sequence number without TCP
  CHECK(refused(v4, 102));     // reserved
  CHECK(refused(built(full_observation(false, 1300)), 1299));
}

TEST_CASE("holes must be in order, apart, and below the highest number", "[path]") {
  const auto with = [](std::uint64_t highest, std::vector<Hole> holes) {
    Report good;
    good.highest = 1000;
    good.holes.assign(holes.size(), Hole{});
    for (std::size_t i = 0; i < holes.size(); ++i) good.holes[i] = {static_cast<std::uint32_t>(2 * i + 1), 1};
    auto octets = built(good);
    store_be(octets.data() + 16, highest);
    for (std::size_t i = 0; i < holes.size(); ++i) {
      store_be(octets.data() + kReportOctets + 8 * i, holes[i].below);
      store_be(octets.data() + kReportOctets + 8 * i + 4, holes[i].length);
    }
    return parse_control(octets).has_value();
  };
  CHECK(with(1000, {{999, 999}}));
  CHECK(with(1000, {{2, 2}, {4, 1}}));
  CHECK_FALSE(with(1000, {{1000, 1}}));        // number 0
  CHECK_FALSE(with(1000, {{5, 0}}));           // empty
  CHECK_FALSE(with(1000, {{5, 6}}));           // covers the highest
  CHECK_FALSE(with(1000, {{0, 1}}));           // is the highest
  CHECK_FALSE(with(1000, {{2, 2}, {3, 1}}));   // touch
  CHECK_FALSE(with(1000, {{10, 5}, {8, 1}}));  // overlap
  CHECK_FALSE(with(1000, {{10, 1}, {5, 1}}));  // order
  CHECK_FALSE(with(0, {{1, 1}}));              // nothing received
  Report many;
  many.highest = 1000;
  for (std::uint32_t i = 0; i < kMaxHoles; ++i) many.holes.push_back({2 * i + 1, 1});
  auto octets = built(many);
  CHECK(parse_control(octets).has_value());
  octets[74] = kMaxHoles + 1;
  CHECK(parse_control(octets).error().code == ParseErrc::too_many);
}

TEST_CASE("trace messages have the octets that docs/protocol.md gives", "[path]") {
  CHECK(to_hex(built(TraceOrder{0x0102030405060708, 9, 22})) ==
        "5377426b0108001601020304050607080900"
        "0016"
        "0000");
  CHECK(to_hex(built(TracePacket{0x0102030405060708, 9})) ==
        "5377426b010900140102030405060708"
        "09000000");
  TraceReport report{0x0102030405060708, 0x1112131415161718, 0x21, 0x31, true, {}};
  report.hops.push_back({2, 10, 7, 0x1234, *IpAddress::parse("10.0.0.1")});
  CHECK(to_hex(built(report)) ==
        "5377426b010a004c0102030405060708"
        "1112131415161718"
        "0000000000000021"
        "0000000000000031"
        "02010000"
        "020000000000000a0000000700001234"
        "0a000001000000000000000000000000");
}

TEST_CASE("a trace that cannot be is refused", "[path]") {
  auto order = built(TraceOrder{1, 3, 0});
  order[16] = 33;
  CHECK(parse_control(order).error().code == ParseErrc::bad_value);
  order[16] = 255;
  CHECK(parse_control(order).has_value());
  auto packet = built(TracePacket{1, 3});
  packet[16] = 255;
  CHECK_FALSE(parse_control(packet).has_value());
  const auto good = built(full_trace(false));
  const auto with = [&](std::size_t at, std::uint8_t value) {
    auto octets = good;
    octets[at] = value;
    return parse_control(octets).has_value();
  };
  constexpr std::size_t kFirst = kTraceReportOctets, kSecond = kFirst + kTraceHopOctets;
  CHECK(with(kFirst, 1));
  CHECK_FALSE(with(kFirst, 0));        // no such hop limit
  CHECK_FALSE(with(kFirst, 3));        // twice
  CHECK_FALSE(with(kFirst + 11, 21));  // more answered than sent
  CHECK_FALSE(with(kFirst + 1, 1));    // reserved
  CHECK_FALSE(with(kFirst + 20, 1));   // behind an IPv4 address
  CHECK_FALSE(with(kSecond + 16, 1));  // an address, and nobody answered
  CHECK_FALSE(with(41, 4));            // hops that are not there
  CHECK_FALSE(with(40, 0x42));         // an unknown flag
}
