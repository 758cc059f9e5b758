#include "tools/middlebox/chain.h"

#include <catch2/catch.hpp>

#include "tests/unit/middlebox/flow_builder.h"
#include "tools/middlebox/proxy.h"

using namespace switchback;
using namespace switchback::middlebox;
using namespace switchback::test;
using namespace transports::ctcp;

namespace {

/// Adds its mark to the window of what passes, and answers what it is told to.
class Marker final : public Device {
 public:
  Marker(std::uint16_t mark, bool answers) : mark_{mark}, answers_{answers} {}
  void handle(Segment segment, Instant now, Output& out) override {
    if (answers_) {
      Segment back;
      back.direction = opposite(segment.direction);
      back.header.window = mark_;
      out.forward.push_back(std::move(back));
    }
    due_ = now + std::chrono::seconds{mark_};
    segment.header.window = static_cast<std::uint16_t>(segment.header.window * 10 + mark_);
    out.forward.push_back(std::move(segment));
  }
  std::optional<Instant> next_deadline() const override { return due_; }
  void handle_deadline(Instant, Output& out) override {
    due_.reset();
    Segment late;
    late.header.window = mark_;
    out.forward.push_back(std::move(late));
  }

 private:
  std::uint16_t mark_;
  bool answers_;
  std::optional<Instant> due_;
};

}  // namespace

TEST_CASE("segments meet the devices in a row, from either end", "[middlebox]") {
  Chain chain;
  chain.add(std::make_unique<Marker>(1, false));
  chain.add(std::make_unique<Marker>(2, true));
  chain.add(std::make_unique<Marker>(3, false));
  Output out;
  chain.handle(segment(Direction::outward, kAck, 1, 1, 0, 0), Instant{}, out);
  REQUIRE(out.forward.size() == 2);  // the answer of the second went by the first only
  for (const auto& one : out.forward) CHECK(one.header.window == (one.direction == Direction::outward ? 123 : 21));
  out = {};
  chain.handle(segment(Direction::inward, kAck, 1, 1, 0, 0), Instant{}, out);
  for (const auto& one : out.forward) CHECK(one.header.window == (one.direction == Direction::inward ? 321 : 23));
}

TEST_CASE("a device's deadline concerns those behind it only", "[middlebox]") {
  Chain chain;
  chain.add(std::make_unique<Marker>(1, false));
  chain.add(std::make_unique<Marker>(2, false));
  Output out;
  chain.handle(segment(Direction::outward, kAck, 1, 1, 0, 0), Instant{}, out);
  REQUIRE(chain.next_deadline() == Instant{} + std::chrono::seconds{1});
  out = {};
  chain.handle_deadline(Instant{} + std::chrono::seconds{1}, out);
  REQUIRE(out.forward.size() == 1);
  CHECK(out.forward[0].header.window == 12);
}

TEST_CASE("without devices everything is forwarded", "[middlebox]") {
  Chain chain;
  DeviceBench bench{chain};
  CHECK(bench.data(1000, 10).forward.size() == 1);
  CHECK_FALSE(chain.next_deadline());
}

TEST_CASE("two proxies in a row come to an end", "[middlebox]") {
  Chain chain;
  chain.add(std::make_unique<Proxy>(ProxyRules{700, true}, 1, 2));
  chain.add(std::make_unique<Proxy>(ProxyRules{1000, true}, 3, 4));
  Output out;
  chain.handle(segment(Direction::outward, kSyn, kInnerIsn, 0), Instant{}, out);
  std::size_t outward = 0, inward = 0;
  for (const auto& one : out.forward) {
    CHECK(one.header.has(kSyn));
    ++(one.direction == Direction::outward ? outward : inward);
  }
  CHECK(inward == 1);   // the first answers the client
  CHECK(outward == 1);  // the second asks the server
}
