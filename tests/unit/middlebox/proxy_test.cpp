#include "tools/middlebox/proxy.h"

#include <catch2/catch.hpp>

#include <deque>
#include <random>
#include <set>

#include "tests/support/virtual_clock.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;
using std::chrono::milliseconds;

namespace {

/// Two ends of the same TCP with a proxy between them, 10 ms from each, losing packets on both lines.
struct Line {
  Line(double chance, ProxyRules rules) : loss{chance}, proxy{rules, 0x7FFFFFFF, 0xFFFFFFF0} {}

  void launch(bool at_proxy, Segment segment) {
    if (static_cast<double>(random() >> 11U) * 0x1.0p-53 < loss) return;
    flying.emplace(clock.now() + milliseconds{10}, std::pair{at_proxy, std::move(segment)});
  }
  void drain(SmallTcp& tcp, Direction direction) {
    std::vector<SmallTcp::Out> made;
    tcp.poll(clock.now(), made);
    for (auto& one : made) {
      longest = std::max(longest, one.payload.size());
      launch(true, {direction, one.header, std::move(one.payload), {}});
    }
  }
  void give_out(Output& out) {
    for (auto& segment : out.forward) {
      from_proxy = std::max(from_proxy, segment.payload.size());
      if (!segment.payload.empty()) lengths.insert(segment.payload.size());
      launch(false, std::move(segment));
    }
  }
  void run(Duration time) {
    const auto end = clock.now() + time;
    while (clock.now() < end) {
      drain(client, Direction::outward);
      drain(server, Direction::inward);
      auto next = earliest(earliest(client.next_deadline(), server.next_deadline()), proxy.next_deadline());
      if (!flying.empty()) next = earliest(next, flying.begin()->first);
      if (!next) return;
      clock.advance_to(*next);
      while (!flying.empty() && flying.begin()->first <= clock.now()) {
        auto [at_proxy, segment] = std::move(flying.begin()->second);
        flying.erase(flying.begin());
        if (at_proxy) {
          Output out;
          proxy.handle(std::move(segment), clock.now(), out);
          give_out(out);
        } else {
          (segment.direction == Direction::outward ? server : client).handle(segment.view(), clock.now());
        }
      }
      client.handle_deadline(clock.now());
      server.handle_deadline(clock.now());
      Output out;
      proxy.handle_deadline(clock.now(), out);
      give_out(out);
      if (!server.readable().empty()) {
        append(at_server, server.readable());
        server.consume(server.readable().size());
      }
    }
  }

  double loss;  // of each packet on each line
  VirtualClock clock;
  std::mt19937_64 random{5};
  Proxy proxy;
  SmallTcp client{{.local_port = 40000, .remote_port = 10000, .isn = 0xFFFFFF00}};
  SmallTcp server{{.local_port = 10000, .remote_port = 40000, .isn = 77, .listening = true}};
  std::multimap<Instant, std::pair<bool, Segment>> flying;
  Bytes at_server;
  std::size_t longest = 0, from_proxy = 0;
  std::set<std::size_t> lengths;  // of what the proxy sent
};

Bytes pattern(std::size_t octets) {
  Bytes made(octets);
  for (std::size_t i = 0; i < octets; ++i) made[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  return made;
}

}  // namespace

TEST_CASE("a proxy copies the stream octet by octet and cuts it anew", "[middlebox]") {
  Line line{0, {.segment_octets = 700}};
  const auto sent = pattern(300'000);
  line.client.write(sent);
  line.run(std::chrono::seconds{20});
  CHECK(line.at_server == sent);
  CHECK(line.longest == 1448);
  CHECK(line.from_proxy == 700);
}

TEST_CASE("its own TCP repairs what is lost on either side", "[middlebox]") {
  Line line{0.03, {}};
  const auto sent = pattern(200'000);
  line.client.write(sent);
  line.run(std::chrono::seconds{300});
  CHECK(line.at_server == sent);
}

TEST_CASE("the end of the stream and a reset go through", "[middlebox]") {
  Line line{0, {}};
  line.client.write(pattern(10));
  line.client.finish();
  line.run(std::chrono::seconds{2});
  CHECK(line.server.peer_finished());

  Output out;
  Segment reset;
  reset.direction = Direction::outward;
  reset.header.flags = transports::ctcp::kRst;
  line.proxy.handle(reset, line.clock.now(), out);
  CHECK(line.proxy.dead());
}

TEST_CASE("a proxy waits for whole segments, but not for ever", "[middlebox]") {
  Line line{0, {.coalesce_wait = milliseconds{50}}};
  const auto sent = pattern(1448 + 100);
  line.run(milliseconds{100});
  line.client.write(ByteView{sent}.first(600));
  line.run(milliseconds{5});  // until the proxy has it
  line.client.write(ByteView{sent}.subspan(600));
  line.run(std::chrono::seconds{1});
  CHECK(line.at_server == sent);
  CHECK(line.lengths == std::set<std::size_t>{100, 1448});
}

TEST_CASE("a proxy that cuts at random loses nothing", "[middlebox]") {
  Line line{0.02, {.random_cuts = 11}};
  const auto sent = pattern(100'000);
  line.client.write(sent);
  line.run(std::chrono::seconds{200});
  CHECK(line.at_server == sent);
  CHECK(line.lengths.size() > 40);
}
