#include "transports/datagram/interface_guards.h"

#include <net/if.h>

#include <catch2/catch.hpp>

using namespace switchback;
using namespace switchback::transports;
using namespace std::chrono_literals;
using datagram::InterfaceGuards;

namespace {

/// Indexes that no interface of this host has.
constexpr unsigned kUnused = 1'000'000;

bool make_suspicious(InterfaceGuards& guards, std::uint8_t number, Instant now) {
  return !guards.handle_evidence({number, true, 1, 10, 50}, now - 1s) &&
         guards.handle_evidence({number, true, 1, 1, 0}, now);
}

}  // namespace

TEST_CASE("interfaces are numbered as they are seen, and no more than there is room for", "[offload]") {
  InterfaceGuards guards;
  CHECK(guards.number_of(0) == 0);
  const auto first = guards.number_of(kUnused), second = guards.number_of(kUnused + 1);
  CHECK(first != 0);
  CHECK(second != first);
  CHECK(guards.number_of(kUnused) == first);
  for (unsigned i = 2; i < InterfaceGuards::kMost; ++i) CHECK(guards.number_of(kUnused + i) != 0);
  CHECK(guards.number_of(kUnused + InterfaceGuards::kMost) == 0);
  CHECK(guards.number_of(kUnused + 1) == second);
  InterfaceGuards::Set all = 0;
  for (unsigned i = 0; i < InterfaceGuards::kMost; ++i) {
    const auto one = InterfaceGuards::set_of(guards.number_of(kUnused + i));
    CHECK((all & one) == 0);
    all |= one;
  }
}

TEST_CASE("evidence turns off the offload of its own interface only", "[offload]") {
  InterfaceGuards guards;
  const Instant now{1h};
  const auto good = guards.number_of(kUnused);
  const auto bad = guards.number_of(::if_nametoindex("lo"));
  CHECK(make_suspicious(guards, bad, now));
  CHECK(guards.off() == InterfaceGuards::set_of(bad));
  CHECK((guards.off() & InterfaceGuards::set_of(good)) == 0);
  const auto change = guards.poll_change();
  REQUIRE(change);
  CHECK(change->where == "lo");
  CHECK(change->state == "off on trial");
  CHECK_FALSE(guards.poll_change());
  std::vector<OffloadStatus> status;
  guards.append_status(status);
  REQUIRE(status.size() == 2);
  CHECK(status[0].state == "in use");
  CHECK(status[1].reason == change->reason);
  REQUIRE(guards.next_deadline());
  CHECK(guards.handle_deadline(*guards.next_deadline()));
  CHECK(guards.off() == 0);
  CHECK_FALSE(guards.next_deadline());
}

TEST_CASE("evidence about interfaces that there are not is ignored", "[offload]") {
  InterfaceGuards guards;
  (void)guards.number_of(kUnused);
  CHECK_FALSE(guards.handle_evidence({0, true, 1, 0, 1000}, Instant{1h}));
  CHECK_FALSE(guards.handle_evidence({7, true, 1, 0, 1000}, Instant{1h}));
  CHECK(guards.off() == 0);
}
