#include "tools/middlebox/box.h"

#include <catch2/catch.hpp>

#include <array>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/packet/checksum.h"
#include "tests/support/virtual_clock.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;
using packet::IpProtocol;
using std::chrono::milliseconds;
using std::chrono::seconds;
using namespace transports::ctcp;

namespace {

const auto kInner = *IpAddress::parse("10.0.0.2");
const auto kOuter = *IpAddress::parse("192.0.2.1");
const auto kInner6 = *IpAddress::parse("2001:db8:1::2");
const auto kOuter6 = *IpAddress::parse("2001:db8:2::1");
const auto kOwn = *IpAddress::parse("10.0.0.1");
const auto kOwn6 = *IpAddress::parse("2001:db8:1::1");

/// A UDP datagram with a right checksum.
Bytes udp(const Endpoint& from, const Endpoint& to, std::size_t octets) {
  const bool v4 = from.address.is_v4();
  const std::size_t header = v4 ? 20 : 40, l4 = 8 + octets;
  Bytes made(header + l4);
  made[0] = v4 ? 0x45 : 0x60;
  store_be(made.data() + (v4 ? 2 : 4), static_cast<std::uint16_t>(v4 ? made.size() : l4));
  made[v4 ? 8 : 7] = 64;
  made[v4 ? 9 : 6] = 17;
  std::copy(from.address.bytes().begin(), from.address.bytes().end(), made.begin() + (v4 ? 12 : 8));
  std::copy(to.address.bytes().begin(), to.address.bytes().end(), made.begin() + (v4 ? 16 : 24));
  if (v4) store_be(made.data() + 10, packet::checksum(ByteView{made}.first(20)));
  auto* at = made.data() + header;
  store_be(at, from.port);
  store_be(at + 2, to.port);
  store_be(at + 4, static_cast<std::uint16_t>(l4));
  packet::ChecksumSum sum;
  sum.add_pseudo_header(ByteView{made}.subspan(v4 ? 12 : 8, v4 ? 8 : 32), 17, static_cast<std::uint32_t>(l4));
  store_be(at + 6, sum.add({at, l4}).finish());
  return made;
}

bool checksums_right(ByteView octets) {
  const auto ip = packet::parse_ip(octets);
  if (!ip) return false;
  if (ip->family == IpFamily::v4 && packet::checksum(octets.first(ip->header_bytes)) != 0) return false;
  const auto l4 = octets.subspan(ip->l4_offset);
  packet::ChecksumSum sum;
  if (!ip->is(IpProtocol::icmp)) {
    sum.add_pseudo_header(octets.subspan(ip->source_offset, 2U * ip->address_bytes), ip->protocol,
                          static_cast<std::uint32_t>(l4.size()));
  }
  return sum.add(l4).finish() == 0;
}

std::vector<Box::Sent> drain(Box& box) {
  std::vector<Box::Sent> all;
  while (auto sent = box.poll_packet()) all.push_back(std::move(*sent));
  return all;
}

Box make(std::initializer_list<const char*> profiles, const char* outward = "", const char* inward = "") {
  BoxRules rules;
  for (const auto* text : profiles) REQUIRE(add_profile(rules, text));
  rules.impair[0][0] = *parse_impairment(outward);
  rules.impair[1][0] = *parse_impairment(inward);
  return Box{std::move(rules), kOwn, kOwn6};
}

constexpr Instant kStart = VirtualClock::kStart;

}  // namespace

TEST_CASE("without rules everything passes with one hop less, and may pass whole", "[middlebox]") {
  for (const bool v4 : {true, false}) {
    auto box = make({});
    const auto datagram = udp({v4 ? kInner : kInner6, 5000}, {v4 ? kOuter : kOuter6, 4500}, 100);
    box.handle(Direction::outward, datagram, kStart);
    const auto sent = drain(box);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].direction == Direction::outward);
    CHECK(sent[0].packet[v4 ? 8 : 7] == 63);
    CHECK(checksums_right(sent[0].packet));
    CHECK(box.transparent(flow_of(Direction::outward, datagram, *packet::parse_ip(datagram))));
  }
}

TEST_CASE("the last hop is told to the sender", "[middlebox]") {
  for (const bool v4 : {true, false}) {
    auto box = make({});
    auto datagram = udp({v4 ? kInner : kInner6, 5000}, {v4 ? kOuter : kOuter6, 4500}, 100);
    datagram[v4 ? 8 : 7] = 1;
    box.handle(Direction::outward, datagram, kStart);
    const auto sent = drain(box);
    REQUIRE(sent.size() == 1);
    CHECK(sent[0].direction == Direction::inward);
    CHECK(checksums_right(sent[0].packet));
    const auto ip = packet::parse_ip(sent[0].packet);
    REQUIRE(ip);
    CHECK(packet::destination_address(sent[0].packet, *ip) == (v4 ? kInner : kInner6));
    CHECK(sent[0].packet[ip->l4_offset] == (v4 ? 11 : 3));
    // An ICMP error is never answered by another.
    auto again = sent[0].packet;
    again[v4 ? 8 : 7] = 1;
    box.handle(Direction::inward, again, kStart);
    CHECK(drain(box).empty());
  }
}

TEST_CASE("a block is silent, or says so by ICMP or RST", "[middlebox]") {
  const auto datagram = udp({kInner, 5000}, {kOuter, 4500}, 100);
  auto silent = make({"block:udp/4500"});
  silent.handle(Direction::outward, datagram, kStart);
  CHECK(drain(silent).empty());
  silent.handle(Direction::outward, udp({kInner, 5000}, {kOuter, 500}, 100), kStart);
  CHECK(drain(silent).size() == 1);

  auto telling = make({"block-icmp:udp"});
  telling.handle(Direction::outward, datagram, kStart);
  const auto icmp = drain(telling);
  REQUIRE(icmp.size() == 1);
  CHECK(icmp[0].packet[20] == 3);
  CHECK(icmp[0].packet[21] == 13);

  auto resetting = make({"block-rst:tcp/443"});
  const FlowKey flow{6, {kInner, 40000}, {kOuter, 443}};
  Segment syn;
  syn.header = {40000, 443, 900, 0, kSyn, 65535, {}};
  resetting.handle(Direction::outward, packet_of(flow, std::move(syn)), kStart);
  const auto reset = drain(resetting);
  REQUIRE(reset.size() == 1);
  const auto ip = packet::parse_ip(reset[0].packet);
  const auto segment = segment_of(Direction::inward, reset[0].packet, *ip);
  REQUIRE(segment);
  CHECK(segment->header.has(kRst));
  CHECK(segment->header.acknowledgement == 901);
  CHECK(checksums_right(reset[0].packet));
}

TEST_CASE("delay is kept to the nanosecond, and a deadline tells when to come back", "[middlebox]") {
  auto box = make({}, "delay=20ms");
  box.handle(Direction::outward, udp({kInner, 5000}, {kOuter, 4500}, 10), kStart);
  CHECK(drain(box).empty());
  REQUIRE(box.next_deadline() == kStart + milliseconds{20});
  box.handle_deadline(kStart + milliseconds{19});
  CHECK(drain(box).empty());
  box.handle_deadline(kStart + milliseconds{20});
  CHECK(drain(box).size() == 1);
}

TEST_CASE("a packet larger than the MTU is answered with the MTU, unless ICMP is filtered", "[middlebox]") {
  const auto large = udp({kInner, 5000}, {kOuter, 4500}, 1400);
  auto telling = make({}, "mtu=1280");
  telling.handle(Direction::outward, large, kStart);
  const auto sent = drain(telling);
  REQUIRE(sent.size() == 1);
  CHECK(sent[0].packet[20] == 3);
  CHECK(sent[0].packet[21] == 4);
  CHECK(load_be<std::uint16_t>(sent[0].packet.data() + 26) == 1280);
  auto quiet = make({}, "mtu=1280,no-icmp");
  quiet.handle(Direction::outward, large, kStart);
  CHECK(drain(quiet).empty());
}

TEST_CASE("addresses are translated both ways, and a flow gets another port when told or after a pause",
          "[middlebox]") {
  auto box = make({"nat=203.0.113.9/30s"});
  const auto public_address = *IpAddress::parse("203.0.113.9");
  const auto source_of = [](const Bytes& octets) {
    return flow_of(Direction::outward, octets, *packet::parse_ip(octets)).inner;
  };
  const auto datagram = udp({kInner, 5000}, {kOuter, 4500}, 10);
  box.handle(Direction::outward, datagram, kStart);
  auto sent = drain(box);
  REQUIRE(sent.size() == 1);
  const auto mapped = source_of(sent[0].packet);
  CHECK(mapped.address == public_address);
  CHECK(checksums_right(sent[0].packet));

  box.handle(Direction::inward, udp({kOuter, 4500}, mapped, 10), kStart);
  sent = drain(box);
  REQUIRE(sent.size() == 1);
  CHECK(flow_of(Direction::inward, sent[0].packet, *packet::parse_ip(sent[0].packet)).inner == Endpoint{kInner, 5000});
  CHECK(checksums_right(sent[0].packet));

  box.handle(Direction::inward, udp({kOuter, 4501}, mapped, 10), kStart);  // another outer end: no mapping
  CHECK(drain(box).empty());

  box.handle(Direction::outward, datagram, kStart + seconds{31});
  CHECK(source_of(drain(box)[0].packet).port != mapped.port);
  const auto second = (box.handle(Direction::outward, datagram, kStart + seconds{32}), source_of(drain(box)[0].packet));
  box.rebind_all(kStart + seconds{33});
  box.handle(Direction::outward, datagram, kStart + seconds{33});
  CHECK(source_of(drain(box)[0].packet) != second);
}

TEST_CASE("idle flows are forgotten until they begin anew", "[middlebox]") {
  auto box = make({"idle=60s:udp"});
  const auto out = udp({kInner, 5000}, {kOuter, 4500}, 10);
  const auto in = udp({kOuter, 4500}, {kInner, 5000}, 10);
  box.handle(Direction::outward, out, kStart);
  box.handle(Direction::inward, in, kStart + seconds{59});
  CHECK(drain(box).size() == 2);
  box.handle(Direction::inward, in, kStart + seconds{120});
  CHECK(drain(box).empty());
  box.handle(Direction::outward, out, kStart + seconds{121});
  box.handle(Direction::inward, in, kStart + seconds{121});
  CHECK(drain(box).size() == 2);
}

TEST_CASE("a device meets its flows, and tcp-state-bypass exempts them", "[middlebox]") {
  for (const bool bypass : {false, true}) {
    BoxRules rules;
    REQUIRE(add_profile(rules, "inspect:tcp/10000"));
    if (bypass) rules.bypass.push_back(*Match::parse("tcp/10000"));
    Box box{std::move(rules), kOwn, kOwn6};
    const FlowKey flow{6, {kInner, 40000}, {kOuter, 10000}};
    const auto give = [&](std::uint8_t flags, std::uint32_t sequence, std::size_t octets) {
      Segment segment;
      segment.header = {40000, 10000, sequence, 1, flags, 65535, {}};
      segment.payload.resize(octets);
      box.handle(Direction::outward, packet_of(flow, std::move(segment)), kStart);
      return drain(box).size();
    };
    CHECK(give(kSyn, 100, 0) == 1);
    CHECK(give(kAck, 151, 50) == (bypass ? 1 : 0));  // 101 to 150 are missing
    CHECK(box.transparent(flow) == bypass);
    bool noted = false;
    while (const auto note = box.poll_note()) noted = noted || note->decision.what == "gap_open";
    CHECK(noted == !bypass);
  }
}

TEST_CASE("a throttled flow gets its rate and no more", "[middlebox]") {
  auto box = make({"throttle=800k:udp"});  // 100,000 octets per second
  std::size_t passed = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    box.handle(Direction::outward, udp({kInner, 5000}, {kOuter, 4500}, 972), kStart + milliseconds{ms});
    passed += drain(box).size() * 1000;
  }
  CHECK(passed > 90'000);
  CHECK(passed < 115'000);
}

TEST_CASE("a flow meets every device that matches, in the order of the options", "[middlebox]") {
  auto box = make({"edit=mss=1000", "lose-outward=1", "inspect"});
  const FlowKey flow{6, {kInner, 40000}, {kOuter, 10000}};
  const auto give = [&](std::uint8_t flags, std::uint32_t sequence, std::size_t octets) {
    Segment segment;
    segment.header = {40000, 10000, sequence, 1, flags, 65535, {}};
    if ((flags & kSyn) != 0) segment.header.options.mss = 1460;
    segment.payload.resize(octets);
    box.handle(Direction::outward, packet_of(flow, std::move(segment)), kStart);
    return drain(box);
  };
  const auto syn = give(kSyn, 100, 0);
  REQUIRE(syn.size() == 1);
  const auto ip = packet::parse_ip(syn[0].packet);
  CHECK(segment_of(Direction::outward, syn[0].packet, *ip)->header.options.mss == 1000);
  CHECK(checksums_right(syn[0].packet));
  CHECK(give(kAck, 101, 50).empty());  // lost by its number
  CHECK(give(kAck, 151, 50).empty());  // held behind the hole
  CHECK(give(kAck, 101, 50).size() == 2);
}

TEST_CASE("what arrived with a wrong checksum reaches no device", "[middlebox]") {
  auto box = make({"proxy"});
  const FlowKey flow{6, {kInner, 40000}, {kOuter, 10000}};
  Segment syn;
  syn.header = {40000, 10000, 1, 0, kSyn, 65535, {}};
  auto packet = packet_of(flow, std::move(syn));
  packet.back() ^= 1;
  box.handle(Direction::outward, packet, kStart);
  CHECK(drain(box).empty());
  const auto note = box.poll_note();
  REQUIRE(note);
  CHECK(note->decision.why == "wrong checksum");
}

TEST_CASE("a translator runs out of ports without harm, and the oldest flows go first", "[middlebox]") {
  auto box = make({"nat=203.0.113.9"});
  for (unsigned i = 0; i < 70'000; ++i) {
    const auto inner = IpAddress::v4(0x0A000000 + i / 50'000);
    box.handle(Direction::outward, udp({inner, static_cast<std::uint16_t>(1 + i % 50'000)}, {kOuter, 4500}, 0), kStart);
    (void)drain(box);
    while (box.poll_note()) {
    }
  }
  CHECK(box.counters().dropped[0] > 0);
  CHECK(box.counters().sent[0] > 40'000);
  box.handle(Direction::outward, udp({kInner, 1}, {kOuter, 500}, 0), kStart);  // another outer end: ports are free
  CHECK(drain(box).size() == 1);
}

TEST_CASE("a flow gets another port at the time that was given", "[middlebox]") {
  auto box = make({"nat=203.0.113.9/at=30s"});
  const auto datagram = udp({kInner, 5000}, {kOuter, 4500}, 10);
  const auto port = [&](Instant now) {
    box.handle(Direction::outward, datagram, now);
    const auto sent = drain(box);
    return flow_of(Direction::outward, sent.at(0).packet, *packet::parse_ip(sent[0].packet)).inner.port;
  };
  const auto first = port(kStart);
  REQUIRE(box.next_deadline() == kStart + seconds{30});
  CHECK(port(kStart + seconds{29}) == first);
  box.handle_deadline(kStart + seconds{30});
  CHECK(port(kStart + seconds{30}) != first);
  CHECK_FALSE(box.next_deadline());
}

TEST_CASE("more flows than it keeps push out the oldest", "[middlebox]") {
  auto box = make({"inspect"});
  const auto syn = [&](unsigned number) {
    const FlowKey flow{6,
                       {IpAddress::v4(0x0A000000 + number / 60'000), static_cast<std::uint16_t>(1 + number % 60'000)},
                       {kOuter, 10000}};
    Segment segment;
    segment.header = {flow.inner.port, 10000, 7, 0, kSyn, 65535, {}};
    box.handle(Direction::outward, packet_of(flow, std::move(segment)), kStart);
    return drain(box).size();
  };
  for (unsigned i = 0; i < 66'000; ++i) REQUIRE(syn(i) == 1);
  CHECK(box.counters().flows == 66'000);
  CHECK(syn(65'999) == 1);
  CHECK(box.counters().flows == 66'000);  // still known
  CHECK(syn(0) == 1);
  CHECK(box.counters().flows == 66'001);  // was forgotten
}

namespace {

/// Everything that comes out of a box for the same traffic, as text.
std::string history(std::uint64_t seed) {
  BoxRules rules;
  for (const auto* text : {"edit=isn", "inspect-dupack:tcp/10000", "proxy-random:tcp/443", "synproxy:tcp/80",
                           "nat=203.0.113.9/1s", "throttle=1M:udp", "rst=200:tcp/10000"}) {
    REQUIRE(add_profile(rules, text));
  }
  for (auto& direction : rules.impair) {
    direction[0] = *parse_impairment("loss=5%,burst=1%/20%,delay=5ms,jitter=3ms,duplicate=1%,corrupt=1%,reorder=2%");
    direction[1] = *parse_impairment("loss=1%,rate=20M");
  }
  rules.seed = seed;
  Box box{std::move(rules), kOwn, kOwn6};
  std::mt19937_64 random{99};  // of the traffic, always the same
  std::string all;
  auto now = kStart;
  std::map<std::uint16_t, std::array<std::uint32_t, 2>> next;
  for (int i = 0; i < 20'000; ++i) {
    now += std::chrono::microseconds{random() % 500};
    while (const auto due = box.next_deadline()) {
      if (*due > now) break;
      box.handle_deadline(*due);
    }
    const auto direction = random() % 2 == 0 ? Direction::outward : Direction::inward;
    const std::uint16_t port = std::array<std::uint16_t, 4>{10000, 443, 80, 4500}[random() % 4];
    if (port == 4500) {
      const auto octets = random() % 1000;
      box.handle(direction,
                 direction == Direction::outward
                     ? udp({kInner, 5000}, {kOuter, 4500}, octets)
                     : udp({kOuter, 4500}, {*IpAddress::parse("203.0.113.9"), 20001}, octets),
                 now);
    } else {
      const FlowKey flow{6, {kInner, 40000}, {kOuter, port}};
      auto& sequence = next[port][index(direction)];
      Segment segment;
      segment.direction = direction;
      const bool first = sequence == 0;
      segment.header = {40000, port, sequence, next[port][index(opposite(direction))], kAck, 65535, {}};
      if (direction == Direction::inward) std::swap(segment.header.source_port, segment.header.destination_port);
      if (first) segment.header.flags = direction == Direction::outward ? kSyn : kSyn | kAck;
      if (!first) segment.payload.resize(random() % 1200);
      sequence += first ? 1 : static_cast<std::uint32_t>(segment.payload.size());
      box.handle(direction, packet_of(flow, std::move(segment)), now);
    }
    while (const auto sent = box.poll_packet()) {
      all += std::to_string(now.time_since_epoch().count()) + (sent->direction == Direction::outward ? " > " : " < ");
      all.append(sent->packet.begin(), sent->packet.end());
    }
    while (const auto note = box.poll_note()) {
      all += note->flow.to_string() + std::string{note->decision.what} + std::string{note->decision.why} +
             std::to_string(note->decision.sequence) + "/" + std::to_string(note->decision.count);
    }
  }
  return all;
}

}  // namespace

TEST_CASE("the same seed and traffic give the same decisions and packets, another seed others", "[middlebox]") {
  const auto first = history(1);
  CHECK(first.size() > 1'000'000);
  CHECK((history(1) == first));
  CHECK((history(2) != first));
}
