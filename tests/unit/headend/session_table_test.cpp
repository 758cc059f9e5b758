#include "headend/session_table.h"

#include <catch2/catch.hpp>

#include "common/base/deadline_queue.h"

using namespace switchback;
using namespace switchback::headend;
using namespace std::chrono_literals;

TEST_CASE("a session is found by each of its SPIs until it is closed", "[headend][sessions]") {
  SessionTable table;
  const auto first = table.open();
  const auto second = table.open();
  CHECK(first != second);
  table.add_spi(first, IkeSpi{10});
  table.add_spi(first, IkeSpi{11});
  table.add_spi(second, IkeSpi{20});
  CHECK(table.by_spi(IkeSpi{10}) == first);
  CHECK(table.by_spi(IkeSpi{11}) == first);
  table.remove_spi(IkeSpi{10});
  CHECK_FALSE(table.by_spi(IkeSpi{10}));
  table.close(first);
  CHECK_FALSE(table.by_spi(IkeSpi{11}));
  CHECK(table.by_spi(IkeSpi{20}) == second);
  CHECK(table.size() == 1);
}

TEST_CASE("a user's sessions come in the order of their authentication", "[headend][sessions]") {
  SessionTable table;
  const auto a = table.open();
  const auto b = table.open();
  const auto c = table.open();
  table.set_user(b, UserId{7});
  table.set_user(a, UserId{7});
  table.set_user(c, UserId{8});
  CHECK(table.of_user(UserId{7}) == std::vector{b, a});
  CHECK(table.user_of(c) == UserId{8});
  CHECK(table.users() == 2);
  table.close(b);
  CHECK(table.of_user(UserId{7}) == std::vector{a});
  table.close(a);
  CHECK(table.of_user(UserId{7}).empty());
  CHECK(table.users() == 1);
}

TEST_CASE("our SPI of a message is the responder's unless we began the IKE SA", "[headend][sessions][rfc7296]") {
  Bytes message(28);
  store_be<std::uint64_t>(message.data(), 0x1111);
  store_be<std::uint64_t>(message.data() + 8, 0x2222);
  message[19] = 0x08;  // I: from the original initiator
  CHECK(own_spi(message) == IkeSpi{0x2222});
  message[19] = 0x20;  // a response of the original responder
  CHECK(own_spi(message) == IkeSpi{0x1111});
  message.pop_back();
  CHECK_FALSE(own_spi(message));
}

TEST_CASE("deadlines come out in order, each key once with its latest", "[headend][deadlines]") {
  DeadlineQueue<SessionTag> queue;
  const Instant start{1h};
  queue.set(SessionTag{1}, start + 3s);
  queue.set(SessionTag{2}, start + 1s);
  queue.set(SessionTag{3}, start + 2s);
  queue.set(SessionTag{2}, start + 4s);
  CHECK(queue.next() == start + 2s);
  CHECK_FALSE(queue.take_due(start + 1s));
  CHECK(queue.take_due(start + 10s) == SessionTag{3});
  CHECK(queue.take_due(start + 10s) == SessionTag{1});
  CHECK(queue.take_due(start + 10s) == SessionTag{2});
  CHECK_FALSE(queue.take_due(start + 10s));
  CHECK_FALSE(queue.next());
}

TEST_CASE("equal deadlines do not hide each other, and clearing takes one away", "[headend][deadlines]") {
  DeadlineQueue<SessionTag> queue;
  const Instant when{1h};
  for (std::uint64_t i = 0; i < 100; ++i) queue.set(SessionTag{i}, when);
  queue.clear(SessionTag{50});
  queue.set(SessionTag{51}, std::nullopt);
  CHECK(queue.size() == 98);
  std::size_t taken = 0;
  while (queue.take_due(when)) ++taken;
  CHECK(taken == 98);
}
