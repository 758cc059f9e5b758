#include "tools/middlebox/impairment.h"

#include <catch2/catch.hpp>

#include <vector>

#include "common/base/time.h"

using namespace switchback;
using namespace switchback::middlebox;
using std::chrono::milliseconds;

namespace {

constexpr Instant kStart{std::chrono::hours{1}};

}  // namespace

TEST_CASE("the same seed gives the same fates, another one others", "[middlebox]") {
  ImpairmentRules rules;
  rules.loss = 0.1;
  rules.jitter = milliseconds{5};
  rules.delay = milliseconds{20};
  const auto run = [&](std::uint64_t seed) {
    Impairment impairment{rules, seed};
    std::vector<Instant> leave;
    for (int i = 0; i < 1000; ++i) leave.push_back(impairment.decide(100, kStart).leave_at);
    return leave;
  };
  CHECK(run(1) == run(1));
  CHECK(run(1) != run(2));
}

TEST_CASE("random loss has its rate, and burst loss comes in bursts", "[middlebox]") {
  ImpairmentRules rules;
  rules.loss = 0.03;
  Impairment plain{rules, 7};
  int lost = 0;
  for (int i = 0; i < 100'000; ++i) lost += plain.decide(100, kStart).lost.empty() ? 0 : 1;
  CHECK(lost > 2700);
  CHECK(lost < 3300);

  rules.loss = 0;
  rules.burst = BurstLoss{0.01, 0.2, 0, 1};  // mean length 5, mean rate about 4.8 %
  Impairment bursts{rules, 7};
  int count = 0, runs = 0;
  bool before = false;
  for (int i = 0; i < 100'000; ++i) {
    const bool now = !bursts.decide(100, kStart).lost.empty();
    count += now ? 1 : 0;
    runs += now && !before ? 1 : 0;
    before = now;
  }
  CHECK(count > 4000);
  CHECK(count < 5600);
  CHECK(static_cast<double>(count) / runs > 4);
}

TEST_CASE("packets are lost by their number, and no others", "[middlebox]") {
  ImpairmentRules rules;
  rules.lose = {2, 5};
  Impairment impairment{rules, 1};
  std::vector<int> lost;
  for (int i = 1; i <= 6; ++i) {
    if (!impairment.decide(100, kStart).lost.empty()) lost.push_back(i);
  }
  CHECK(lost == std::vector<int>{2, 5});
}

TEST_CASE("a rate spaces packets and drops what does not fit its queue", "[middlebox]") {
  ImpairmentRules rules;
  rules.rate = 100'000;  // octets per second: 1000 octets take 10 ms
  rules.queue_octets = 5000;
  Impairment impairment{rules, 1};
  for (int i = 1; i <= 5; ++i) CHECK(impairment.decide(1000, kStart).leave_at == kStart + milliseconds{10 * i});
  CHECK(impairment.decide(1000, kStart).lost == "queue full");
  CHECK(impairment.decide(1000, kStart + milliseconds{20}).leave_at == kStart + milliseconds{60});
}

TEST_CASE("delay without jitter keeps the order, but for what is to be reordered", "[middlebox]") {
  ImpairmentRules rules;
  rules.delay = milliseconds{20};
  rules.reorder = 0.2;
  Impairment impairment{rules, 3};
  int early = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto at = kStart + milliseconds{i};
    const auto leave = impairment.decide(100, at).leave_at;
    if (leave == at + milliseconds{10}) {
      ++early;
    } else {
      CHECK(leave == at + milliseconds{20});
    }
  }
  CHECK(early > 100);
}

TEST_CASE("what exceeds the MTU is lost and known to be so", "[middlebox]") {
  ImpairmentRules rules;
  rules.mtu = 1280;
  Impairment impairment{rules, 1};
  CHECK(impairment.decide(1281, kStart).too_big);
  CHECK(impairment.decide(1280, kStart).lost.empty());
}
