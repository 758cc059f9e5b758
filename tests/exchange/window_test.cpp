// Message IDs and retransmission on their own (RFC 7296 §2.1–2.3).
#include "common/ike/window.h"

#include <catch2/catch.hpp>

#include "tests/support/seeded_random.h"
#include "tests/support/virtual_clock.h"

using namespace switchback;
using namespace switchback::ike;
using namespace switchback::test;
using namespace std::chrono_literals;

TEST_CASE("a request is repeated at growing intervals and then given up", "[ike][rfc7296]") {
  SeededRandom random{1};
  VirtualClock clock;
  SendWindow window;
  const RetransmitPolicy policy{1s, 2.0, 5s, 5, 0.0};
  window.open({Bytes{1}}, policy, random, clock.now());
  std::vector<Duration> waits;
  auto result = SendWindow::Due::resend;
  while (result == SendWindow::Due::resend) {
    const auto before = clock.now();
    clock.advance_to(*window.deadline());
    waits.push_back(clock.now() - before);
    result = window.handle_deadline(random, clock.now());
  }
  CHECK(result == SendWindow::Due::dead);
  CHECK(waits == std::vector<Duration>{1s, 2s, 4s, 5s, 5s});
  CHECK(window.sends() == 5);
}

TEST_CASE("jitter stays within its share and differs between seeds", "[ike]") {
  const VirtualClock clock;
  std::vector<Duration> waits;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SeededRandom random{seed};
    SendWindow window;
    window.open({Bytes{1}}, {1s, 2.0, 5s, 5, 0.25}, random, clock.now());
    waits.push_back(*window.deadline() - clock.now());
    CHECK(waits.back() >= 750ms);
    CHECK(waits.back() <= 1250ms);
  }
  CHECK(waits.front() != waits.back());
}

TEST_CASE("only the outstanding ID is awaited, and IDs do not wrap", "[ike][rfc7296]") {
  SeededRandom random{1};
  const VirtualClock clock;
  SendWindow window;
  CHECK_FALSE(window.awaits(MessageId{0}));
  window.open({Bytes{1}}, {}, random, clock.now());
  CHECK(window.awaits(MessageId{0}));
  CHECK_FALSE(window.awaits(MessageId{1}));
  window.settle();
  CHECK(window.next_id() == MessageId{1});
  CHECK_FALSE(window.deadline());
  window.skip_to(MessageId{SendWindow::kLastMessageId - 1});
  CHECK_FALSE(window.exhausted());
  window.skip_to(MessageId{SendWindow::kLastMessageId});
  CHECK(window.exhausted());
}

TEST_CASE("the next request is fresh, the last one repeated, all others outside", "[ike][rfc7296]") {
  using Verdict = ReceiveWindow::Verdict;
  ReceiveWindow window;
  CHECK(window.judge(MessageId{0}) == Verdict::fresh);
  CHECK(window.judge(MessageId{1}) == Verdict::outside);
  CHECK(window.judge(MessageId{0xFFFFFFFF}) == Verdict::outside);
  const Bytes request{1, 2, 3};
  window.accept(hash_datagram(request));
  CHECK(window.judge(MessageId{0}) == Verdict::repeated);
  CHECK(window.judge(MessageId{1}) == Verdict::fresh);
  CHECK(window.is_repetition(request));
  CHECK_FALSE(window.is_repetition(Bytes{1, 2, 4}));
  CHECK_FALSE(window.answered());
  window.answer({Bytes{9}});
  CHECK(window.answered());
  window.accept(hash_datagram(Bytes{4}));
  CHECK(window.judge(MessageId{0}) == Verdict::outside);
  CHECK_FALSE(window.answered());
}
